"""Waivers: known regressions that a session tolerates until a date, as long as the score does not fall below a floor."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pytest_lighteval.common.yaml_lines import YamlFile
from pytest_lighteval.errors import FileError, UserInputError, did_you_mean
from pytest_lighteval.metrics import metrics_of
from pytest_lighteval.tasks.catalogue import Catalogue, reported_values
from pytest_lighteval.tasks.task_spec import TaskPattern, parse_pattern
from pytest_lighteval.types import CorpusMetric, Task, TaskKey

_FIELDS = ("task", "metric", "reason", "until", "floor")
_REQUIRED = ("task", "reason", "until", "floor")
_ABSURD = 1e6
"""A score where lower is better that no run has, of a metric without a known range."""
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SHAPE = "{task: leaderboard|gsm8k|5, metric: qem, reason: kernel bug 123, until: 2027-01-31, floor: 0.40}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """One entry: a regression of this task is expected. It is measured, and does not fail a session until the entry expires."""

    line: int
    pattern: TaskPattern
    metric: str | None
    """None: every metric of the task."""
    reason: str
    until: datetime.date
    """The last day on which it is valid."""
    floor: float
    """The worst score that it covers: the lowest, or the highest of a metric where lower is better."""

    def __str__(self) -> str:
        """Its task and metric."""
        return f"{self.pattern} {self.metric}" if self.metric else str(self.pattern)


@dataclass(frozen=True, slots=True, kw_only=True)
class WaiverFile:
    """A waiver file; the waivers are in its order."""

    path: Path
    waivers: tuple[Waiver, ...]


def waiver_for(file: WaiverFile, key: TaskKey, metric: str, today: datetime.date) -> Waiver | None:
    """The most precise waiver that covers a metric of a task or superset today. None: there is none."""
    valid = [
        waiver for waiver in file.waivers
        if waiver.pattern.covers(key) and waiver.metric in (None, metric) and today <= waiver.until
    ]  # fmt: skip
    return max(valid, key=lambda waiver: (waiver.metric is not None, waiver.pattern.precision(key)), default=None)


def within_floor(waiver: Waiver, value: float, *, higher_is_better: bool) -> bool:
    """Whether the waiver covers the score. It never covers NaN."""
    return value >= waiver.floor if higher_is_better else value <= waiver.floor


def expired_waivers(file: WaiverFile, today: datetime.date) -> tuple[str, ...]:
    """One line for each waiver that has expired: someone must renew or remove it."""
    return tuple(
        f"{file.path}:{waiver.line}: the waiver of {waiver} expired on {waiver.until} ({waiver.reason})"
        for waiver in file.waivers
        if waiver.until < today
    )


def unmatched_waivers(file: WaiverFile, keys: Iterable[TaskKey]) -> tuple[str, ...]:
    """One line for each waiver that covers none of these tasks and supersets, so that a misspelt one is noticed."""
    known = list(keys)
    return tuple(
        f"{file.path}:{waiver.line}: this run has no {waiver.pattern}" + waiver.pattern.did_you_mean(known)
        for waiver in file.waivers
        if not any(waiver.pattern.covers(key) for key in known)
    )


def misnamed_waivers(file: WaiverFile, tasks: Iterable[tuple[TaskKey, Task]]) -> tuple[str, ...]:
    """One line for each waiver of a metric that none of these tasks, as far as it covers them or their superset, reports."""
    by_key = [(name, task) for key, task in tasks for name in (key, key.superset) if name is not None]
    lines = []
    for waiver in file.waivers:
        reported = {value for key, task in by_key if waiver.pattern.covers(key) for value in reported_values(task)}
        if waiver.metric is not None and reported and waiver.metric not in reported:
            told = f"{waiver.pattern} reports no {waiver.metric!r}{did_you_mean(waiver.metric, reported)}"
            lines.append(f"{file.path}:{waiver.line}: metric: {told}; reported are {', '.join(sorted(reported))}")
    return tuple(lines)


def check_waivers(file: WaiverFile, catalogue: Catalogue) -> None:
    """Raise FileError for a waiver whose floor allows any score of a metric that it covers: it would hide whatever comes.

    A waiver of a task that does not exist is told at the end of a session, with those of tasks that were not selected.
    """
    for waiver in file.waivers:
        try:
            tasks = [task for task in catalogue.find(waiver.pattern) if task.skip is None]
        except UserInputError:
            continue
        corpora = {name: corpus for task in tasks for entry in metrics_of(task) for name, corpus in entry.corpus.items()}
        for name, corpus in corpora.items():
            if waiver.metric in (None, name) and (bound := _beyond(waiver.floor, corpus)) is not None:
                problem = f"{waiver.floor:g} allows any score of {name} ({bound}); write the worst score that is expected"
                raise FileError(file.path, waiver.line, f"{waiver.pattern}.floor", problem)


def _beyond(floor: float, corpus: CorpusMetric) -> str | None:
    """The bound of a metric that a floor reaches, in words. None: it reaches none."""
    if corpus.higher_is_better:
        least = corpus.range[0] if corpus.range is not None else 0.0
        return f"the lowest is {least:g}" if floor <= least else None
    most = corpus.range[1] if corpus.range is not None else _ABSURD
    return f"lower is better, and the highest is {most:g}" if floor >= most else None


# ------------------------------------------------------------------------------------------------------- reading


def load_waivers(path: Path, *, today: datetime.date | None = None) -> WaiverFile:
    """Read a YAML list of waivers; an empty file has none.

    docs/baselines.md describes the fields. A waiver may hold for a year from `today` on; None: for any time. Raises FileError,
    `path:line: field: problem`, for a mistake, and UserInputError if the file cannot be read.
    """
    file = YamlFile(path)
    entries = [] if file.data is None else file.data
    if not isinstance(entries, list):
        raise file.error((), f"a list of waivers is needed, each like - {_SHAPE}")
    waivers: list[Waiver] = []
    for index in range(len(entries)):
        waiver = _waiver(file, index)
        if today is not None and waiver.until > (last := _in_a_year(today)):
            raise file.error((index, "until"), f"{waiver.until} is more than a year away, a waiver for good; write a day up to {last}")
        for earlier in waivers:
            if (earlier.pattern, earlier.metric) == (waiver.pattern, waiver.metric):
                raise file.error((index, "task"), f"line {earlier.line} already waives {waiver}")
        waivers.append(waiver)
    return WaiverFile(path=path, waivers=tuple(waivers))


def _in_a_year(day: datetime.date) -> datetime.date:
    """The same day of the next year; of 29 February, the 28th."""
    leaps = (day.month, day.day) == (2, 29)
    return day.replace(year=day.year + 1, day=28 if leaps else day.day)


def _waiver(file: YamlFile, index: int) -> Waiver:
    texts: dict[str, str] = {}
    for name in file.mapping((index,), example=_SHAPE):
        if name not in _FIELDS:
            problem = f"unknown field {name!r}; a waiver has {', '.join(_FIELDS)}{did_you_mean(name, _FIELDS)}"
            raise file.error((index,), problem, line=file.line((index, name)))
        texts[name] = " ".join((file.text((index, name)) or "").split())
        if not texts[name]:
            raise file.error((index, name), "a text or number is needed")
    for name in _REQUIRED:
        if name not in texts:
            raise file.error((index,), f"{name} is missing; a waiver is written {_SHAPE}")
    try:
        pattern = parse_pattern(texts["task"])
    except UserInputError as error:
        raise file.error((index, "task"), str(error)) from None
    try:
        until = datetime.date.fromisoformat(texts["until"]) if _DATE.fullmatch(texts["until"]) else None
    except ValueError:
        until = None
    if until is None:
        raise file.error((index, "until"), f"{texts['until']!r} is not a date; write year-month-day, such as 2027-01-31")
    return Waiver(
        line=file.line((index,)),
        pattern=pattern,
        metric=texts.get("metric"),
        reason=texts["reason"],
        until=until,
        floor=file.number((index, "floor")),
    )
