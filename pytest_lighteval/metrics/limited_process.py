"""A process that answers questions with a limit on each. It is started when needed and when it died."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_lighteval.errors import LightevalError

START_SECONDS = 120.0
"""For the worker's imports, which take seconds on a busy machine."""

WALL_SECONDS = 120.0
"""For a question that waits without computing."""


class LimitedProcess:
    """A worker and its pipe. If a question makes the worker die, the question has no answer, and the next one gets a new worker.

    Args:
        program: Beside this file. It writes `ready`, and then one line for each line of JSON, under the limits that it sets itself.
        what: Is installed and cannot be used, if the program does not start.
        wall_seconds: For one question.
    """

    def __init__(self, program: str, *, what: str, wall_seconds: float = WALL_SECONDS) -> None:
        self._program = str(Path(__file__).with_name(program))
        self._what = what
        self._wall_seconds = wall_seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    @property
    def pid(self) -> int | None:
        """Of the worker. None: none is running."""
        return self._process.pid if self._process is not None else None

    def ask(self, question: Mapping[str, Any]) -> bytes | None:
        """The answer's line. None: there is none, because the worker died or took too long.

        Raises LightevalError if the program does not start.
        """
        line = json.dumps(question).encode() + b"\n"
        with self._lock:
            answer = None
            try:
                answer = self._exchange(self._running(), line)
            finally:
                # an interrupted exchange must not leave its answer for the next question
                if answer is None:
                    self._stop()
            return answer

    def close(self) -> None:
        """End the worker. May be called twice; a later question starts a new one."""
        with self._lock:
            self._stop()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._owner != os.getpid():
            self._process = None  # a fork's parent keeps its own worker
        if self._process is None or self._process.poll() is not None:
            self._stop()
            self._process = self._started()
            self._owner = os.getpid()
        return self._process

    def _started(self) -> subprocess.Popen[bytes]:
        """A worker that has imported its libraries. Without this check a broken installation would make every answer wrong."""
        with tempfile.TemporaryFile() as complaints:
            process = subprocess.Popen(
                [sys.executable, "-P", self._program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                bufsize=0,
                # Ctrl-C is for the evaluation; the worker ends with its pipe
                start_new_session=True,
            )
            if _read_line(process, seconds=START_SECONDS) != b"ready\n":
                self._process = process
                self._stop()
                complaints.seek(0)
                lines = complaints.read().decode(errors="replace").split("\n")
                reason = next((line.strip() for line in reversed(lines) if line.strip()), "its process did not start")
                raise LightevalError(f"{self._what} is installed and cannot be used: {reason}")
        return process

    def _exchange(self, process: subprocess.Popen[bytes], question: bytes) -> bytes | None:
        if process.stdin is None or process.stdout is None:
            return None
        unsent = memoryview(question)
        try:
            while unsent:
                unsent = unsent[os.write(process.stdin.fileno(), unsent) :]
        except BrokenPipeError:
            return None
        return _read_line(process, seconds=self._wall_seconds)

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def _read_line(process: subprocess.Popen[bytes], *, seconds: float) -> bytes | None:
    """The process's next line. None: it died, or nothing came in that time."""
    if process.stdout is None:
        return None
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            if not selector.select(seconds):
                return None
            piece = os.read(process.stdout.fileno(), 64)
            if not piece:
                return None
            line += piece
    return line
