"""What the tables of a run show: its numbers in order, and texts that are safe to print."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from pytest_lighteval.reports.groups import ALL, averaged_in_all
from pytest_lighteval.types import Attempt, MetricResult, RunReport, TaskKey, TaskResult, Verdict, shown_number

Style = Literal["passed", "failed", "open", "plain", "error"]
"""What a line is about, for its colour. Open: neither good nor bad, somebody should look at it."""

COLOURS: Mapping[Style, Mapping[str, bool]] = {
    "failed": {"red": True},
    "error": {"red": True},
    "passed": {"green": True},
    "open": {"yellow": True},
    "plain": {},
}
"""Style -> arguments of pytest's terminal writer."""

STYLES: Mapping[str, Style] = {
    "passed": "passed",
    "failed": "failed",
    "inconclusive": "open",
    "waived": "open",
    "new": "open",
    "advisory": "plain",
}
"""By the outcome of a verdict."""

_SAID_BY: Mapping[str, tuple[str, ...]] = {
    "passed": ("PASSED", "IMPROVED"),
    "failed": ("REGRESSED", "STALE"),
    "inconclusive": ("INCONCLUSIVE",),
    "waived": (),
    "new": ("NEW",),
}
"""Outcome -> verdicts of a comparison that say the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRow:
    """One reported number with what its gate says."""

    key: str
    metric: str
    number: MetricResult
    verdict: Verdict | None
    """None: it has no gate."""
    name: str
    """The key as it is shown; see `shown_key`."""

    @property
    def style(self) -> Style:
        """How its gate was decided."""
        return STYLES[self.verdict.outcome] if self.verdict else "plain"


def task_rows(report: RunReport) -> list[ReportRow]:
    """The numbers of all tasks, worst first: failed gates, then by key, metrics as the task lists them."""
    return _rows(report, {str(result.key): result.metrics for result in report.results})


def group_rows(report: RunReport) -> list[ReportRow]:
    """The same for supersets, and for `all` where it says more than a task's row: for metrics that several tasks have."""
    rows = _rows(report, report.groups)
    return [row for row in rows if row.key != ALL or row.verdict or len(averaged_in_all(report.results, row.metric)) > 1]


def own_rows(report: RunReport) -> list[ReportRow]:
    """What tests measured with `lighteval.run`, in the order of their node ids and of their calls."""
    return [
        ReportRow(key=str(result.key), metric=metric, number=number, verdict=None, name=f"{node}: {shown_key(result)}")
        for node, results in report.own_runs.items()
        for result in results
        for metric, number in result.metrics.items()
    ]


def _rows(report: RunReport, metrics: Mapping[str, Mapping[str, MetricResult]]) -> list[ReportRow]:
    rows = []
    names = {str(result.key): shown_key(result) for result in report.results}
    for key in ordered_keys(metrics):
        verdicts = {verdict.metric: verdict for verdict in report.verdicts.get(key, ())}
        rows += [
            ReportRow(key=key, metric=name, number=number, verdict=verdicts.get(name), name=names.get(key, key))
            for name, number in metrics[key].items()
        ]
    return sorted(rows, key=lambda row: row.style != "failed")


def shown_key(result: TaskResult) -> str:
    """`suite|task|5`, and `suite|task|500 (8-shot)` if its prompts have fewer few-shot examples than were asked for."""
    shots = result.effective_few_shots
    return str(result.key) if shots >= result.key.few_shots else f"{result.key} ({round(shots, 2):g}-shot)"


def ordered_keys(keys: Iterable[str]) -> list[str]:
    """Keys sorted by suite, task, few-shot count as a number, and truncation flag; those of no task last."""
    last = TaskKey(suite="", task="", few_shots=0)

    def place(key: str) -> tuple[bool, TaskKey, str]:
        parsed = TaskKey.parse(key)
        return (parsed is None, parsed or last, key)

    return sorted(keys, key=place)


def gate_word(verdict: Verdict) -> str:
    """The one word of `gate_cell` that decides: `REGRESSED`, `failed`. An advisory comparison's is in brackets."""
    paired = verdict.paired
    if paired is None:
        return verdict.outcome
    if verdict.outcome == "advisory":
        return f"({paired.outcome})"
    return paired.outcome if not paired.advisory and paired.outcome in _SAID_BY[verdict.outcome] else verdict.outcome


