"""Whether a kind of sandbox holds on this host: programs try to break out, and must fail; others exceed a limit, and must be ended.

Every attempt is harmless where it succeeds: what is changed was made for it, a signal is number 0, and a process ends at once.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_lighteval.errors import GraderError
from pytest_lighteval.sandbox.job import Job, Limits
from pytest_lighteval.sandbox.kinds import KINDS, Kind
from pytest_lighteval.sandbox.pool import Pool

QUICK = Limits(cpu_seconds=1, wall_factor=20, output_bytes=1 << 20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A program that tries one thing. It gets `targets`, and defines `escaped()`: what it could do, or nothing."""

    name: str
    code: str

    def job(self, targets: Mapping[str, Any]) -> Job:
        """A test that passes if the program escaped."""
        code = f"targets = {targets!r}\n{self.code}"
        return Job(action="tests", code=code, tests="assert escaped()", names=("escaped",), limits=QUICK)


ESCAPES = (
    Probe(
        name="uses the network",
        code="""
def escaped():
    import socket
    found = []
    for kind, port in ((socket.SOCK_STREAM, targets["tcp"]), (socket.SOCK_DGRAM, targets["udp"])):
        try:
            with socket.socket(socket.AF_INET, kind) as connection:
                connection.settimeout(0.5)
                connection.connect(("127.0.0.1", port))
                connection.send(b"x")
                found.append(port)
        except OSError:
            pass
    return found
""",
    ),
    Probe(
        name="reads files of others",
        code="""
def escaped():
    found = []
    for path in targets["readable"]:
        try:
            with open(path, "rb") as file:
                found.append(file.read(10))
        except OSError:
            pass
    return found
""",
    ),
    Probe(
        name="writes outside of its scratch folder",
        code="""
def escaped():
    import os
    found = []
    for folder in targets["writable"]:
        try:
            with open(os.path.join(folder, targets["name"]), "w") as file:
                file.write("x")
            found.append(folder)
        except OSError:
            pass
        try:
            os.symlink(folder, "link")
            with open(os.path.join("link", targets["name"]), "w") as file:
                file.write("x")
            found.append(folder)
        except OSError:
            pass
    # files of the self-test alone: a sandbox that does not hold must not cost anybody a file
    for path in targets["files"]:
        moved = path + "x"
        for change in (lambda: os.chmod(path, 0), lambda: os.truncate(path, 0), lambda: os.remove(path), lambda: os.rename(path, moved)):
            try:
                change()
                found.append(path)
            except OSError:
                pass
    return found
""",
    ),
    Probe(
        name="sends signals to others",
        code="""
def escaped():
    import os
    found = []
    for pid in targets["processes"] + [os.getppid(), -1]:
        try:
            os.kill(pid, 0)
            found.append(pid)
        except OSError:
            pass
    return found
""",
    ),
    Probe(
        name="reads /proc of others",
        code="""
def escaped():
    import os
    found = []
    for pid in targets["processes"] + [os.getppid()]:
        for name in ("environ", "mem", "maps", "cwd/", "root/"):
            try:
                path = f"/proc/{pid}/{name}"
                found.append(os.listdir(path) if name.endswith("/") else open(path, "rb").read(1))
            except OSError:
                pass
    return found
""",
    ),
    Probe(
        name="starts processes",
        code="""
def escaped():
    import os, subprocess
    for start in (os.fork, lambda: subprocess.run(["/bin/true"]), lambda: os.execv("/bin/true", ["true"])):
        try:
            if start() == 0:
                os._exit(0)
            return True
        except OSError:
            pass
    return False
""",
    ),
    Probe(
        name="starts as many threads as it likes",
        code="""
def escaped():
    import threading, time
    threading.stack_size(32768)
    end = threading.Event()
    count = 0
    try:
        while count < targets["threads"]:
            threading.Thread(target=end.wait, daemon=True).start()
            count += 1
    except RuntimeError:
        pass
    return count >= targets["threads"]
""",
    ),
)
LIMITS = (
    ("memory", "block = bytearray(6 << 30)\ndef escaped():\n    return True\n", "out of memory"),
    ("CPU time", "while True:\n    try:\n        while True:\n            pass\n    except BaseException:\n        pass\n", "timed out"),
    ("wall time", "import time\ntime.sleep(100)\n", "timed out"),
    ("output", "while True:\n    print('x' * 10000)\n", "too much output"),
)
"""What is limited, a program that exceeds it, and how it must end."""
_RIGHT = Job(action="tests", code="def f(x):\n    return x + 1\n", tests="assert f(1) == 2", names=("f",), limits=QUICK)


