"""Known regressions that a session tolerates until a date, as long as the score does not fall below a floor. Knows YAML, not tasks."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pytest_lighteval.common.yaml_lines import YamlFile
from pytest_lighteval.errors import UserInputError, did_you_mean
from pytest_lighteval.tasks.task_spec import TaskPattern, parse_pattern
from pytest_lighteval.types import TaskKey

_FIELDS = ("task", "metric", "reason", "until", "floor")
_REQUIRED = ("task", "reason", "until", "floor")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SHAPE = "{task: leaderboard|gsm8k|5, metric: qem, reason: kernel bug 123, until: 2027-01-31, floor: 0.40}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """One entry: a regression of this task is expected, is measured all the same, and turns no session red while the entry holds."""

    line: int
    pattern: TaskPattern
    metric: str | None
    """None: every metric of the task."""
    reason: str
    until: datetime.date
    """The last day on which it holds."""
    floor: float
    """The worst score that it still covers, in the metric's own direction (a ceiling where lower is better)."""

    def __str__(self) -> str:
        """Which task and metric it is about, as it was written."""
        return f"{self.pattern} {self.metric}" if self.metric else str(self.pattern)


@dataclass(frozen=True, slots=True, kw_only=True)
class WaiverFile:
    """A waiver file, in its own order."""

    path: Path
    waivers: tuple[Waiver, ...]


def waiver_for(file: WaiverFile, key: TaskKey, metric: str, today: datetime.date) -> Waiver | None:
    """The waiver that covers a metric of a task or superset today, the one that says most about it before others. None: none does."""
    holding = [
        waiver for waiver in file.waivers
        if waiver.pattern.covers(key) and waiver.metric in (None, metric) and today <= waiver.until
    ]  # fmt: skip
    return max(holding, key=lambda waiver: (waiver.metric is not None, waiver.pattern.precision(key)), default=None)


def within_floor(waiver: Waiver, value: float, *, higher_is_better: bool) -> bool:
    """Whether the score is still covered; one that is not a number never is."""
    return value >= waiver.floor if higher_is_better else value <= waiver.floor


def expired_waivers(file: WaiverFile, today: datetime.date) -> tuple[str, ...]:
    """One line for each waiver that does not hold any more, to be told: it is to be renewed with a reason, or taken out."""
    return tuple(
        f"{file.path}:{waiver.line}: the waiver of {waiver} expired on {waiver.until} ({waiver.reason})"
        for waiver in file.waivers
        if waiver.until < today
    )


def unmatched_waivers(file: WaiverFile, keys: Iterable[TaskKey]) -> tuple[str, ...]:
    """One line for each waiver that none of these tasks and supersets is about, so that a misspelt one does not go unnoticed."""
    known = list(keys)
    return tuple(
        f"{file.path}:{waiver.line}: this run has no {waiver.pattern}" + waiver.pattern.did_you_mean(known)
        for waiver in file.waivers
        if not any(waiver.pattern.covers(key) for key in known)
    )


# ------------------------------------------------------------------------------------------------------- reading


def load_waivers(path: Path) -> WaiverFile:
    """Read a YAML list of waivers; an empty file has none.

    Raises SuiteError, `path:line: field: problem`, for anything that is not as docs/baselines.md has it, and UserInputError where the
    file cannot be read.
    """
    file = YamlFile(path)
    entries = [] if file.data is None else file.data
    if not isinstance(entries, list):
        raise file.error((), f"a list of waivers is needed, each like - {_SHAPE}")
    waivers: list[Waiver] = []
    for index in range(len(entries)):
        waiver = _waiver(file, index)
        for earlier in waivers:
            if (earlier.pattern, earlier.metric) == (waiver.pattern, waiver.metric):
                raise file.error((index, "task"), f"line {earlier.line} waives {waiver} already")
        waivers.append(waiver)
    return WaiverFile(path=path, waivers=tuple(waivers))


def _waiver(file: YamlFile, index: int) -> Waiver:
    texts: dict[str, str] = {}
    for name in file.mapping((index,), example=_SHAPE):
        if name not in _FIELDS:
            problem = f"{name!r} is no field of a waiver, which has {', '.join(_FIELDS)}{did_you_mean(name, _FIELDS)}"
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
        raise file.error((index, "until"), f"{texts['until']!r} is no date; it is written year-month-day, such as 2027-01-31")
    return Waiver(
        line=file.line((index,)),
        pattern=pattern,
        metric=texts.get("metric"),
        reason=texts["reason"],
        until=until,
        floor=file.number((index, "floor")),
    )
