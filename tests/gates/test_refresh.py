"""A refresh is told from chance by the paired test in both directions, and what is another measurement is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from pytest_lighteval.baselines.model import Baseline
from pytest_lighteval.baselines.repeats import merge_runs
from pytest_lighteval.comparison.decision import Policy
from pytest_lighteval.gates.compare import Side
from pytest_lighteval.gates.refresh import Refreshing
from pytest_lighteval.types import CorpusMetric, SampleValue, TaskKey
from tests.gates.test_compare import FALLING, MEAN, baseline, side

CORPUS = CorpusMetric(aggregate=lambda values: sum(values) / len(values), higher_is_better=True, is_mean=False)


def flipped(count: int, lost: int, won: int) -> tuple[list[SampleValue], list[SampleValue]]:
    """0/1 scores of that many documents before and after; the first ones are lost, the next ones won."""
    same = [1.0] * (count - lost - won)
    return [*[1.0] * lost, *[0.0] * won, *same], [*[0.0] * lost, *[1.0] * won, *same]


def differences(*sides: Side, corpus: CorpusMetric = MEAN, alpha: float = 0.05) -> list[str]:
    refreshing = Refreshing(
        reported={one.result.key: {"m": corpus} for one in sides},
        clusters={one.result.key: {document.id: document.cluster for document in one.result.documents} for one in sides},
        rows={one.result.key: {document.id: one.result.row_of(document.id) for document in one.result.documents} for one in sides},
        policy=Policy(alpha=alpha),
    )
    pairs = {one.result.key: (one.baseline, baseline(one.result)) for one in sides}
    return [difference.text for difference in refreshing.differences(pairs)]


@pytest.mark.parametrize(
    ("lost", "won", "found"),
    [
        (40, 40, []),
        (20, 8, ["s|m:a|0: m 0.9680 -> 0.9200 (p = 0.036, two-sided)"]),
        (8, 20, ["s|m:a|0: m 0.9200 -> 0.9680 (p = 0.036, two-sided)"]),
        (19, 9, []),  # p = 0.087
    ],
)
def test_a_change_beyond_chance_is_found_in_either_direction(lost: int, won: int, found: list[str]) -> None:
    assert differences(side(*flipped(250, lost, won))) == found


def test_a_metric_that_is_better_lower_and_one_of_the_corpus_are_tested_too() -> None:
    assert differences(side(*flipped(250, 30, 2), corpus=FALLING), corpus=FALLING) == [
        "s|m:a|0: m 0.9920 -> 0.8800 (p = 2.5e-07, two-sided)"
    ]  # fmt: skip
    (line,) = differences(side(*flipped(100, 30, 2)), corpus=CORPUS)
    assert line.startswith("s|m:a|0: m 0.9800 -> 0.7000 (p = ")
    assert differences(side(*flipped(100, 5, 5)), corpus=CORPUS) == []


def test_numbers_share_alpha_and_a_change_in_every_task_is_found_together() -> None:
    keys = [TaskKey(suite="s", task=f"t{number}", few_shots=0) for number in range(10)]

    def all_of(lost: int, won: int) -> list[str]:
        return differences(*(side(*flipped(250, lost, won), key=key) for key in keys))

    assert all_of(16, 8) == ["all 2500 documents together: lower by 3.20 points (p = 2.7e-07, two-sided)"]
    assert all_of(8, 16) == ["all 2500 documents together: higher by 3.20 points (p = 2.7e-07, two-sided)"]
    assert all_of(12, 10) == []


def test_documents_of_one_cluster_count_as_one() -> None:
    before, after = flipped(250, 30, 10)

    assert differences(side(before, after)) != []
    assert differences(side(before, after, clusters=10)) == []


def test_another_version_data_or_prompts_are_named_and_not_tested() -> None:
    before, after = flipped(50, 0, 0)
    one = side(before, after)
    prompts = replace(one.baseline, prompt_digests=("0" * 12, *(one.baseline.prompt_digests or ())[1:]))

    assert differences(replace(one, baseline=replace(one.baseline, version=3))) == ["s|m:a|0: version 0 instead of 3"]
    assert differences(replace(one, baseline=replace(one.baseline, dataset_fingerprint="e"))) == ["s|m:a|0: the data changed"]
    assert differences(replace(one, baseline=prompts)) == []  # the first document's prompt has that digest
    prompts = replace(one.baseline, prompt_digests=("f" * 12, *(one.baseline.prompt_digests or ())[1:]))
    assert differences(replace(one, baseline=prompts)) == ["s|m:a|0: 1 documents have another prompt"]
    imported = replace(one.baseline, version=None, dataset_fingerprint=None, prompt_digests=None)
    assert differences(replace(one, baseline=imported)) == []


def test_a_document_without_a_score_on_one_side_needs_a_reason() -> None:
    before: Sequence[SampleValue] = [1.0] * 50
    one = side(before, before)
    rows = tuple((None,) if row < 2 else (1.0,) for row in range(50))

    found = differences(replace(one, baseline=replace(one.baseline, scores={"m": rows})))

    assert found == ["s|m:a|0: 2 documents have a score of m on one side only, or one that is not a finite number"]


def test_a_run_is_compared_with_the_mean_of_the_repeats() -> None:
    one = side(*flipped(250, 30, 2))
    repeated = merge_runs([Baseline(tasks={one.result.key: one.baseline})] * 2).tasks[one.result.key]

    assert len(differences(replace(one, baseline=repeated))) == 1