_SEEN_FROM_OUTSIDE = {"writes outside of its scratch folder"}
"""Inside, folders of the same names may be its own."""


def self_test(kind: Kind, *, image: str | None = None) -> list[str]:
    """What does not hold for this kind on this host, one line each; empty if it holds.

    It takes about two seconds, most of them until the limits of time end two programs.
    """
    problems: list[str] = []
    try:
        with _targets() as targets, Pool(kind, size=4, image=image) as pool:
            first = pool.run(_RIGHT)
            if first.outcome != "passed":
                return [f"a right program does not run: {first.infrastructure or first.outcome}"]
            escapes = [(probe, pool.submit(probe.job(targets))) for probe in ESCAPES]
            limits = [
                (
                    name,
                    outcome,
                    pool.submit(replace(_RIGHT, code=code, limits=replace(QUICK, wall_factor=2 if name == "wall time" else 20))),
                )
                for name, code, outcome in LIMITS
            ]
            for probe, run in escapes:
                verdict = run.result()
                if verdict.outcome != "failed" and probe.name not in _SEEN_FROM_OUTSIDE:
                    what = verdict.infrastructure or verdict.outcome
                    problems.append(f"a program {probe.name}" if verdict.outcome == "passed" else f"{probe.name}: {what}")
            problems += _changes(targets)
            for name, expected, run in limits:
                verdict = run.result()
                if verdict.outcome != expected:
                    problems.append(f"the limit of {name} does not end a program: {verdict.outcome or verdict.infrastructure}")
    except GraderError as error:
        return [str(error)]
    return problems


def _changes(targets: Mapping[str, Any]) -> list[str]:
    """What programs did to the files that they must not change."""
    for path in targets["files"]:
        try:
            same = Path(path).read_bytes() == b"secret" and os.stat(path).st_mode & 0o777 == 0o666
        except OSError:
            same = False
        if not same:
            return ["a program changes files of others"]
    return [f"a program writes into {folder}" for folder in targets["writable"] if (Path(folder) / targets["name"]).exists()]


@contextmanager
def _targets() -> Iterator[dict[str, Any]]:
    """Things that exist, so that reaching them would work for a program that may."""
    name = f".lighteval-{secrets.token_hex(8)}"
    homes = [folder for folder in (Path.home(), Path(tempfile.gettempdir()), Path.cwd()) if os.access(folder, os.W_OK)]
    with contextlib.ExitStack() as stack:
        files, readable = [], []
        for folder in homes:
            descriptor, path = tempfile.mkstemp(dir=folder, prefix=".lighteval-")
            stack.callback(Path(path).unlink, missing_ok=True)
            stack.callback(Path(f"{path}x").unlink, missing_ok=True)
            os.write(descriptor, b"secret")
            os.close(descriptor)
            os.chmod(path, 0o666)
            files.append(path)
            descriptor, path = tempfile.mkstemp(dir=folder, prefix=".lighteval-")
            stack.callback(Path(path).unlink, missing_ok=True)
            os.write(descriptor, b"to be read")
            os.close(descriptor)
            readable.append(path)
        ports = {}
        for label, kind in (("tcp", socket.SOCK_STREAM), ("udp", socket.SOCK_DGRAM)):
            server = stack.enter_context(socket.socket(socket.AF_INET, kind))
            server.bind(("127.0.0.1", 0))
            if kind is socket.SOCK_STREAM:
                server.listen()
            ports[label] = server.getsockname()[1]
        yield {
            **ports,
            "files": files,
            "readable": [*readable, "/etc/passwd"],
            "writable": [str(folder) for folder in homes],
            "name": name,
            "processes": [os.getpid(), os.getppid()],
            "threads": 20000,
        }
        for folder in homes:
            with contextlib.suppress(OSError):
                (folder / name).unlink()


def choose(asked: str, *, image: str | None = None) -> tuple[Kind, tuple[str, ...]]:
    """The kind to use, and why stronger ones were passed over, one line each.

    Args:
        asked: A kind, or `auto`: the strongest that holds, of those that need no engine of containers.
        image: For podman and docker.

    Raises:
        GraderError: The kind that was asked for does not hold, or none does.
    """
    if asked == "none":
        return "none", ()
    passed_over: list[str] = []
    for kind in [kind for kind in KINDS if kind != "none" and asked in ("auto", kind)]:
        problems = self_test(kind, image=image)
        if not problems:
            return kind, tuple(passed_over)
        passed_over.append(f"{kind}: {'; '.join(problems)}")
    if asked == "auto":
        raise GraderError(f"no sandbox holds on this host ({' | '.join(passed_over)}); --sandbox none runs the code without one")
    raise GraderError(f"--sandbox {passed_over[0]}")
