"""The grader of programs: a sandbox that fails is an error of the document, and verdicts are remembered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.errors import DataError
from pytest_lighteval.graders.code import CodeGrader
from pytest_lighteval.graders.programs import job_of
from pytest_lighteval.types import Answer, Doc, Grade, PromptTemplate, Task

TASK = Task(suite="mine", name="add", prompt=PromptTemplate(query=""), metrics=("code_pass_at_1",), path=Path("mine.yaml"), line=1)
DOC = Doc(id="test:0", query="", choices=("",), gold=(0,), specific={"tests": "assert add(1, 2) == 3", "cpu_seconds": 1})
RIGHT, WRONG = "def add(a, b):\n    return a + b\n", "def add(a, b):\n    return a\n"
BREAKS = "import os\nos.kill(os.getppid(), 9)\n"
"""Without a sandbox, this ends the process that starts programs."""


class Store(dict[bytes, bytes]):
    def find(self, key: bytes) -> bytes | None:
        return self.get(key)

    def write(self, key: bytes, value: bytes) -> None:
        self[key] = value


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def grader(store: Store) -> Iterator[CodeGrader]:
    """Without a sandbox: what runs are the programs above."""
    grader = CodeGrader("none", size=1, verdicts=store)
    yield grader
    grader.close()


def grades(grader: CodeGrader, *texts: str) -> list[Grade]:
    answers = [(index, Answer(metric="code_pass_at_1", doc=DOC, few_shot_seed=0, texts=(text,))) for index, text in enumerate(texts)]
    found = dict(grader.grade(TASK, iter(answers)))
    return [found[index] for index in range(len(texts))]


def test_a_sandbox_that_fails_is_an_error_and_never_a_wrong_answer_and_the_next_one_has_its_verdict(
    grader: CodeGrader, store: Store
) -> None:
    right, broken, wrong = grades(grader, RIGHT, BREAKS, WRONG)

    assert [mark.value for grade in (right, wrong) for mark in grade.marks] == [True, False]
    assert broken.marks == ()
    assert broken.error is not None
    assert broken.error.startswith("the sandbox gave no verdict: the process that starts programs")
    assert len(store) == 2


def test_the_same_program_runs_once_in_this_session_and_not_at_all_in_the_next(grader: CodeGrader, store: Store) -> None:
    first = grades(grader, RIGHT, RIGHT, WRONG)
    again = CodeGrader("none", size=1, verdicts=store)
    remembered = grades(again, RIGHT, RIGHT, WRONG)
    again.close()

    assert first == remembered
    assert grader.describe()["use"] == {"programs": 3, "recalled": 1}
    assert again.describe()["use"] == {"programs": 3, "recalled": 3}


@pytest.mark.parametrize(
    ("specific", "problem"),
    [
        ({"cpu_seconds": "fast"}, "cpu_seconds: 'fast' is no whole number of seconds from 1 on"),
        ({"cpu_seconds": 0}, "cpu_seconds: 0 is no whole number"),
        ({"cpu_seconds": 1.5}, "cpu_seconds: 1.5 is no whole number"),
        ({"entry_points": "add"}, "entry_points: 'add' is no list of names"),
        ({"entry_points": ["a b"]}, "is no list of names"),
        ({"tests": ""}, "tests: the tests of the program are missing"),
        ({"code": "fence"}, "code: 'fence' is none of text, first_fence, last_fence"),
    ],
)
def test_what_a_suite_says_wrongly_about_a_program_is_one_line(specific: dict[str, Any], problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        job_of("code_pass_at_1", replace(DOC, specific={**DOC.specific, **specific}), RIGHT)


def test_other_tests_or_another_limit_of_a_suite_are_another_measurement(grader: CodeGrader) -> None:
    def told(**specific: Any) -> str:
        return grader.identity(replace(TASK, prompt=PromptTemplate(query="", specific=specific)))["tests"]

    assert told(tests="{{ tests }}", cpu_seconds="{{ 5 }}") == told(cpu_seconds="{{ 5 }}", tests="{{ tests }}")
    assert len({told(tests="{{ tests }}"), told(tests="{{ tests }}", cpu_seconds="{{ 5 }}"), told(tests="assert True")}) == 3
