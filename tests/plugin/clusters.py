"""Ray clusters of several nodes on this machine, each node with processes of its own, which can be killed like a machine."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

STORE = 80 * 2**20
"""Bytes of a node's object store: the least that Ray takes is 75 MiB."""


class LocalCluster:
    """A head without room for engines, and nodes that join it. Nobody else may: the token is random."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))  # Ray's sockets are below it, and their names must be short
        self.environment = {
            **os.environ,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "HOME": str(self._folder),  # Ray writes the token there
        }
        self._port = free_port()
        self._processes: list[subprocess.Popen[bytes]] = []
        self.address = f"{own_address()}:{self._port}"
        self._start(
            "--head", f"--port={self._port}", "--include-dashboard=false",
            f"--temp-dir={self._folder}", "--num-cpus=0",
        )  # fmt: skip

    def add(self, *, cpus: int = 1, gpus: int = 0, path: str | None = None) -> int:
        """Let a node join, with as many GPUs as Ray is to believe in, and where it finds modules first. Returns its number."""
        environment = self.environment | ({} if path is None else {"PYTHONPATH": path})
        self._start(f"--address={self.address}", f"--num-cpus={cpus}", f"--num-gpus={gpus}", environment=environment)
        return len(self._processes) - 1

    def kill(self, number: int) -> None:
        """Kill all processes of a node, as if its machine were gone."""
        for process in [self._processes[number].pid, *descendants(self._processes[number].pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._processes[number].wait()

    def engines(self, number: int) -> list[int]:
        """Processes of a node that are engines of ours."""
        return [process for process in descendants(self._processes[number].pid) if "EngineActor" in command_of(process)]

    def close(self) -> None:
        for number in reversed(range(len(self._processes))):
            self.kill(number)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, *arguments: str, environment: dict[str, str] | None = None) -> None:
        log = self._folder / f"node{len(self._processes)}.log"
        command = [str(Path(sys.executable).parent / "ray"), "start", "--block", "--disable-usage-stats", f"--object-store-memory={STORE}"]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, *arguments], env=environment or self.environment, stdout=output, stderr=output, start_new_session=True
            )
        self._processes.append(process)
        deadline = time.monotonic() + 60
        while b"Ray runtime started" not in log.read_bytes():
            assert process.poll() is None, log.read_text("utf-8", "replace")
            assert time.monotonic() < deadline, log.read_text("utf-8", "replace")
            time.sleep(0.1)


def descendants(parent: int) -> list[int]:
    """Processes below a process."""
    below: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            below.setdefault(int((folder / "stat").read_text().rpartition(")")[2].split()[1]), []).append(int(folder.name))

    def walk(process: int) -> Iterator[int]:
        for child in below.get(process, ()):
            yield child
            yield from walk(child)

    return list(walk(parent))


def command_of(process: int) -> str:
    """Its command line. Empty: it is gone."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as found:
        found.bind(("", 0))
        port: int = found.getsockname()[1]
        return port


def own_address() -> str:
    """The address of this machine that Ray takes."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        try:
            found.connect(("192.0.2.1", 9))  # sends nothing
            address: str = found.getsockname()[0]
        except OSError:
            return "127.0.0.1"
        return address