def gate_cell(verdict: Verdict, *, with_thresholds: bool = True) -> str:
    """What a gate says: one word that its colour agrees with, its thresholds, and the comparison's own verdict if that is another.

    `REGRESSED`, `REGRESSED (soft)` if the soft scores decided, `failed, min 0.4, paired PASSED`, `waived, paired REGRESSED`,
    `PASSED (advisory)`. A pinned baseline is named where it is red: `failed, paired PASSED, pinned REGRESSED`.
    """
    paired = verdict.paired
    bounds = (("min", verdict.min), ("max", verdict.max))
    shown = [f"{name} {format_number(bound)}" for name, bound in bounds if bound is not None and with_thresholds]
    if verdict.pinned is not None and verdict.pinned.red:
        of = [f"{name} {comparison.outcome}" for name, comparison in (("paired", paired), ("pinned", verdict.pinned)) if comparison]
        return ", ".join([verdict.outcome, *shown, *of])
    if paired is None:
        return ", ".join([verdict.outcome, *shown])
    marks = {
        "soft": paired.soft is not None and paired.soft.decides,
        "blind": paired.blind,
        "advisory": paired.advisory,
        "retried": verdict.retried is not None,
    }
    ways = [mark for mark, holds in marks.items() if holds]
    word = f"{paired.outcome} ({', '.join(ways)})" if ways else paired.outcome
    if verdict.outcome == "advisory" or (not paired.advisory and paired.outcome in _SAID_BY[verdict.outcome]):
        return ", ".join([word, *shown])
    return ", ".join([verdict.outcome, *shown, f"paired {word}"])


def comparison_outcome(verdict: Verdict) -> str:
    """What the comparison alone says, as an outcome: a threshold beside it may say otherwise. "" without a comparison."""
    paired = verdict.paired
    if paired is None:
        return ""
    if paired.red:
        return verdict.outcome
    if paired.advisory:
        return "advisory"
    return {"INCONCLUSIVE": "inconclusive", "NEW": "new"}.get(paired.outcome, "passed")


def failed_verdicts(report: RunReport) -> list[tuple[str, Verdict]]:
    """Every failed gate with its task's or superset's key."""
    return [(key, verdict) for key in ordered_keys(report.verdicts) for verdict in report.verdicts[key] if verdict.outcome == "failed"]


def saved_documents(report: RunReport) -> list[tuple[str, str]]:
    """By task, and for all tasks, how many documents sequential mode did not ask."""
    stopped = [result for result in report.results if result.num_saved]
    rows = [(str(result.key), _saved([result])) for result in stopped]
    return [*rows, ("all tasks", _saved(report.results))] if len(report.results) > 1 and stopped else rows


def _saved(results: Sequence[TaskResult]) -> str:
    saved = sum(result.num_saved for result in results)
    every = saved + sum(len({document.id for document in result.documents}) for result in results)
    return f"{saved} of {every} documents saved ({saved / every:.0%}), as the verdict was certain without them"


def attempt_lines(report: RunReport) -> list[tuple[str, str]]:
    """Of each task that was tried more than once: its key, and every attempt with its scores and what its gates said after it."""
    return [(key, f"{len(report.attempts[key])} attempts: {_attempts(report.attempts[key])}") for key in ordered_keys(report.attempts)]


def _attempts(attempts: Sequence[Attempt]) -> str:
    return "; ".join(f"{number}. {_attempt(attempt)}" for number, attempt in enumerate(attempts, start=1))


def _attempt(attempt: Attempt) -> str:
    if attempt.result is None:
        return f"error: {one_line(attempt.error or '')}"
    cells = {verdict.metric: f" ({gate_cell(verdict, with_thresholds=False)})" for verdict in attempt.verdicts}
    return ", ".join(f"{name} {format_number(metric.value)}{cells.get(name, '')}" for name, metric in attempt.result.metrics.items())


def model_name(report: RunReport) -> str | None:
    """The evaluated model, as the backend names it. None: there is no backend, or it does not say."""
    name = report.backend.get("model_name") or report.backend.get("model")
    return None if name is None else str(name)


def format_number(value: float | None) -> str:
    """See `shown_number`. Empty for None."""
    return "" if value is None else shown_number(value)


def one_line(text: str) -> str:
    """The text without line breaks and control characters: what a model wrote must not control a terminal."""
    return " ".join("".join(char if char.isprintable() or char.isspace() else "\ufffd" for char in text).split())


def arguments_text(arguments: Mapping[str, Any]) -> str:
    """Model arguments as the command line has them: `pretrained=org/model,dtype=float32`."""
    return ",".join(f"{name}={_argument(value)}" for name, value in arguments.items())


def _argument(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{name}:{_argument(member)}" for name, member in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_argument, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def time_text(started: str) -> str:
    """`2026-01-02 03:04 UTC`, of a time in ISO 8601; the text itself if it is none."""
    try:
        return f"{datetime.fromisoformat(started).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except ValueError:
        return started


def duration_text(seconds: float) -> str:
    """`12.5 s`, `3 min 05 s`, `2 h 07 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def cache_line(cache: Mapping[str, int]) -> str | None:
    """How many answers came from the cache. None: every request was computed."""
    recalled = cache.get("recalled", 0)
    equal = cache.get("hits", 0) - recalled
    parts = [f"{recalled} from the cache"] if recalled else []
    parts += [f"{cache.get('misses', 0)} computed", *([f"{equal} to requests that equal another one"] if equal else [])]
    return f"answers: {', '.join(parts)}" if recalled or equal else None
