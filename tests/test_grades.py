"""Metrics whose answers something runs or reads: `evaluate` with graders made for the test."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pytest_lighteval import metrics
from pytest_lighteval.backends.fake import FakeBackend
from pytest_lighteval.baselines.align import AlignedScores, Mismatch, MismatchKind, align
from pytest_lighteval.baselines.file_format import parse_baseline, render_baseline
from pytest_lighteval.baselines.save import baseline_of
from pytest_lighteval.common.statistics import MEAN
from pytest_lighteval.errors import BackendError, RequestsFailedError, UserInputError
from pytest_lighteval.evaluate import evaluate
from pytest_lighteval.reports.details import detail_line
from pytest_lighteval.reports.serialize import task_result_from_plain, to_plain
from pytest_lighteval.types import (
    Answer,
    Ask,
    Detail,
    Doc,
    GenerateRequest,
    GenerateResponse,
    Grade,
    GraderKind,
    Mark,
    Metric,
    PromptTemplate,
    Task,
)
from tests.baselines.samples import report

Answers = Iterable[tuple[int, Answer]]


def graded_metric(name: str, *, ask: Ask = Ask.GENERATION) -> Metric:
    def sample(doc: Doc, grade: Grade) -> dict[str, float | None]:
        return {name: None if grade.marks[0].value is None else float(grade.marks[0].value)}

    return Metric(name=name, ask=ask, sample=sample, corpus={name: MEAN}, grader="sandbox")


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("length_is_even", "has_a_vowel"):
        monkeypatch.setitem(metrics.REGISTRY, name, graded_metric(name))


@pytest.fixture
def task(tmp_path: Path) -> Task:
    rows = [{"question": f"what is {n}?", "answer": f"it is {n * n}"} for n in range(12)]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Task(
        suite="mini",
        name="graded",
        prompt=PromptTemplate(query="{{ question }}", choices=("{{ answer }}",)),
        metrics=("length_is_even", "has_a_vowel", "exact_match"),
        path=tmp_path / "mini.yaml",
        line=1,
        data_files={"test": "test.jsonl"},
        hf_avail_splits=("test",),
        evaluation_splits=("test",),
    )


@dataclass
class Graded:
    """Grades by the text's length, in the order that `order` makes of the answers."""

    order: Callable[[Sequence[tuple[int, Answer]]], Sequence[tuple[int, Answer]]] = list
    as_they_come: bool = False
    identities: Mapping[str, str] = None  # type: ignore[assignment]
    fails_on: str | None = None
    kind: ClassVar[GraderKind] = "sandbox"

    def identity(self, task: Task) -> Mapping[str, str]:
        return self.identities or {"sandbox": "landlock", "python": "3.11.2"}

    def grade(self, task: Task, answers: Answers) -> Iterator[tuple[int, Grade]]:
        for index, answer in answers if self.as_they_come else self.order(list(answers)):
            yield index, self._grade(answer)

    def _grade(self, answer: Answer) -> Grade:
        if answer.doc.id == self.fails_on:
            return Grade(error="the sandbox did not start")
        right = len(answer.texts[0]) % 2 == 0 if answer.metric == "length_is_even" else "e" in answer.texts[0]
        return Grade(marks=(Mark(value=right, outcome="passed" if right else "failed", facts={"length": len(answer.texts[0])}),))

    def describe(self) -> Mapping[str, Any]:
        return {}

    def close(self) -> None: ...


class HalfBroken(FakeBackend):
    """Fails on every third request."""

    def generate(self, requests: Sequence[GenerateRequest]) -> Iterator[tuple[int, GenerateResponse]]:
        for index, response in super().generate(requests):
            yield index, GenerateResponse(error="no memory") if index % 3 == 0 else response


def test_scores_do_not_depend_on_the_order_in_which_answers_are_graded(task: Task) -> None:
    orders = (
        Graded(),
        Graded(as_they_come=True),
        Graded(order=lambda answers: answers[::-1]),
        Graded(order=lambda answers: sorted(answers, key=lambda a: a[1].metric)),
    )

    results = [replace(evaluate(task, FakeBackend(accuracy=0.5), few_shots=0, grader=grader), seconds=0) for grader in orders]

    assert results == results[:1] * 4
    assert results[0].grader == {"kind": "sandbox", "sandbox": "landlock", "python": "3.11.2"}
    assert sum(results[0].outcomes.values()) == 24
    assert {name: count for name, count in results[0].outcomes.items() if name.startswith("length")} == {
        "length_is_even: failed": round(12 * (1 - results[0]["length_is_even"])),
        "length_is_even: passed": round(12 * results[0]["length_is_even"]),
    }
    assert task_result_from_plain(to_plain(results[0])) == results[0]


