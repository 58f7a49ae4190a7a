"""Where progress is shown: one line below pytest's own, which it never touches; in a log, a plain line now and then."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import pytest

from pytest_lighteval.plugin.pace import Clock
from pytest_lighteval.reports.printable import printable

TERMINAL_SECONDS = 0.5
"""Between two updates of the line on a terminal."""
PLAIN_SECONDS = 30.0
"""Between two lines in a log; a short item prints none."""

_ROOM_BELOW = "\x1bD\x1b[A"
"""Scrolls if pytest writes on the last line of the screen; the cursor keeps its place."""
_SAVE, _BELOW, _CLEAR, _RESTORE = "\x1b7", "\r\x1b[B", "\x1b[2K", "\x1b8"


class StatusLine:
    """One line of text about what the session does now. Silent under `-q`, without a terminal reporter, and in xdist's workers.

    Pytest computes where its percentages go from what it wrote. So the line is written past its writer, on the line below the cursor,
    and the cursor returns to where pytest left it. `clock` decides what is shown, never what is measured.
    """

    def __init__(self, config: pytest.Config, clock: Clock = time.monotonic, environment: Mapping[str, str] = os.environ) -> None:
        self._reporter = config.pluginmanager.get_plugin("terminalreporter") if config.get_verbosity() >= 0 else None
        self._capture = config.pluginmanager.get_plugin("capturemanager")
        self._config = config
        self._clock = clock
        self._lock = threading.RLock()
        self._shown_at = clock()
        self._is_drawn = self._has_broken = False
        self.is_terminal = self._reporter is not None and self._reporter.isatty and environment.get("TERM", "dumb") != "dumb"
        """Whether a line can be rewritten."""

    @property
    def seconds(self) -> float:
        """Between two updates."""
        return TERMINAL_SECONDS if self.is_terminal else PLAIN_SECONDS

    @property
    def is_due(self) -> bool:
        """Whether the last update is long enough ago."""
        return self._reporter is not None and self._clock() - self._shown_at >= self.seconds

    def show(self, text: str) -> None:
        """Show the text in place of the one before."""
        if self._reporter is None:
            return
        text = printable(text)
        writer = self._config.get_terminal_writer()
        with self._lock, self._on_the_terminal():
            self._shown_at = self._clock()
            if self.is_terminal:
                line = text[: max(writer.fullwidth - 1, 0)]
                _write_raw(writer, f"{_ROOM_BELOW}{_SAVE}{_BELOW}{_CLEAR}{line}{_RESTORE}")
                self._is_drawn = True
            else:
                self._reporter.ensure_newline()
                if writer.width_of_current_line:  # under xdist, where pytest writes no file's name
                    writer.line()
                self._reporter.write_line(text)
                writer.flush()
                self._has_broken = True

    def clear(self, *, nodeid: str = "") -> None:
        """Remove the line of a terminal. After lines in a log, pytest writes on behind the file's name of `nodeid`."""
        if self._reporter is None:
            return
        with self._lock, self._on_the_terminal():
            if self._is_drawn:
                _write_raw(self._config.get_terminal_writer(), f"{_SAVE}{_BELOW}{_CLEAR}{_RESTORE}")
            elif self._has_broken and nodeid and not self._reporter.showlongtestinfo:
                self._reporter.write_fspath_result(nodeid, "")
            self._is_drawn = self._has_broken = False

    @contextmanager
    def away(self) -> Iterator[None]:
        """In this block pytest writes: the line is not there, and no other thread draws it."""
        with self._lock:
            self.clear()
            yield

    def _on_the_terminal(self) -> AbstractContextManager[None]:
        """Past pytest's capture, which would keep the line for a failure's report."""
        return nullcontext() if self._capture is None else self._capture.global_and_fixture_disabled()


def _write_raw(writer: Any, text: str) -> None:
    """Write what pytest must not count as a part of its line."""
    write_raw = getattr(writer, "write_raw", None)
    if write_raw is not None:
        write_raw(text, flush=True)
        return
    writer.flush()  # pytest 8 has no such method, and writes to the same stream
    sys.stdout.write(text)
    sys.stdout.flush()
