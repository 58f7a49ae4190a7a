"""A session over checkpoints: which were taken, the engine of the one that is measured, and what the earlier ones scored.

Each checkpoint has a session of its own, with its model, its run folder and its gates; all else is shared.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest

from pytest_lighteval.backends.checkpoints import Checkpoint, Looks
from pytest_lighteval.errors import UserInputError
from pytest_lighteval.gates.series import judge_of_point
from pytest_lighteval.plugin import replicas
from pytest_lighteval.plugin.checkpoint_settings import CheckpointSettings
from pytest_lighteval.plugin.item_report import forget_outcomes
from pytest_lighteval.plugin.session import Session
from pytest_lighteval.reports.run_collector import RunCollector
from pytest_lighteval.reports.serialize import to_plain
from pytest_lighteval.types import Backend, HistoryPoint, HistoryRow, Task, TaskKey

_STILL = 1.0
"""Seconds between two looks at a checkpoint whose files do not tell whether they are whole, where nobody waits for more."""


@dataclass(slots=True, kw_only=True)
class MeasuredCheckpoint:
    """One checkpoint of the session, and what was measured of it so far."""

    checkpoint: Checkpoint
    session: Session
    items: dict[TaskKey, Task]
    measuring: tuple[pytest.Item, ...]
    unfinished: set[str]
    """Ids of items without an end."""
    started: datetime
    collected: RunCollector = field(default_factory=RunCollector)
    is_written: bool = False

    def forget(self) -> None:
        """Give back the memory of what is written."""
        self.collected = RunCollector()
        for item in self.measuring:
            forget_outcomes(item)
        self.measuring = ()


@dataclass(slots=True)
class Series:
    """The checkpoints of a session."""

    session: Session
    settings: CheckpointSettings
    taken: dict[str, Checkpoint] = field(default_factory=dict)
    """By place, in the order in which they are measured."""
    waiting: dict[str, str] = field(default_factory=dict)
    """Name -> why it was not taken at the last look."""
    measured: dict[str, MeasuredCheckpoint] = field(default_factory=dict)
    """By name of the checkpoint."""
    points: list[HistoryPoint] = field(default_factory=list)
    """What is whole, in the order of measuring."""
    rows: list[HistoryRow] = field(default_factory=list)
    looks: Looks = field(default_factory=Looks)
    by_item: dict[str, str] = field(default_factory=dict)
    """Id of an item -> name of its checkpoint."""
    _engine: tuple[str, Backend] | None = None

    def take_new(self) -> list[Checkpoint]:
        """Take the checkpoints that are complete and were not taken before, in their order. Raises UserInputError."""
        found = self.settings.find(may_be_gone=bool(self.taken))
        problems = self.looks.complete(found)
        taken_names = {checkpoint.name for checkpoint in self.taken.values()}
        self.waiting = {}
        new = []
        for checkpoint in found:
            problem = problems[checkpoint.place]
            if checkpoint.place in self.taken:
                continue
            if problem is not None:
                self.waiting[checkpoint.name] = problem
            elif checkpoint.name in taken_names:  # a name may become longer where a later one has the same; its runs keep theirs
                self.waiting[checkpoint.name] = "another checkpoint of this session has its name"
            else:
                self.taken[checkpoint.place] = checkpoint
                new.append(checkpoint)
        return new

    def take_first(self, *, waits: bool, say: Callable[[str], None]) -> list[Checkpoint]:
        """The checkpoints of the start. With `--watch` there may be none yet, and this says so and waits.

        Raises UserInputError if there are none.
        """
        new = self.take_new()
        if self.settings.every is None and self.waiting:
            time.sleep(_STILL)
            new += self.take_new()
        if not new and self.settings.every is not None and waits:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self.waiting.items()) or "there is none yet"
            say(f"waiting for the first checkpoint, looking every {self.settings.every:g} s: {reasons}")
        while not new and self.settings.every is not None and waits:
            time.sleep(self.settings.every)
            new = self.take_new()
        if not new:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self.waiting.items())
            raise UserInputError(f"--checkpoints {','.join(self.settings.patterns)}: none is complete{f' ({reasons})' if reasons else ''}")
        return new

    @property
    def lines(self) -> list[str]:
        """Which checkpoints are measured, and which are not taken."""
        names = [checkpoint.name for checkpoint in self.taken.values()]
        shown = ", ".join(names if len(names) < 7 else [*names[:3], "...", *names[-3:]])
        waiting = [f"{name}: not taken: {reason}" for name, reason in self.waiting.items()]
        return [f"{len(names)} checkpoint{'s' * (len(names) != 1)}: {shown}", *waiting]

    @property
    def is_over(self) -> bool:
        """Whether nobody is to wait for a further checkpoint."""
        until = self.settings.until
        return self.settings.every is None or (until is not None and any(one.step >= until for one in self.taken.values()))

    def plan(self, items: Iterable[tuple[pytest.Item, Checkpoint, TaskKey, Task]]) -> None:
        """Note the items that measure each checkpoint."""
        by_checkpoint: dict[str, tuple[Checkpoint, dict[pytest.Item, tuple[TaskKey, Task]]]] = {}
        for item, checkpoint, key, task in items:
            self.by_item[item.nodeid] = checkpoint.name
            by_checkpoint.setdefault(checkpoint.name, (checkpoint, {}))[1][item] = key, task
        for name, (checkpoint, of_items) in by_checkpoint.items():
            if name not in self.measured:
                settings = replace(self.session.settings, arguments=self.settings.arguments_of(checkpoint))
                self.measured[name] = MeasuredCheckpoint(
                    checkpoint=checkpoint,
                    session=replace(
                        self.session, settings=settings, run_folder=self.session.run_folder / name, is_planned=False, asked_ahead=set()
                    ),
                    items=dict(of_items.values()),
                    measuring=tuple(of_items),
                    unfinished={item.nodeid for item in of_items},
                    started=datetime.now(UTC),
                )

    def of_item(self, nodeid: str) -> MeasuredCheckpoint | None:
        """The checkpoint that an item measures. None: the item is another test."""
        name = self.by_item.get(nodeid)
        return None if name is None else self.measured[name]

    def session_of(self, name: str) -> Session:
        """The session of a checkpoint, with its gates: no drop against the best of those that were measured before its first item."""
        measured = self.measured[name]
        session = measured.session
        if not session.is_planned:
            session.judge = judge_of_point(
                session.settings.gate,
                list(measured.items.items()),
                self.points,
                facts={},
                settings=to_plain(session.settings.evaluation),
            )
            session.is_planned = True
            measured.started = datetime.now(UTC)
        return session

    def engine(self, name: str) -> Backend:
        """The checkpoint's engine. The one before leaves the memory first. Raises LightevalError."""
        if self._engine is None or self._engine[0] != name:
            self.close()
            settings = self.measured[name].session.settings
            assert settings.backend is not None
            assert settings.arguments is not None
            self._engine = name, replicas.make_backend(settings.backend, settings.arguments, settings.replicas)
        return self._engine[1]

    def close(self) -> None:
        """Give the engine's memory back."""
        if self._engine is not None:
            _, engine = self._engine
            self._engine = None
            engine.close()


_SERIES = pytest.StashKey[Series]()


def make_series(config: pytest.Config, session: Session) -> Series | None:
    """The series of a session, made once. None: it measures one model."""
    settings = session.settings.checkpoints
    if settings is None:
        return None
    series = config.stash[_SERIES] = Series(session, settings)
    config.add_cleanup(series.close)
    return series


def find_series(config: pytest.Config) -> Series | None:
    """The series of this session. None: it measures one model."""
    return config.stash.get(_SERIES, None)
