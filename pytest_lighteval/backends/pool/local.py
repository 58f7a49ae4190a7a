"""Members on this machine: a process for each, with its GPUs, in a group of its own so that it ends with all that its engine started."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from typing import IO, Protocol

from pytest_lighteval.errors import UserInputError

_SECONDS_TO_END = 10.0
"""For an engine that is closed."""


class Link(Protocol):
    """A member that was started."""

    @property
    def connection(self) -> Connection | None:
        """To its process. None: it is not there yet."""

    @property
    def missing(self) -> str:
        """What it may wait for, while there is no connection."""

    @property
    def is_hopeless(self) -> bool:
        """Whether another start will end as this one, if it ended before it said anything."""

    def reason(self) -> str:
        """Why it ended."""

    def end(self, *, kill: bool) -> None:
        """Wait for its end, for some seconds; with `kill`, end it at once. Nothing of it is left then."""


class Place(Protocol):
    """Where a member runs, once or again."""

    name: str
    """In messages: `replica 2`."""

    def start(self) -> Link:
        """Start a member. Does not wait for it."""


class LocalPlace:
    """A process on this machine."""

    def __init__(self, number: int, devices: Sequence[str] = (), *, name: str = "replica") -> None:
        """`devices`: its GPUs, as CUDA_VISIBLE_DEVICES names them. Empty: all that are visible."""
        self.name = f"{name} {number}"
        self._environment = {"CUDA_VISIBLE_DEVICES": ",".join(devices)} if devices else {}

    def start(self) -> Link:
        """See `Place.start`."""
        ours, theirs = socket.socketpair()
        with theirs:
            command = ["--descriptor", str(theirs.fileno())]
            process = MemberProcess(command, self._environment, pass_fds=(theirs.fileno(),))
        return _LocalLink(process, Connection(ours.detach()))


class MemberProcess:
    """A process of `member`, whose output goes to a file: what an engine prints is no part of the session's."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], *, pass_fds: Sequence[int] = ()) -> None:
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # it lives as long as the process
        # the same modules as here, wherever pytest found them
        path = os.pathsep.join(os.path.abspath(folder) for folder in sys.path if isinstance(folder, str))
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "pytest_lighteval.backends.pool.member", *arguments],
            env=os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **environment},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            pass_fds=tuple(pass_fds),
            start_new_session=True,  # Ctrl-C in a terminal is for the session, which ends its members itself
        )

    def reason(self) -> str:
        """Its exit code, and the last line that it printed."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(2.0)
        code = self.process.returncode
        if code is None:
            return "it stopped in the middle of an answer"
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - 4096))
        lines = [line.strip() for line in self._log.read().decode("utf-8", "replace").splitlines() if line.strip()]
        return f"{how}: {lines[-1]}" if lines and code != -signal.SIGKILL else how

    def end(self, *, kill: bool) -> None:
        """End it and its group."""
        if not kill:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_SECONDS_TO_END)
        # also after the process itself has ended: its engine may have left others
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._log.close()


class _LocalLink:
    missing = ""
    is_hopeless = True  # it could not even be imported

    def __init__(self, process: MemberProcess, connection: Connection) -> None:
        self._process = process
        self.connection: Connection | None = connection

    def reason(self) -> str:
        return self._process.reason()

    def end(self, *, kill: bool) -> None:
        self._process.end(kill=kill)
        if self.connection is not None:
            self.connection.close()


def device_groups(devices: Sequence[str], replicas: int, each: int) -> list[tuple[str, ...]]:
    """The GPUs of every replica; empty groups if there is no GPU at all, or an engine takes none.

    Raises UserInputError if there are too few.
    """
    if not devices or each == 0:
        return [()] * replicas
    if len(devices) < replicas * each:
        raise UserInputError(
            f"--replicas {replicas}: {replicas} engines of {each} GPU{'s' * (each > 1)} need {replicas * each}, "
            f"but {len(devices)} {'is' if len(devices) == 1 else 'are'} visible"
        )
    return [tuple(devices[place * each : (place + 1) * each]) for place in range(replicas)]
