"""A process that compares mathematical answers, with a limit on each comparison. It is started when needed and when it died."""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import selectors
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pytest_lighteval.errors import LightevalError, MissingExtraError

Target = Literal["expr", "latex", "latex_boxed_first"]
"""What is searched: plain numbers and arithmetic, or LaTeX. In the last one a `\\boxed` answer goes before everything else."""

CPU_SECONDS = 10
"""For two parses and a comparison, where the reference allows 5 seconds each by the clock. What takes longer is not equal."""

START_SECONDS = 120.0
"""For the worker's imports, which take seconds on a busy machine."""

WALL_SECONDS = 120.0
"""For a comparison that waits without computing."""


class MathProcess:
    """A worker and its pipe. If a question makes the worker die, its answer is "not equal", and the next question gets a new worker."""

    def __init__(self, *, cpu_seconds: int = CPU_SECONDS, wall_seconds: float = WALL_SECONDS) -> None:
        self._cpu_seconds = cpu_seconds
        self._wall_seconds = wall_seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    @property
    def pid(self) -> int | None:
        """Of the worker. None: none is running."""
        return self._process.pid if self._process is not None else None

    def are_equal(
        self,
        golds: Sequence[str],
        text: str,
        *,
        gold_targets: Sequence[Target],
        text_targets: Sequence[Target],
        precision: int,
    ) -> bool:
        """Does the text have an answer equal to one of the golds, numbers to `precision` decimals?

        Raises MissingExtraError without math-verify, and LightevalError if it is installed and cannot be imported.
        """
        question = json.dumps(
            {
                "golds": list(golds),
                "text": text,
                "gold_targets": list(gold_targets),
                "text_targets": list(text_targets),
                "precision": precision,
                "cpu_seconds": self._cpu_seconds,
            }
        )
        with self._lock:
            reply = None
            try:
                reply = self._exchange(self._running(), question.encode() + b"\n")
            finally:
                # an interrupted exchange must not leave its answer for the next question
                if reply is None:
                    self._stop()
            return reply == b"true\n"

    def close(self) -> None:
        """End the worker. May be called twice; a later question starts a new one."""
        with self._lock:
            self._stop()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._owner != os.getpid():
            self._process = None  # a fork's parent keeps its own worker
        if self._process is None or self._process.poll() is not None:
            self._stop()
            if importlib.util.find_spec("math_verify") is None:
                raise MissingExtraError("math-verify", "metrics")
            self._process = self._started()
            self._owner = os.getpid()
        return self._process

    def _started(self) -> subprocess.Popen[bytes]:
        """A worker that has imported its libraries. Without this check a broken installation would make every answer wrong."""
        with tempfile.TemporaryFile() as complaints:
            process = subprocess.Popen(
                [sys.executable, "-P", str(Path(__file__).with_name("math_worker.py"))],
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
                raise LightevalError(f"math-verify is installed and cannot be used: {reason}")
        return process

    def _exchange(self, process: subprocess.Popen[bytes], question: bytes) -> bytes | None:
        """The reply's line. None: the worker died or took too long."""
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


_PROCESS = MathProcess()
close = _PROCESS.close
atexit.register(close)


@lru_cache(maxsize=4096)
def are_equal(
    golds: tuple[str, ...], text: str, *, gold_targets: tuple[Target, ...], text_targets: tuple[Target, ...], precision: int
) -> bool:
    """`MathProcess.are_equal` in the one shared process. Answers are cached, as several metrics compare the same samples."""
    return _PROCESS.are_equal(golds, text, gold_targets=gold_targets, text_targets=text_targets, precision=precision)
