"""One sandbox that runs, and the lines that go in and out."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import tempfile
import time
from pathlib import Path

from pytest_lighteval.errors import GraderError
from pytest_lighteval.sandbox.inside import scratch
from pytest_lighteval.sandbox.job import Job, Limits, RunVerdict
from pytest_lighteval.sandbox.kinds import Kind, command, environment

_START_SECONDS = 60.0
_CONTAINER_START_SECONDS = 300.0
"""An image may have to be fetched first."""
_MOST_COMPLAINTS = 2000
_SPARED = ("/bin/sh", "-c", 'echo 800 > /proc/self/oom_score_adj 2>/dev/null; exec "$@"', "sh")
"""Starts a program that the kernel ends before others when memory is short."""


class Worker:
    """A sandbox. It is started by the constructor, and takes one job at a time.

    Raises:
        GraderError: It does not start.
    """

    def __init__(self, kind: Kind, *, image: str | None = None, number: int = 0) -> None:
        self.kind = kind
        self._folder = Path(tempfile.mkdtemp(prefix="lighteval-sandbox-"))
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 (until `close`)
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self.python = self._start(image, number)
            """The version of its interpreter."""
        except BaseException:
            self.close()
            raise

    def _start(self, image: str | None, number: int) -> str:
        program = command(self.kind, self._folder, scratch_bytes=Limits().scratch_bytes, image=image, number=number)
        os.chmod(self._folder, 0o1777)  # a program may run as another user
        spared = _SPARED if os.path.exists(_SPARED[0]) else ()
        try:
            self._process = subprocess.Popen(
                [*spared, *program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._complaints,
                bufsize=0,
                cwd="/",
                env=environment(),
                start_new_session=True,
            )
        except OSError as error:
            raise GraderError(f"{self.kind} does not start: {error.strerror}") from error
        seconds = _CONTAINER_START_SECONDS if self.kind in ("podman", "docker") else _START_SECONDS
        try:
            said = json.loads(self._read_line(seconds) or b"null")
        except ValueError:
            said = None
        if not isinstance(said, dict) or not said.get("ready"):
            raise GraderError(f"{self.kind} does not start: {self._complaint()}")
        return str(said["python"])

    def run(self, job: Job) -> RunVerdict:
        """How the job's program ended. If the sandbox itself ended or is stuck, the verdict says so, and it must be closed."""
        try:
            self._send(json.dumps(job.plain()).encode() + b"\n", job.most_seconds)
            line = self._read_line(job.most_seconds)
        except OSError as error:
            line = None
            reason = error.strerror or type(error).__name__
        else:
            reason = self._complaint() if line == b"" else f"no verdict after {job.most_seconds:.0f} s"
        if not line:
            return RunVerdict(outcome=None, infrastructure=f"the sandbox ({self.kind}) ended: {reason}")
        return RunVerdict.read(json.loads(line))

    @property
    def is_alive(self) -> bool:
        """It can take another job."""
        return self._process is not None and self._process.poll() is None

    def close(self) -> None:
        """End it with all that runs in it. May be called twice."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()  # type: ignore[union-attr]
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.5)
            with contextlib.suppress(OSError):
                os.killpg(process.pid, 9)
            process.wait()
            process.stdout.close()  # type: ignore[union-attr]
        self._complaints.close()
        scratch.remove(str(self._folder))

    def _send(self, line: bytes, seconds: float) -> None:
        """The keeper reads a whole job before it starts it, so this takes no longer than a copy."""
        assert self._process is not None
        assert self._process.stdin is not None
        unsent = memoryview(line)
        while unsent:
            unsent = unsent[os.write(self._process.stdin.fileno(), unsent) :]

    def _read_line(self, seconds: float) -> bytes | None:
        """The next line; empty if it ended, None if nothing came in that time."""
        assert self._process is not None
        assert self._process.stdout is not None
        deadline = time.monotonic() + seconds
        line = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    return None
                piece = os.read(self._process.stdout.fileno(), 2**16)
                if not piece:
                    return b""
                line += piece
        return bytes(line)

    def _complaint(self) -> str:
        """The last line that it wrote to stderr."""
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=1)
        size = self._complaints.seek(0, os.SEEK_END)
        self._complaints.seek(max(0, size - _MOST_COMPLAINTS))
        lines = self._complaints.read().decode(errors="replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
