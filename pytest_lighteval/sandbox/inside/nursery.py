"""A process that forks the others. It never sees a program or a test, so no fork inherits what another one was told.

Its requests come over a socket: a role, limits, and the descriptors of the new process. It answers with the process id; asked again, it
waits for that process and says how it ended.
"""

from __future__ import annotations

import array
import gc
import importlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from pytest_lighteval.sandbox.inside import candidate, confine, examiner
from pytest_lighteval.sandbox.inside.peer import Channel

_CHANNEL = 3
"""The first descriptor after stdin, stdout and stderr."""
_ROLES: Mapping[str, Callable[..., None]] = {"candidate": candidate.main, "examiner": examiner.main}
_WARM = (
    "bisect", "collections", "copy", "datetime", "decimal", "fractions", "functools", "heapq", "io", "itertools", "json", "math",
    "operator", "random", "re", "statistics", "string", "sys", "typing",
)  # fmt: skip
"""What programs of benchmarks import most, so that no run pays for it."""


def serve(connection: socket.socket, settings: Mapping[str, Any]) -> None:
    """Fork until the connection ends."""
    for name in _WARM:
        importlib.import_module(name)
    allow_packages(settings["packages"], settings["site"])
    rules = confine.landlock(settings["readable"], settings["scratch"]) if settings["landlock"] else None
    gc.collect()
    gc.freeze()  # so that a fork's collections do not copy what all share
    connection.sendall(b"\n")
    while True:
        data, descriptors = _receive(connection)
        if not data:
            return
        request = json.loads(data)
        if "reap" in request:
            connection.sendall(json.dumps(_reap(request["reap"], patience=request["patience"])).encode() + b"\n")
            continue
        pid = os.fork()
        if pid == 0:
            _run(request, descriptors, settings, rules)
        for descriptor in descriptors:
            os.close(descriptor)
        connection.sendall(json.dumps({"pid": pid}).encode() + b"\n")


def _reap(pid: int, *, patience: float) -> dict[str, Any]:
    """How a child ended. It is killed if it has not ended in time, and whatever it started is killed in any case."""
    deadline = time.monotonic() + patience
    ended, status, use = os.wait4(pid, os.WNOHANG)
    while not ended and time.monotonic() < deadline:
        time.sleep(0.001)
        ended, status, use = os.wait4(pid, os.WNOHANG)
    with suppress(OSError):
        os.killpg(pid, signal.SIGKILL)
    killed = not ended
    if killed:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
        _, status, use = os.wait4(pid, 0)
    return {"status": status, "cpu_seconds": use.ru_utime + use.ru_stime, "memory_bytes": use.ru_maxrss * 1024, "killed": killed}


def _run(request: Mapping[str, Any], descriptors: Sequence[int], settings: Mapping[str, Any], rules: Any) -> None:
    """In the fork: give all rights away, take the descriptors' places, and be what was asked for. Never returns."""
    try:
        try:
            _confine(request, settings, rules)
        except Exception as error:  # whatever it is, nothing may run without the limits
            Channel(socket.socket(fileno=descriptors[_CHANNEL])).send({"unconfined": f"{type(error).__name__}: {error}"})
            os._exit(70)
        _ROLES[request["role"]](*[Channel(connection) for connection in _places(descriptors)])
    finally:
        os._exit(71)


def _places(descriptors: Sequence[int]) -> list[socket.socket]:
    """stdin, stdout and stderr first, then the sockets; whatever else was open is closed."""
    high = [os.dup2(descriptor, 100 + place) for place, descriptor in enumerate(descriptors)]
    for place, descriptor in enumerate(high):
        os.dup2(descriptor, place)
    os.closerange(len(descriptors), 256)
    # they stay open for as long as the process lives
    sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False, buffering=1)  # noqa: SIM115
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]
    return [socket.socket(fileno=place) for place in range(_CHANNEL, len(descriptors))]


def _confine(request: Mapping[str, Any], settings: Mapping[str, Any], rules: Any) -> None:
    os.setsid()
    if settings["scratch"] is not None:
        os.chdir(settings["scratch"])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    if settings["become"] is not None:
        confine.become(settings["become"])
    elif settings["namespace"]:
        confine.drop_capabilities()
    limits = request["limits"]
    confine.set_limits(
        cpu_seconds=limits["cpu_seconds"],
        memory_bytes=limits["memory_bytes"],
        file_bytes=limits["output_bytes"],
        threads=settings["others_threads"] + limits["threads"],
    )
    if sys.platform == "linux":
        confine.die_with_parent()
        confine.hide_memory()
    if settings["seccomp"]:
        confine.forbid_new_rights()
        if rules is not None:
            rules.restrict()
        confine.filter_calls()


def allow_packages(names: Sequence[str], site: Sequence[str]) -> None:
    """Let these packages be imported from the folders, and no other one that is there."""
    import importlib.machinery

    class Allowed:
        @staticmethod
        def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
            """As `sys.meta_path` needs it."""
            if path is None and name.partition(".")[0] in names:
                return importlib.machinery.PathFinder.find_spec(name, list(site), target)
            return None

    sys.meta_path.append(Allowed)


def _receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    """A request and the descriptors that came with it; empty at the end."""
    descriptors = array.array("i")
    data, ancillary, _, _ = connection.recvmsg(2**16, socket.CMSG_LEN(8 * descriptors.itemsize))
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
    return data, list(descriptors)
