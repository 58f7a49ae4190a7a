"""What the linter for benchmarks finds in a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad a finding is. The order of the members is the order of reports."""

    ERROR = "error"
    """A right answer cannot score, a wrong one does, or the task cannot be evaluated."""
    WARNING = "warning"
    """The score means something else than a reader thinks."""
    NOTE = "note"
    """A reader of the score should know it."""

    @property
    def rank(self) -> int:
        """0 for the worst."""
        return list(Severity).index(self)


FINDING_KINDS: Mapping[str, str] = {
    "broken-row": "No document can be made of a row, which ends the evaluation.",
    "no-document": "No document is left.",
    "no-few-shots": "The few-shot examples that are asked for cannot be had.",
    "metric-fails": "A metric raises an error on a document.",
    "gold-cut-by-stop": "A stop sequence stands in every accepted answer, and what is left of them does not score.",
    "gold-cut-by-limit": "Every accepted answer is longer than `generation_size`, and what is left of them does not score.",
    "gold-marked-wrong": "No accepted answer scores, although nothing cuts it: extraction or normalization loses it.",
    "published-answer-marked-wrong": "An answer of `published_answers`, which the data set publishes as right, does not score.",
    "gold-equals-wrong-choice": "A wrong choice is the same text as the gold, stands before it, and wins the tie.",
    "no-wrong-choice": "Every choice is right.",
    "wrong-choice-scores": "A choice that is published as wrong scores as a written answer.",
    "wrong-number-scores": "A number with another sign, a further digit or a decimal point scores in place of the gold.",
    "empty-answer-scores": "An empty answer scores.",
    "refusal-scores": "An answer that refuses scores.",
    "contradicting-golds": "Two documents ask the same, and their golds have nothing in common.",
    "example-is-document": "A prompt shows the document itself, with its answer.",
    "no-gold": "The right answer is not published; the document is left out.",
    "gold-scores-in-part": "The best accepted answer scores more than nothing and less than the best value.",
    "gold-partly-unreachable": "Some accepted answers score and some do not.",
    "best-score-unreachable": "A corpus metric is below its best value, although every answer is the gold.",
    "example-cut-by-stop": "The answer that a few-shot example shows would be cut by a stop sequence, and not score.",
    "example-cut-by-limit": "The answer that a few-shot example shows is longer than `generation_size`, and would not score.",
    "example-marked-wrong": "The answer that a few-shot example shows would not score.",
    "duplicate-document": "A document has the query, the choices and the gold of an earlier one.",
    "document-among-examples": "The split of the few-shot examples has the document too.",
    "equal-choices": "Two choices are the same text.",
    "equal-options": "The choices are letters, and the prompt lists the same text for two of them.",
    "unnamed-choice": "The choices are letters, and the prompt does not say what one of them means.",
    "form-marked-wrong": "A short gold in another form, such as `**gold**` or with a text behind it, does not score.",
    "similar-choices": "Two choices differ in case or white space alone.",
    "uneven-spaces": "Some choices begin with a space and some do not.",
    "double-space": "The query ends with a space, and the choices begin with one.",
    "gold-is-longest": "The longest choice is right more often than chance allows.",
    "gold-is-shortest": "The shortest choice is right more often than chance allows.",
    "gold-in-one-place": "One place among the choices is right more often than chance allows.",
    "one-label-dominates": "One label, such as a letter or yes, is right more often than chance allows.",
    "gold-in-query": "The one choice that stands in the query is right more often than chance allows.",
    "answer-ends-prompt": "The prompt ends with the gold; of choices, more often than chance allows.",
    "answer-in-prompt": "The prompt holds its gold: a long one, one behind the same words each time, or more often than chance allows.",
    "prompt-too-long": "Prompt and answer are longer than the model, so the prompt is cut.",
}
"""Every kind of finding, in one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One document that shows a finding."""

    id: str
    """Of the document or the row."""
    text: str
    """What it shows, in one line, shortened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong with a task, over all of its documents."""

    kind: str
    """A key of `FINDING_KINDS`."""
    severity: Severity
    message: str
    """One line, without the count."""
    count: int
    """Documents (or rows) that it concerns."""
    of: int
    """Documents (or rows) that were looked at."""
    examples: tuple[Example, ...] = ()
    """The first ones, in stored order."""
    accepted: str | None = None
    """The reason for which it is accepted. None: it is not."""

    @property
    def line(self) -> str:
        """`gold-cut-by-stop: 148 of 1000: ...`."""
        return f"{self.kind}: {self.count} of {self.of}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCheck:
    """All that the linter says about one task."""

    task: str
    """`suite|task`."""
    few_shots: tuple[int, ...]
    """The few-shot counts at which its prompts were checked."""
    documents: int
    findings: tuple[Finding, ...]
    """The worst first, accepted ones included."""
    not_checked: tuple[str, ...] = ()
    """What nobody looked at, and why, one line each."""
    corrected_by: str | None = None
    """The task, `suite|task`, that is sound in its place. None: none is known."""
    seconds: float = 0.0

    def open(self, least: Severity) -> tuple[Finding, ...]:
        """The findings that are at least that bad, and not accepted."""
        return tuple(finding for finding in self.findings if finding.accepted is None and finding.severity.rank <= least.rank)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """All that a session of the linter found."""

    run_id: str
    started: str
    """ISO 8601, in UTC."""
    seconds: float
    checks: tuple[TaskCheck, ...]
    """Sorted by task."""
    errors: Mapping[str, str]
    """Task -> why it could not be checked."""
    skipped: Mapping[str, str]
    """Task -> why it cannot be run at all."""
    fail_on: Severity
    """The least severity that fails a task."""
    settings: Mapping[str, object]
    idle: tuple[str, ...] = ()
    """Accepted findings that are none any more, one line each."""