def test_answers_are_graded_while_the_backend_still_generates(task: Task) -> None:
    seen: list[str] = []

    class Slow(FakeBackend):
        def generate(self, requests: Sequence[GenerateRequest]) -> Iterator[tuple[int, GenerateResponse]]:
            for index, response in super().generate(requests):
                seen.append("answered")
                yield index, response

    evaluate(task, Slow(), few_shots=0, grader=Graded(as_they_come=True), on_detail=lambda _: seen.append("scored"))

    assert seen == ["answered", "scored"] * 12


def test_the_details_say_what_the_grader_found(task: Task) -> None:
    details: list[Detail] = []

    evaluate(task, FakeBackend(accuracy=1.0), few_shots=0, grader=Graded(), on_detail=details.append)

    line = detail_line(details[0], seconds=0)
    assert line["grades"]["has_a_vowel"] == [{"outcome": "failed", "mark": False, "length": len(details[0].doc.choices[0])}]
    assert line["scores"].keys() == {"length_is_even", "has_a_vowel", "em"}


def test_a_document_that_could_not_be_graded_is_an_error_and_never_a_wrong_answer(task: Task) -> None:
    details: list[Detail] = []

    with pytest.raises(RequestsFailedError, match=r"1 of 12 .*test:5: \w+: the sandbox did not start"):
        evaluate(task, FakeBackend(), few_shots=0, grader=Graded(fails_on="test:5"), on_detail=details.append)

    assert [detail.doc.id for detail in details if not detail.values] == ["test:5"]
    assert len(details) == 12


def test_documents_without_an_answer_are_not_graded(task: Task) -> None:
    details: list[Detail] = []

    with pytest.raises(RequestsFailedError, match="4 of 12 documents have no answer"):
        evaluate(task, HalfBroken(), few_shots=0, grader=Graded(), on_detail=details.append)

    assert sorted(detail.error or "" for detail in details) == [""] * 8 + ["no memory"] * 4
    assert [len(detail.grades) for detail in details if detail.error] == [0] * 4


@pytest.mark.parametrize(
    ("grade", "problem"),
    [
        (lambda answers: [(0, Grade(marks=(Mark(value=1, outcome="passed"),)))] * 2, "answer 0 twice"),
        (lambda answers: [(0, Grade(marks=()))], "0 marks for 1 texts"),
        (lambda answers: [(99, Grade(marks=()))], "answer 99 twice, or was never given it"),
        (lambda answers: [], "12 documents were not graded"),
    ],
)
def test_a_grader_that_breaks_its_promise_is_an_error(task: Task, grade: Any, problem: str) -> None:
    class Broken(Graded):
        def grade(self, task: Task, answers: Answers) -> Iterator[tuple[int, Grade]]:
            yield from grade(list(answers))

    with pytest.raises(BackendError, match=problem):
        evaluate(task, FakeBackend(), few_shots=0, grader=Broken())


def test_a_metric_that_needs_a_grader_says_so_before_anything_is_asked(task: Task) -> None:
    with pytest.raises(UserInputError, match=r"mini\|graded: length_is_even needs a sandbox, and there is none"):
        evaluate(task, FakeBackend(), few_shots=0)


def test_a_baseline_that_was_graded_otherwise_does_not_fit(task: Task) -> None:
    then = evaluate(task, FakeBackend(), few_shots=0, grader=Graded(identities={"sandbox": "none", "python": "3.11.2"}))
    now = evaluate(task, FakeBackend(), few_shots=0, grader=Graded())
    text = render_baseline(baseline_of(report(then)))
    (baseline,) = parse_baseline(text, "b.json").tasks.values()

    misfit = align(now, baseline, "has_a_vowel")
    assert isinstance(misfit, Mismatch)
    assert [(reason.kind, reason.text) for reason in misfit.reasons] == [
        ("sandbox", "answers are graded otherwise than in the baseline: sandbox none -> landlock")
    ]
    assert isinstance(align(then, baseline, "has_a_vowel"), AlignedScores)
    assert isinstance(align(now, baseline, "has_a_vowel", allow=[MismatchKind.SANDBOX]), AlignedScores)
    unknown = align(now, replace(baseline, grader={}), "has_a_vowel")
    assert isinstance(unknown, Mismatch)
    assert "does not say how" in unknown.reasons[0].text
