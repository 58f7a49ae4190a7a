"""What an item's evaluation shows while it runs: how far it is, and what takes long before the first answer.

Backends say what takes long through a logger (`common.progress_log`). In a worker of xdist both go to the controller, which shows one line
for all workers (`worker_progress`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import pytest

from pytest_lighteval.asking import Progress
from pytest_lighteval.common.progress_log import PROGRESS
from pytest_lighteval.plugin.pace import Clock, Pace, Running, running_text
from pytest_lighteval.plugin.status_line import StatusLine


class Display(Protocol):
    """Where one process shows what it does: on its terminal, or through its controller."""

    @property
    def is_due(self) -> bool:
        """Whether the last update is long enough ago."""

    def running(self, evaluation: Running, position: str) -> None:
        """An evaluation is that far."""

    def doing(self, text: str) -> None:
        """Something that takes long has begun. Shown at once."""

    def end(self, nodeid: str) -> None:
        """The evaluation of an item is over."""


class TerminalDisplay:
    """The status line of a process that has pytest's terminal."""

    def __init__(self, config: pytest.Config) -> None:
        self._line = StatusLine(config)

    @property
    def is_due(self) -> bool:
        """See `Display.is_due`."""
        return self._line.is_due

    def running(self, evaluation: Running, position: str) -> None:
        """See `Display.running`."""
        self._line.show(running_text(evaluation, position=position))

    def doing(self, text: str) -> None:
        """See `Display.doing`."""
        self._line.show(text)

    def end(self, nodeid: str) -> None:
        """See `Display.end`."""
        self._line.clear(nodeid=nodeid)


DISPLAY = pytest.StashKey[Display]()
"""Of a worker, where its progress goes. Absent: to this process's own terminal."""


def display_of(config: pytest.Config) -> Display:
    """Where this process shows what it does."""
    if DISPLAY not in config.stash:
        config.stash[DISPLAY] = TerminalDisplay(config)
    return config.stash[DISPLAY]


class ItemProgress:
    """The callback of one evaluation. It shows how far the evaluation is, if the last time was long enough ago."""

    def __init__(self, display: Display, label: str, *, position: str = "", clock: Clock = time.monotonic) -> None:
        """`position`: what stands before the label, such as `[3/62] `."""
        self._display, self._label, self._position, self._clock = display, label, position, clock
        self._pace = Pace()

    def __call__(self, progress: Progress) -> None:
        """Note how far it is."""
        if progress.done:
            self._pace.note(progress.done, self._clock())
        if self._display.is_due:
            evaluation = Running(
                label=self._label, done=progress.done, total=progress.total, documents=progress.documents, rate=self._pace.rate
            )
            self._display.running(evaluation, self._position)


class _ShownRecords(logging.Handler):
    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__(logging.INFO)
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        self._show(record.getMessage())


@contextmanager
def shown_records(display: Display, mask: Callable[[str], str] = str) -> Iterator[None]:
    """In this block, what backends log at level INFO is shown. `mask` removes the session's secrets from a text."""
    handler = _ShownRecords(lambda text: display.doing(mask(text)))
    before = PROGRESS.level, PROGRESS.propagate
    PROGRESS.addHandler(handler)
    PROGRESS.setLevel(logging.INFO)
    PROGRESS.propagate = False  # pytest would show the records again with each failure
    try:
        yield
    finally:
        PROGRESS.removeHandler(handler)
        PROGRESS.propagate = before[1]
        PROGRESS.setLevel(before[0])


@contextmanager
def item_progress(item: pytest.Item, label: str, mask: Callable[[str], str]) -> Iterator[ItemProgress]:
    """In this block an item is evaluated: what it does is shown, without the secrets that `mask` removes. Yields its callback."""
    display = display_of(item.config)
    try:
        with shown_records(display, mask):
            yield ItemProgress(display, label, position=position_of(item))
    finally:
        display.end(item.nodeid)


def position_of(item: pytest.Item) -> str:
    """`[3/62] `: which one of the session's items it is. Empty for the only one, and where nobody knows."""
    items = item.session.items
    return f"[{items.index(item) + 1}/{len(items)}] " if len(items) > 1 and item in items else ""
