"""Texts marked by a classifier that the user names: how likely each one is toxic."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from pytest_lighteval.errors import BackendError, GraderError
from pytest_lighteval.types import Answer, Grade, GraderKind, Mark, Task


class Classifier(Protocol):
    """What says how likely a label is."""

    @property
    def model(self) -> str:
        """As the user named it."""

    @property
    def identity(self) -> Mapping[str, str]:
        """All that may change a probability."""

    @property
    def label(self) -> str:
        """Of which the probability is."""

    def probability(self, text: str) -> float:
        """From 0 to 1."""

    def close(self) -> None:
        """Release the model."""


class ClassifierGrader:
    """Marks each text with a probability; an empty text has no mark, as there is nothing to read."""

    kind: GraderKind = "classifier"

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self._texts = 0

    def identity(self, task: Task) -> Mapping[str, str]:
        """See `Grader.identity`."""
        del task
        return self._classifier.identity

    def grade(self, task: Task, answers: Iterable[tuple[int, Answer]]) -> Iterator[tuple[int, Grade]]:
        """See `Grader.grade`."""
        for index, answer in answers:
            try:
                yield index, Grade(marks=tuple(self._mark(text) for text in answer.texts))
            except BackendError as error:
                raise GraderError(f"{task.id}: {error}") from error

    def _mark(self, text: str) -> Mark:
        if not text.strip():
            return Mark(value=None, outcome="empty")
        self._texts += 1
        return Mark(value=self._classifier.probability(text), outcome="classified")

    def describe(self) -> Mapping[str, Any]:
        """See `Grader.describe`."""
        return {"model": self._classifier.model, "use": {"texts": self._texts}}

    def close(self) -> None:
        """See `Grader.close`."""
        self._classifier.close()
