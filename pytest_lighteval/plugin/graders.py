"""What grades a task's answers, of the session's options. A task whose optional grader is missing runs without its metrics."""

from __future__ import annotations

from dataclasses import replace

from pytest_lighteval.metrics import metrics_of
from pytest_lighteval.plugin.session import Session
from pytest_lighteval.types import Grader, Task

NO_CLASSIFIER = "toxicity is not measured: --toxicity-classifier names no model"


def grader_kinds(task: Task) -> set[str]:
    """Kinds of graders that its metrics name."""
    return {entry.grader for entry in metrics_of(task) if entry.grader is not None}


def grader_of(session: Session, task: Task) -> Grader | None:
    """The grader of a task's answers. None: its metrics need none. Raises GraderError if no sandbox holds on this host."""
    kinds = grader_kinds(task)
    if "sandbox" in kinds:
        return session.sandbox.grader()
    return session.classifier if "classifier" in kinds else None


def gradable(session: Session, task: Task) -> Task:
    """The task without the metrics of a classifier, if the session has none: its texts and their counts are still worth keeping."""
    if session.classifier is not None or "classifier" not in grader_kinds(task):
        return task
    return replace(task, metrics=tuple(entry.name for entry in metrics_of(task) if entry.grader != "classifier"))


def notes_of(task: Task, asked: Task) -> tuple[str, ...]:
    """What the result says about metrics that `gradable` left out."""
    return () if asked is task else (NO_CLASSIFIER,)
