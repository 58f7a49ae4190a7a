"""What the linter says of published benchmarks, on the data of the hub: the right values, once and for all."""

from __future__ import annotations

import pytest

from pytest_lighteval.checks.check import check_task
from pytest_lighteval.data.data_sets import DataSets
from pytest_lighteval.tasks.catalogue import Catalogue
from pytest_lighteval.tasks.task_spec import parse_specs
from pytest_lighteval.types import TaskCheck
from tests.shared import HUB, ROOT, needs_shared

pytestmark = [needs_shared]


def check(name: str) -> TaskCheck:
    (tasks,) = Catalogue().select(parse_specs(f"{name}|0", folder=ROOT)).values()
    (selected,) = tasks
    return check_task(selected.task, few_shots=(0,), data_sets=DataSets(data_home=HUB))


@pytest.mark.parametrize(
    ("name", "kind", "count", "of"),
    [
        pytest.param("lighteval|drop", "gold-cut-by-stop", 147, 1000, id="DROP: the stop sequence cuts decimals"),
        pytest.param("lighteval|drop", "gold-marked-wrong", 32, 1000, id="DROP: answers of several spans"),
        pytest.param("lighteval|math:algebra", "gold-cut-by-stop", 444, 1187, id="MATH: solutions of several lines"),
        pytest.param("lighteval|mgsm:es", "example-cut-by-stop", 8, 8, id="MGSM: worked examples have equals signs"),
        pytest.param("lighteval|triviaqa", "published-answer-marked-wrong", 101, 2000, id="TriviaQA: the published answer"),
        pytest.param("lighteval|mathqa", "gold-equals-wrong-choice", 4, 1000, id="MathQA: the gold stands there twice"),
        pytest.param("lighteval|glue:stsb", "no-wrong-choice", 1500, 1500, id="STS-B: one choice"),
        pytest.param("helm|siqa", "wrong-choice-scores", 643, 1954, id="HELM: A is an article, and nothing is left of it"),
        pytest.param("leaderboard|mmlu:college_physics", "duplicate-document", 11, 102, id="MMLU: repeated questions"),
    ],
)
def test_a_known_fault_is_found_with_its_count(name: str, kind: str, count: int, of: int) -> None:
    (finding, *_) = [finding for finding in check(name).findings if finding.kind == kind]

    assert (finding.count, finding.of) == (count, of)


@pytest.mark.parametrize(
    "name",
    [
        "leaderboard|arc:challenge",
        "leaderboard|winogrande",
        "lighteval|piqa",
        "lighteval|lambada:openai",
        "corrected|lighteval.drop",
        "corrected|helm.commonsenseqa",
        "corrected|lighteval.mgsm:es",
        "corrected|harness.bbh:dyck_languages",
    ],
)
def test_a_sound_benchmark_has_no_error(name: str) -> None:
    assert [finding.line for finding in check(name).findings if finding.severity == "error"] == []
