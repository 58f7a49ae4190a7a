"""Progress under xdist: each worker tells the controller how far it is, and the controller shows one line for all of them.

What a worker tells goes through a channel of execnet of its own, made when the worker starts. It decides nothing but what is shown.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Generator
from functools import cached_property
from typing import Any

import msgspec
import pytest

from pytest_lighteval.plugin.pace import Running, SessionPace
from pytest_lighteval.plugin.progress import DISPLAY
from pytest_lighteval.plugin.status_line import TERMINAL_SECONDS, StatusLine

_CHANNEL = "lighteval_progress"


class ChannelDisplay:
    """In a worker: what it does, sent to its controller."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._sent_at = time.monotonic()

    @property
    def is_due(self) -> bool:
        """See `Display.is_due`. The controller decides how often a person sees it."""
        return time.monotonic() - self._sent_at >= TERMINAL_SECONDS

    def running(self, evaluation: Running, position: str) -> None:
        """See `Display.running`. Which item it is, the controller counts itself."""
        self._sent_at = time.monotonic()
        self._send("running", msgspec.to_builtins(evaluation))

    def doing(self, text: str) -> None:
        """See `Display.doing`."""
        self._send("doing", text)

    def end(self, nodeid: str) -> None:
        """See `Display.end`."""
        self._send("end", None)

    def _send(self, what: str, value: object) -> None:
        with contextlib.suppress(OSError):  # the controller is gone, and pytest ends this worker
            self._channel.send((what, value))


def join_controller(config: pytest.Config) -> None:
    """In a worker: show progress through the controller, if it listens."""
    channel = getattr(config, "workerinput", {}).get(_CHANNEL)
    if channel is not None:
        config.stash[DISPLAY] = ChannelDisplay(channel)


class WorkersProgress:
    """In the controller: listens to all workers, and shows one line about them.

    A thread draws the line, since the controller waits for its workers. While pytest writes, the line is not there.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._pace = SessionPace()
        self._lock = threading.Lock()
        self._items = 0
        self._ended: set[str] = set()
        self._is_over = threading.Event()
        self._has_news = threading.Event()
        self._thread: threading.Thread | None = None

    @cached_property
    def _line(self) -> StatusLine:
        """Made when it is first needed: pytest registers its terminal after other plugins."""
        return StatusLine(self._config)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Give a worker that is about to start a channel to this process."""
        name = node.gateway.id
        channel = node.gateway.newchannel()
        channel.setcallback(lambda message: self.take(name, *message))
        node.workerinput[_CHANNEL] = channel

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """A worker that is gone does nothing any more."""
        with self._lock:
            self._pace.end(node.gateway.id)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """All workers collect the same items."""
        self._items = len(ids)

    def take(self, worker: str, what: str, value: Any) -> None:
        """A worker told something. Called in a thread of execnet's."""
        with self._lock:
            if what == "running":
                self._pace.update(worker, msgspec.convert(value, Running))
            elif what == "doing":
                self._pace.doing[worker] = value
                self._has_news.set()
            else:
                self._pace.end(worker)
            if self._thread is None and not self._is_over.is_set():
                self._thread = threading.Thread(target=self._draw, name="lighteval-progress", daemon=True)
                self._thread.start()

    def _draw(self) -> None:
        while not self._is_over.is_set():
            self._has_news.wait(min(self._line.seconds, 1.0))
            with self._lock:
                is_new = self._has_news.is_set()
                self._has_news.clear()
                text = self._pace.text(items_done=len(self._ended), items=self._items)
                is_busy = bool(self._pace.running or self._pace.doing)
            if is_busy and (is_new or self._line.is_due) and not self._is_over.is_set():
                self._line.show(text)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None, Any, Any]:
        """Pytest writes here; and the item is done, or failed."""
        if report.when != "setup" or not report.passed:
            self._ended.add(report.nodeid)
        with self._line.away():
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logstart(self) -> Generator[None, Any, Any]:
        """Pytest writes here."""
        with self._line.away():
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self) -> Generator[None, Any, Any]:
        """Nothing is drawn after the last item."""
        try:
            return (yield)
        finally:
            self._is_over.set()
            self._has_news.set()
            if self._thread is not None:
                self._thread.join(timeout=5.0)
            self._line.clear()
