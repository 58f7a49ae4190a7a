"""Averages over tasks are Lighteval's values with the right errors."""

from __future__ import annotations

import math

import pytest

from pytest_lighteval.reports.groups import group_results
from pytest_lighteval.types import TaskKey
from tests.reports.samples import GSM8K, MMLU, key, number, result


def test_a_superset_is_the_unweighted_mean_with_the_error_of_that_mean() -> None:
    rows = group_results((GSM8K, *MMLU))

    mmlu = number((0.25 + 0.35) / 2, 0.05 / 2, 301)
    assert rows == {"leaderboard|mmlu:_average|5": {"acc": mmlu}, "all": {"qem": number(0.35, 0.0479, 100), "acc": mmlu}}


def test_one_task_makes_no_superset() -> None:
    assert list(group_results(MMLU[:1])) == ["all"]


def test_no_task_makes_no_row() -> None:
    assert group_results(()) == {}


def test_few_shot_counts_suites_and_the_truncation_flag_do_not_mix() -> None:
    variants = ["a|m:x|5", "a|m:y|5", "a|m:x|5|1", "a|m:y|5|1", "a|m:x|0", "a|m:y|0", "b|m:x|5", "b|m:y|5", "b|n:x|5"]

    rows = group_results([result(text, acc=number(0.5)) for text in variants])

    assert list(rows) == ["a|m:_average|0", "a|m:_average|5", "a|m:_average|5|1", "b|m:_average|5", "all"]


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


@pytest.mark.parametrize(
    ("task", "group"),
    [("a|m:x|5", "a|m:_average|5"), ("a|m:x:y|5|1", "a|m:_average|5|1"), ("a|gsm8k|5", None)],
    ids=["subtask", "two colons", "alone"],
)
def test_the_superset_is_the_part_before_the_first_colon(task: str, group: str | None) -> None:
    found: TaskKey | None = key(task).superset

    assert (found and str(found)) == group
