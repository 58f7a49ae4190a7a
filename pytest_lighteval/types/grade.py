"""Answers that no function of document and text can score: code that must run, texts that a model must read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from pytest_lighteval.types.doc import Doc
from pytest_lighteval.types.task import Task

GraderKind = Literal["sandbox", "judge", "classifier"]
"""What grades: a sandbox runs the answer, a judge reads it, a classifier says how likely it has a property."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a model said about one document, to be graded for one metric."""

    metric: str
    """Its name in the registry."""
    doc: Doc
    few_shot_seed: int
    texts: tuple[str, ...]
    """As a metric would score them: without a model's thoughts. Never empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What a grader says about one text."""

    value: Any
    """A plain value, which the metric understands. None: no verdict was reached, and no metric may take that for a wrong answer."""
    outcome: str
    """`passed`, `timed out`, `unparsed`...: counted for the task, so there are few different ones."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Plain values for the document's details, the same in every run of the same texts: no times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """What a grader says about an answer."""

    marks: tuple[Mark, ...] = ()
    """One for each text, in their order."""
    error: str | None = None
    """Why there is no grade: the document then has no score, and its task is an error. None: there is one."""


class Grader(Protocol):
    """What `evaluate` is handed to grade answers for metrics that name its kind (`Metric.grader`).

    A metric's `sample` gets the `Grade` in place of a response, and makes values of its marks.
    """

    @property
    def kind(self) -> GraderKind:
        """Which metrics it is for."""

    def identity(self, task: Task) -> Mapping[str, str]:
        """All that may change a mark of this task's answers. It stands in the result and in the baseline.

        A baseline with another identity does not fit; the mismatch is called as the kind.
        """

    def grade(self, task: Task, answers: Iterable[tuple[int, Answer]]) -> Iterator[tuple[int, Grade]]:
        """Yield `(index, grade)` exactly once for each answer, in any order, as soon as it is known.

        `answers` waits for the model, so a grader that works in the background takes the next answer before it waits for its own work.

        Raises:
            GraderError: It cannot grade here at all.
            RequestsFailedError: At the end, if it has too few verdicts for a score.
        """

    def describe(self) -> Mapping[str, Any]:
        """Plain facts for the report. Never secrets. `notes` and `use` as in `Backend.describe`."""

    def close(self) -> None:
        """Release what it holds. May be called twice."""
