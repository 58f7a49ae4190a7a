"""Known regressions that a session tolerates until a date, as long as the score does not fall below a floor. Knows YAML, not tasks."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pytest_lighteval.common.yaml_lines import YamlFile
from pytest_lighteval.errors import did_you_mean
from pytest_lighteval.types import TaskKey

_FIELDS = ("task", "metric", "reason", "until", "floor")
_REQUIRED = ("task", "reason", "until", "floor")
_TASK = re.compile(r"(?P<suite>[^|\s]+)\|(?P<task>[^|\s]+)(\|(?P<few_shots>[0-9]{1,9})(\|(?P<truncate>[01]))?)?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SHAPE = "{task: leaderboard|gsm8k|5, metric: qem, reason: kernel bug 123, until: 2027-01-31, floor: 0.40}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """One entry: a regression of this task is expected, is measured all the same, and turns no session red while the entry holds."""

    line: int
    suite: str
    task: str
    """`mmlu:_average` is the superset."""
    few_shots: int | None
    """None: any count."""
    truncate: bool | None
    """None: with and without the truncation flag."""
    metric: str | None
    """None: every metric of the task."""
    reason: str
    until: datetime.date
    """The last day on which it holds."""
    floor: float
    """The worst score that it still covers, in the metric's own direction (a ceiling where lower is better)."""

    def __str__(self) -> str:
        """Which task and metric it is about, as it was written."""
        spec = [f"{self.suite}|{self.task}"]
        spec += [] if self.few_shots is None else [str(self.few_shots)]
        spec += [] if self.truncate is None else [str(int(self.truncate))]
        return "|".join(spec) + (f" {self.metric}" if self.metric else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class WaiverFile:
    """A waiver file, in its own order."""

    path: Path
    waivers: tuple[Waiver, ...]


def waiver_for(file: WaiverFile, key: TaskKey, metric: str, today: datetime.date) -> Waiver | None:
    """The waiver that covers a metric of a task or superset today, the one that says most about it before others. None: none does."""
    holding = [waiver for waiver in file.waivers if _covers(waiver, key) and waiver.metric in (None, metric) and today <= waiver.until]
    return max(holding, key=_detail, default=None)


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
        f"{file.path}:{waiver.line}: no task is called {waiver.suite}|{waiver.task}"
        + did_you_mean(f"{waiver.suite}|{waiver.task}", {f"{key.suite}|{key.task}" for key in known})
        for waiver in file.waivers
        if not any(_covers(waiver, key) for key in known)
    )


def _covers(waiver: Waiver, key: TaskKey) -> bool:
    return (
        (waiver.suite, waiver.task) == (key.suite, key.task)
        and waiver.few_shots in (None, key.few_shots)
        and waiver.truncate in (None, key.truncate)
    )


def _detail(waiver: Waiver) -> int:
    return 4 * (waiver.metric is not None) + 2 * (waiver.few_shots is not None) + (waiver.truncate is not None)


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
            if _about(earlier) == _about(waiver):
                raise file.error((index, "task"), f"line {earlier.line} waives {waiver} already")
        waivers.append(waiver)
    return WaiverFile(path=path, waivers=tuple(waivers))


def _about(waiver: Waiver) -> tuple[str, str, int | None, bool | None, str | None]:
    return (waiver.suite, waiver.task, waiver.few_shots, waiver.truncate, waiver.metric)


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
    spec = _TASK.fullmatch(texts["task"])
    if spec is None:
        problem = "is written suite|task, suite|task|few_shots or suite|task|few_shots|truncate, such as leaderboard|gsm8k|5"
        raise file.error((index, "task"), f"{texts['task']!r}: a task {problem}")
    try:
        until = datetime.date.fromisoformat(texts["until"]) if _DATE.fullmatch(texts["until"]) else None
    except ValueError:
        until = None
    if until is None:
        raise file.error((index, "until"), f"{texts['until']!r} is no date; it is written year-month-day, such as 2027-01-31")
    return Waiver(
        line=file.line((index,)),
        suite=spec["suite"],
        task=spec["task"],
        few_shots=None if spec["few_shots"] is None else int(spec["few_shots"]),
        truncate=None if spec["truncate"] is None else spec["truncate"] == "1",
        metric=texts.get("metric"),
        reason=texts["reason"],
        until=until,
        floor=file.number((index, "floor")),
    )
