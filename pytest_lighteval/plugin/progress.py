"""How far a long item is: one line that is rewritten on a terminal, one line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import pytest

from pytest_lighteval.evaluate import Progress

TERMINAL_SECONDS = 0.5
"""Between two updates of the line on a terminal."""
PLAIN_SECONDS = 30.0
"""Between two lines in a log; a short item prints none."""


ENOUGH_SECONDS = 5.0
ENOUGH_ANSWERS = 3
"""After the first answer, before which the model was loaded: with less than these two a rate would be a guess."""


def progress_text(label: str, progress: Progress, *, answered: int, seconds: float) -> str:
    """`leaderboard|gsm8k|5: 120/1319 requests, 4.1/s, 4:52 left`; rate and rest only where there is enough to estimate them from.

    Args:
        label: What is evaluated.
        progress: How far it is.
        answered: Answers after the first one.
        seconds: Since the first one.
    """
    text = f"{label}: {progress.done}/{progress.total} requests"
    if answered >= ENOUGH_ANSWERS and seconds >= ENOUGH_SECONDS:
        rate = answered / seconds
        left = round((progress.total - progress.done) / rate)
        hours, minutes = divmod(left // 60, 60)
        clock = f"{hours}:{minutes:02}:{left % 60:02}" if hours else f"{minutes}:{left % 60:02}"
        text += f", {rate:.3g}/s, {clock} left"
    return text


class ProgressLine:
    """Shows one item's progress through pytest's own terminal; silent in xdist workers and under `-q`.

    `clock` is monotonic, in seconds. It decides what is shown, never what is measured.
    """

    def __init__(self, config: pytest.Config, nodeid: str, label: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._reporter = None
        if config.get_verbosity() >= 0:
            self._reporter = config.pluginmanager.get_plugin("terminalreporter")
        self._capture = config.pluginmanager.get_plugin("capturemanager")
        # what pytest had written on the line: the file's name, or the whole id under -v
        self._line_before = f"{nodeid if config.get_verbosity() > 0 else nodeid.partition('::')[0]} "
        self._label = label
        self._clock = clock
        self._shown = clock()
        self._first: tuple[int, float] | None = None
        """How many answers there were when the first one came, and when that was."""
        self._dirty = False

    def __call__(self, progress: Progress) -> None:
        """Show it, if the last time was long enough ago."""
        if self._reporter is None:
            return
        now = self._clock()
        if self._first is None and progress.done:
            self._first = progress.done, now
        if now - self._shown < (TERMINAL_SECONDS if self._reporter.isatty else PLAIN_SECONDS):
            return
        self._shown = now
        done, since = self._first or (progress.done, now)
        text = progress_text(self._label, progress, answered=progress.done - done, seconds=now - since)
        with self._on_the_terminal():
            if self._reporter.isatty:
                self._reporter.rewrite(text, erase=True)
            else:
                self._reporter.ensure_newline()
                self._reporter.write_line(text)
        self._dirty = True

    def done(self) -> None:
        """Put back what pytest had written on the line; lines in a log stay."""
        if self._dirty and self._reporter is not None and self._reporter.isatty:
            with self._on_the_terminal():
                self._reporter.rewrite("", erase=True)
                self._reporter.rewrite(self._line_before)
            self._dirty = False

    def _on_the_terminal(self) -> AbstractContextManager[None]:
        """Past pytest's capture, which would keep the line for a failure's report."""
        return nullcontext() if self._capture is None else self._capture.global_and_fixture_disabled()
