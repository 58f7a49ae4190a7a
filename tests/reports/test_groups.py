"""Averages over tasks are Lighteval's values with the right errors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from pytest_lighteval.common.statistics import MEAN, standard_error
from pytest_lighteval.reports.groups import group_results
from pytest_lighteval.types import DocumentScore, TaskKey, TaskResult
from tests.reports.samples import GSM8K, MMLU, key, number, result


def test_a_superset_is_the_unweighted_mean_with_the_error_of_that_mean() -> None:
    rows = group_results((GSM8K, *MMLU))

    mmlu = number((0.25 + 0.35) / 2, 0.05 / 2, 301)
    assert rows == {"leaderboard|mmlu:_average|5": {"acc": mmlu}, "all": {"qem": number(0.35, 0.0479, 100), "acc": mmlu}}


def test_one_task_makes_no_superset() -> None:
    assert list(group_results(MMLU[:1])) == ["all"]


def test_no_task_makes_no_row() -> None:
    assert group_results(()) == {}


def in_language(text: str, language: str, value: float) -> TaskResult:
    return replace(result(text, acc=number(value)), language=language)


def test_a_family_and_a_language_are_averaged_in_one_formulation() -> None:
    rows = group_results(
        [
            in_language("a|belebele_tha_Thai_cf|0", "tha", 0.2),
            in_language("a|belebele_deu_Latn_cf|0", "deu", 0.4),
            in_language("a|belebele_deu_Latn_mcf|0", "deu", 0.9),
            in_language("a|mmlu_tha_cf:law|0", "tha", 0.5),
            in_language("a|mmlu_tha_cf:art|0", "tha", 0.7),
        ]
    )

    assert {name: row["acc"].value for name, row in rows.items() if name != "all"} == {
        "a|belebele_cf:_average|0": pytest.approx(0.3),
        # the same tasks as the family, as Lighteval has it
        "a|mmlu_cf:_average|0": pytest.approx(0.6),
        "a|mmlu_tha_cf:_average|0": pytest.approx(0.6),
        # each benchmark counts the same
        "a|all_tha_cf:_average|0": pytest.approx((0.2 + 0.6) / 2),
    }


def test_few_shot_counts_suites_and_the_truncation_flag_do_not_mix() -> None:
    variants = ["a|m:x|5", "a|m:y|5", "a|m:x|5|1", "a|m:y|5|1", "a|m:x|0", "a|m:y|0", "b|m:x|5", "b|m:y|5", "b|n:x|5"]

    rows = group_results([result(text, acc=number(0.5)) for text in variants])

    assert list(rows) == ["a|m:_average|0", "a|m:_average|5", "a|m:_average|5|1", "b|m:_average|5", "all"]


def test_all_does_not_mix_a_corrected_task_with_the_task_that_it_corrects() -> None:
    both = [result("leaderboard|mmlu:x|5", acc=number(0.5)), result("corrected|leaderboard.mmlu:x|0", acc=number(0.9), em=number(0.1))]
    other = result("corrected|leaderboard.mmlu:y|5", acc=number(0.7))

    # the same whatever the few-shot count; a metric that only the corrected task has counts
    assert {name: row.value for name, row in group_results(both)["all"].items()} == {"acc": 0.5, "em": 0.1}
    # without its task, a corrected one is as any other
    assert group_results([*both, other])["all"]["acc"].value == pytest.approx((0.5 + 0.7) / 2)
    assert group_results([both[1], other])["all"]["acc"].value == pytest.approx((0.9 + 0.7) / 2)


def test_a_superset_has_no_metric_that_one_of_its_tasks_lacks() -> None:
    rows = group_results([result("a|m:x|0", acc=number(0.5), em=number(0.1)), result("a|m:y|0", acc=number(0.7))])

    assert list(rows["a|m:_average|0"]) == ["acc"]
    assert rows["all"]["em"] == number(0.1)


def test_tasks_of_one_prefix_that_share_no_metric_are_no_superset() -> None:
    assert list(group_results([result("a|truthfulqa:mc|0", mc1=number(0.5)), result("a|truthfulqa:gen|0", bleu=number(3.0))])) == ["all"]


def test_an_error_that_is_unknown_for_one_task_is_unknown_for_the_average() -> None:
    rows = group_results([result("a|m:x|0", acc=number(0.5, None, 1)), result("a|m:y|0", acc=number(0.7))])

    assert rows["a|m:_average|0"]["acc"].stderr is None


def test_a_score_that_is_not_a_number_shows_in_the_average() -> None:
    rows = group_results([result("a|m:x|0", acc=number(math.nan, None)), result("a|m:y|0", acc=number(0.7))])

    assert math.isnan(rows["a|m:_average|0"]["acc"].value)


def test_the_order_of_the_results_does_not_matter() -> None:
    results = [result(f"a|m:{name}|0", acc=number(0.1 * place)) for place, name in enumerate("abcdefg")]

    assert group_results(results) == group_results(results[::-1])


def measured(text: str, scores: Sequence[float], *, sources: Mapping[str, str] | None = None, cluster: int | None = None) -> TaskResult:
    """A task with these scores of its rows, in groups of `cluster`."""
    documents = tuple(
        DocumentScore(id=f"test:{row}", prompt_digest="", values={"acc": score}, cluster=f"{row // cluster}" if cluster else None)
        for row, score in enumerate(scores)
    )
    clusters = [document.cluster for document in documents] if cluster else None
    error = standard_error(scores, MEAN, clusters=clusters)
    of = result(text, documents, acc=number(math.fsum(scores) / len(scores), error, len(scores)))
    return replace(of, row_sources=sources or {})


SCORES = [1.0, 0.0, 0.0, 1.0, 0.0] * 19


def test_several_few_shot_counts_of_a_task_say_no_more_about_its_documents_than_one() -> None:
    counts = [measured(f"s|t|{count}", SCORES) for count in (0, 1, 2, 5, 10)]

    together = group_results(counts)["all"]["acc"]

    alone = counts[0].metrics["acc"].stderr
    assert alone == pytest.approx(0.0505, abs=1e-4)
    assert together.stderr == pytest.approx(alone)
    assert together.value == pytest.approx(0.4)
    assert together.n == 5 * 95


def test_rows_that_answer_against_each_other_at_two_counts_cancel() -> None:
    rows = group_results([measured("s|t|0", SCORES), measured("s|t|5", [1 - score for score in SCORES])])

    assert rows["all"]["acc"].stderr == pytest.approx(0, abs=1e-12)


def test_one_benchmark_in_two_suites_counts_once_and_another_one_by_itself() -> None:
    same, elsewhere = {"test": "owner/name|default|test"}, {"test": "owner/other|default|test"}
    one, copy, other = (
        measured(text, SCORES, sources=sources) for text, sources in (("a|t|0", same), ("b|u|5", same), ("b|v|0", elsewhere))
    )

    error = one.metrics["acc"].stderr or 0.0
    assert group_results([one, copy])["all"]["acc"].stderr == pytest.approx(error)
    assert group_results([one, other])["all"]["acc"].stderr == pytest.approx(error / math.sqrt(2))
    assert group_results([one, copy, other])["all"]["acc"].stderr == pytest.approx(math.hypot(2 * error, error) / 3)


def test_other_rows_of_one_split_are_independent() -> None:
    sources = {"test": "owner/name|default|test"}
    first, second = (measured(text, SCORES, sources=sources) for text in ("a|t|0", "a|u|0"))
    moved = replace(second, documents=tuple(replace(document, id=f"test:9{document.id[5:]}00") for document in second.documents))

    assert group_results([first, moved])["all"]["acc"].stderr == pytest.approx((first.metrics["acc"].stderr or 0.0) / math.sqrt(2))


def test_clusters_stay_together_across_counts() -> None:
    counts = [measured(f"s|t|{count}", [float(row % 10 < 5) for row in range(60)], cluster=5) for count in (0, 5)]

    assert group_results(counts)["all"]["acc"].stderr == pytest.approx(counts[0].metrics["acc"].stderr)


def test_numbers_that_are_no_means_of_documents_are_taken_as_wholly_dependent() -> None:
    counts = [replace(measured(f"s|t|{count}", SCORES), metrics={"acc": number(12.5, 0.3, 95)}) for count in (0, 5)]

    assert group_results(counts)["all"]["acc"].stderr == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("task", "group"),
    [("a|m:x|5", "a|m:_average|5"), ("a|m:x:y|5|1", "a|m:_average|5|1"), ("a|gsm8k|5", None)],
    ids=["subtask", "two colons", "alone"],
)
def test_the_superset_is_the_part_before_the_first_colon(task: str, group: str | None) -> None:
    found: TaskKey | None = key(task).superset

    assert (found and str(found)) == group
