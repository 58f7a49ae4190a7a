"""SIGTERM (Slurm, `docker stop`, a cancelled CI job) ends a session as Ctrl-C does; no signal interrupts the writing of its report.

Only in the process that writes the reports: xdist's workers end with their controller.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest


class EndSignals:
    """The signals that a session got. Does nothing outside the main thread, and where somebody else handles SIGTERM."""

    def __init__(self, on_close: Callable[[Callable[[], None]], object]) -> None:
        self.received: int | None = None
        """The signal that ended the session, or came while its report was written. None: none did that is noted here."""
        self.is_written = False
        """Whether the report is written: a second signal after that ends the process."""
        self._is_main = threading.current_thread() is threading.main_thread()
        if self._is_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._end)
            on_close(self._restore)

    def _end(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:  # another one must not interrupt what the first one began
            self.received = number
            raise KeyboardInterrupt

    def _restore(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.is_written and self.received is not None:
            raise KeyboardInterrupt
        self.received = self.received or number

    @contextmanager
    def noted(self) -> Iterator[None]:
        """In this block a signal ends nothing; after it, `exit_status` knows of it."""
        if not self._is_main:
            yield
            return
        before: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        ours = {number: handler for number, handler in before.items() if handler in (signal.default_int_handler, self._end)}
        for number in ours:
            signal.signal(number, self._note)
        try:
            yield
        finally:
            for number, handler in ours.items():
                # all is written, so that SIGTERM may end the process at once
                signal.signal(number, signal.SIG_DFL if handler == self._end else handler)

    @property
    def name(self) -> str | None:
        """`SIGTERM`. None: there was none."""
        return None if self.received is None else signal.Signals(self.received).name

    @property
    def exit_status(self) -> int | None:
        """The session's exit status: as a shell says that a signal ended it, and pytest's own of Ctrl-C. None: no signal came."""
        if self.received == signal.SIGINT:
            return pytest.ExitCode.INTERRUPTED
        return None if self.received is None else 128 + self.received
