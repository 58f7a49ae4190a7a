"""A number is compared with its baseline by the test that fits its scores, in its own unit; mismatches are named."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from scipy import stats

from pytest_lighteval.baselines.model import Baseline, BaselineTask
from pytest_lighteval.baselines.repeats import merge_runs
from pytest_lighteval.baselines.save import baseline_task, provenance_of
from pytest_lighteval.comparison.compare import compare
from pytest_lighteval.comparison.decision import Policy
from pytest_lighteval.comparison.paired import pair
from pytest_lighteval.gates.compare import Side, compare_gate, in_points, own_policy
from pytest_lighteval.gates.plan import PairedGate
from pytest_lighteval.gates.pool import LeftOut, pool_part
from pytest_lighteval.metrics import metric
from pytest_lighteval.types import CorpusMetric, DocumentScore, GateSpec, MetricResult, SampleValue, TaskKey, TaskResult

MEAN = CorpusMetric(aggregate=lambda values: sum(values) / len(values), higher_is_better=True, range=(0.0, 1.0))
FALLING = CorpusMetric(aggregate=lambda values: sum(values) / len(values), higher_is_better=False, range=(0.0, 1.0))
UNKNOWN = replace(MEAN, range=None)
PERCENT = replace(MEAN, range=(0.0, 100.0))
A, B = TaskKey(suite="s", task="m:a", few_shots=0), TaskKey(suite="s", task="m:b", few_shots=0)


def measured(
    values: Sequence[SampleValue], *, key: TaskKey = A, corpus: CorpusMetric = MEAN, clusters: int | None = None, version: int = 0
) -> TaskResult:
    documents = tuple(
        DocumentScore(
            id=f"test:{row}", prompt_digest=f"{row:012x}", values={"m": value}, cluster=f"c{row // clusters}" if clusters else None
        )
        for row, value in enumerate(values)
    )
    number = MetricResult(value=corpus.aggregate(values), stderr=0.1, n=len(values), higher_is_better=corpus.higher_is_better)
    return TaskResult(
        key=key, version=version, metrics={"m": number}, documents=documents, dataset_fingerprint="d", prompt_digest="p",
        effective_few_shots=0.0,
    )  # fmt: skip


def baseline(result: TaskResult) -> BaselineTask:
    return baseline_task(result, provenance_of(backend={"name": "b", "fingerprint": "f"}, environment={}, settings={}))


def gate(
    corpus: CorpusMetric = MEAN, *, members: tuple[TaskKey, ...] = (), advisory: bool = False, spec: GateSpec | None = None
) -> PairedGate:
    return PairedGate(key=A, metric="m", corpus=corpus, spec=spec or GateSpec(), advisory=advisory, alpha=0.05, members=members)


def side(before: Sequence[SampleValue], after: Sequence[SampleValue], **about: object) -> Side:
    return Side(result=measured(after, **about), baseline=baseline(measured(before, **about)))  # type: ignore[arg-type]


def test_single_scores_are_tested_by_mcnemar() -> None:
    verdict = compare_gate(gate(), [side([1.0] * 100 + [0.0] * 100, [0.0] * 20 + [1.0] * 80 + [1.0] * 5 + [0.0] * 95)], Policy())

    assert (verdict.outcome, verdict.lost, verdict.won, verdict.method) == ("REGRESSED", 20, 5, "exact McNemar test")
    assert verdict.p == pytest.approx(stats.binomtest(20, 25, alternative="greater").pvalue)
    assert verdict.red
    assert [flip.id for flip in verdict.flips if flip.is_loss] == [f"test:{row}" for row in range(20)]


def test_what_is_advisory_is_never_red() -> None:
    verdict = compare_gate(gate(advisory=True), [side([1.0] * 100, [0.0] * 50 + [1.0] * 50)], Policy())

    assert (verdict.outcome, verdict.red, verdict.advisory) == ("REGRESSED", False, True)


def test_a_loss_where_lower_is_better_is_a_rise() -> None:
    verdict = compare_gate(gate(FALLING), [side([0.0] * 100, [1.0] * 30 + [0.0] * 70, corpus=FALLING)], Policy())

    assert (verdict.outcome, verdict.lost, verdict.won) == ("REGRESSED", 30, 0)
    assert verdict.loss == pytest.approx(0.3)
    assert all(flip.is_loss for flip in verdict.flips)


def test_clusters_are_summed_before_they_are_tested() -> None:
    before, after = [1.0] * 100, [0.0] * 20 + [1.0] * 80

    alone = compare_gate(gate(), [side(before, after)], Policy())
    clustered = compare_gate(gate(), [side(before, after, clusters=10)], Policy())

    assert alone.p == pytest.approx(2.0**-20)
    assert clustered.p == pytest.approx(2.0**-2)
    assert (clustered.lost, clustered.n) == (20, 100)


def test_repeats_of_the_baseline_are_averaged_within_a_document() -> None:
    runs = [Baseline(tasks={A: baseline(measured(values))}) for values in ([1.0, 1.0, 0.0], [1.0, 0.0, 0.0])]
    merged = merge_runs(runs).tasks[A]

    verdict = compare_gate(gate(), [Side(result=measured([1.0, 1.0, 1.0]), baseline=merged)], Policy())

    assert [(flip.before, flip.after) for flip in verdict.flips] == [(0.5, 1.0), (0.0, 1.0)]
    assert verdict.loss == pytest.approx(-0.5)


def test_a_superset_is_tested_over_all_its_documents() -> None:
    """Ten of 100 lost in one task and none in the other: 5 points, each document counting the same."""
    parts = [side([1.0] * 100, [0.0] * 10 + [1.0] * 90), side([1.0] * 100, [1.0] * 100, key=B)]

    verdict = compare_gate(gate(members=(A, B)), parts, Policy())

    assert (verdict.n, verdict.lost) == (200, 10)
    assert verdict.loss == pytest.approx(0.05)
    assert verdict.p == pytest.approx(2.0**-10)
    assert verdict.flips == ()


def test_a_superset_with_a_task_that_does_not_fit_is_not_compared() -> None:
    parts = [side([1.0] * 9, [1.0] * 9), Side(result=measured([1.0] * 9, key=B, version=3), baseline=baseline(measured([1.0] * 9, key=B)))]

    verdict = compare_gate(gate(members=(A, B)), parts, Policy())

    assert (verdict.outcome, verdict.red, verdict.baseline) == ("STALE", True, None)
    assert verdict.line == (
        "m: the baseline does not fit: s|m:b|0: the task has version 3, the baseline is of version 0 (--gate-allow version compares anyway)"
    )


def test_a_metric_of_the_whole_corpus_is_resampled_and_repeats_are_no_documents() -> None:
    corpus = metric("loglikelihood_f1").corpus["loglikelihood_f1"]
    draws = random.Random(1)
    before: list[SampleValue] = [(draws.randrange(2), (draws.randrange(2),)) for _ in range(60)]
    side_of = side(before, before, corpus=corpus)
    repeated = merge_runs([Baseline(tasks={A: side_of.baseline})] * 2).tasks[A]

    verdict = compare_gate(gate(corpus), [Side(result=side_of.result, baseline=repeated)], Policy())

    assert (verdict.n, verdict.loss, verdict.lost, verdict.method) == (60, 0.0, None, "paired bootstrap and permutation")
    assert pool_part(gate(corpus), [side_of], Policy()) is LeftOut.CORPUS


def test_documents_of_a_superset_count_the_same_whatever_their_tasks_repeats() -> None:
    """Half of the documents, those of a task with two repeats, are lost."""
    corpus = CorpusMetric(aggregate=lambda values: sum(values) / len(values), higher_is_better=True, is_mean=False)
    lost, kept = side([1.0] * 40, [0.0] * 40, corpus=corpus), side([1.0] * 40, [1.0] * 40, key=B, corpus=corpus)
    repeated = merge_runs([Baseline(tasks={A: lost.baseline})] * 2).tasks[A]

    verdict = compare_gate(gate(corpus, members=(A, B)), [Side(result=lost.result, baseline=repeated), kept], Policy())

    assert verdict.n == 80
    assert verdict.candidate == pytest.approx(0.5)


def test_a_superset_lists_the_notes_of_its_first_tasks_and_counts_the_rest() -> None:
    keys = [TaskKey(suite="s", task=f"m:{name}", few_shots=0) for name in "abcdef"]
    limited = [
        Side(result=replace(measured([1.0] * 5, key=key), max_samples=5), baseline=baseline(measured([1.0] * 9, key=key))) for key in keys
    ]

    many = compare_gate(gate(members=tuple(keys)), limited, Policy()).notes
    few = compare_gate(gate(members=tuple(keys[:2])), limited[:2], Policy()).notes

    assert [note.partition(":")[0] for note in few] == ["s|m", "s|m"]
    assert len(many) == 4
    assert many[:2] == few
    assert many[3] == "and 3 more"


@pytest.mark.parametrize(
    ("scores", "points", "max_drop"),
    [([0.0, 1.0], True, 0.02), ([0.25, 0.5], True, 0.02), ([10.0, 30.0], False, 0.4), ([-2.0, -4.0], False, 0.06)],
    ids=["right or wrong", "graded", "out of a hundred", "logarithms"],
)
def test_a_loss_of_the_session_is_a_share_of_a_score_that_is_no_share(scores: list[float], points: bool, max_drop: float) -> None:
    known = [baseline(measured(scores))]

    assert in_points(gate(UNKNOWN), known) is points
    assert own_policy(gate(UNKNOWN), known, Policy()).max_drop == pytest.approx(max_drop)
    assert own_policy(gate(UNKNOWN, spec=GateSpec(max_drop=0.7, min_effect=0.1)), known, Policy()) == Policy(max_drop=0.7, min_effect=0.1)


@pytest.mark.parametrize("change", [0.0, -0.1, 0.1])
def test_a_mean_without_a_range_has_no_certificate_and_says_so(change: float) -> None:
    """A loss that is 0 but for few documents, each of which loses more than any that was seen."""
    before = [5.0 + row % 7 for row in range(60)]
    verdict = compare_gate(gate(UNKNOWN), [side(before, [score + change * (row % 2) for row, score in enumerate(before)])], Policy())

    assert verdict.outcome == ("IMPROVED" if change > 0 else "INCONCLUSIVE")
    assert verdict.upper == math.inf
    assert ("the metric states no range, so no loss can be certified to be small" in verdict.line) is (change <= 0)


def test_a_mean_without_a_range_can_lose_all_the_same() -> None:
    before = [5.0 + row % 7 for row in range(60)]
    verdict = compare_gate(gate(UNKNOWN), [side(before, [score - 1 for score in before])], Policy())

    assert (verdict.outcome, verdict.red) == ("REGRESSED", True)


def test_the_range_is_the_most_that_a_document_can_lose() -> None:
    before = [50.0] * 60
    few, many = (compare_gate(gate(PERCENT), [side([*before] * times, [*before] * times)], Policy()) for times in (1, 20))

    assert (few.outcome, many.outcome) == ("INCONCLUSIVE", "PASSED")
    assert few.upper == pytest.approx(100 * (1 - 0.05 ** (1 / 60)))


def test_attempts_are_repeats_of_their_documents_and_divide_the_alpha_of_the_certificate() -> None:
    before = [1.0] * 150 + [0.0] * 50
    first = [0.0] * 20 + [1.0] * 130 + [0.0] * 50
    one = side(before, before)

    found = compare_gate(gate(), [replace(one, earlier=(measured(first),))], Policy())

    runs = list(zip(first, before, strict=True))
    expected = compare(pair(before, runs, most=1.0), alpha=0.05, certify_alpha=0.025)
    assert (found.loss, found.p, found.upper) == (expected.loss, expected.p, expected.upper)
    assert found.candidate == pytest.approx(0.70)
    assert found.notes == ("2 attempts, judged together",)


def test_an_attempt_that_asked_fewer_documents_joins_where_it_asked() -> None:
    early = replace(measured([0.0] * 10), num_saved=10)

    found = compare_gate(gate(), [replace(side([1.0] * 20, [1.0] * 20), earlier=(early,))], Policy())

    assert (found.n, found.loss, found.lost) == (20, 0.25, 10)


def test_an_attempt_that_does_not_fit_makes_the_gate_stale() -> None:
    other = measured([1.0] * 20, version=1)

    found = compare_gate(gate(), [replace(side([1.0] * 20, [1.0] * 20), earlier=(other,))], Policy())

    assert (found.outcome, found.red) == ("STALE", True)
