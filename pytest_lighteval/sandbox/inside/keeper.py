"""The process that takes jobs: it lets programs run one at a time, watches them, and says how they ended.

It reads one job a line and writes one result a line. It is trusted: a program runs in a fork of the nursery, and what comes from there is
data.
The limit of a benchmark is CPU time, so that a busy host turns no right answer wrong. Wall time is a fuse.
"""

from __future__ import annotations

import array
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pytest_lighteval.sandbox.inside import compare, namespaces, nursery, parity, scratch
from pytest_lighteval.sandbox.inside.peer import Channel, GoneError

_WATCH_SECONDS = 0.2
_MOST_TOLD = 300
"""Letters of an error."""
_STARVED = 0.25
"""Of the CPU time that was allowed: a program that used more when the fuse blew did compute, and the host was too busy."""
_FULL = ("[Errno 27]", "[Errno 28]")
"""File too large, no space left."""


class _InfrastructureError(Exception):
    """No verdict: what runs programs failed, and no program did."""


class Keeper:
    """Runs jobs with the help of a nursery at the other end of a socket."""

    def __init__(self, connection: socket.socket, settings: Mapping[str, Any]) -> None:
        self._connection = connection
        self._scratch: str | None = settings["scratch"]

    def do(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """The result of a job: `outcome` with the `error` of a failure, or `infrastructure`, which says why there is none."""
        try:
            return _ACTIONS[job["action"]](self, job)
        except _InfrastructureError as error:
            return {"infrastructure": str(error)}
        finally:
            if self._scratch is not None:
                scratch.empty(self._scratch)

    # ------------------------------------------------------------------------------------------------ what is run

    def examine(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Run tests against a program, each in a process of its own."""
        mine, theirs = socket.socketpair()
        with self._run("candidate", job["limits"], theirs) as program:
            program.starts(mine)
            Channel(mine).send({"action": "serve", **_program(job)})
            own, other = socket.socketpair()
            with self._run("examiner", job["limits"], other, mine, drains=False) as tests:
                tests.starts(own)
                Channel(own).send({"helpers": job["helpers"], "tests": job["tests"], "names": job["names"]})
                verdict = tests.wait(own, also=program)
                if "broken" in verdict:
                    raise _InfrastructureError(f"the task's own code does not run: {': '.join(verdict['broken'])}")
                if "passed" in verdict:
                    return {"outcome": "passed"}
                if "raised" in verdict and verdict["raised"][:1] != ["GoneError"]:
                    return _raised(verdict["raised"])
                if "lost" in verdict and not program.is_stopped:
                    return tests.ending()
                return program.ending()

    def script(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Run a program once for each case, until one fails: its input on stdin, its output compared with what is expected."""
        for number, case in enumerate(job["cases"]):
            result = self._script(job, case)
            if result["outcome"] != "passed":
                return result | {"case": number}
        return {"outcome": "passed"}

    def _script(self, job: Mapping[str, Any], case: Mapping[str, Any]) -> dict[str, Any]:
        mine, theirs = socket.socketpair()
        with self._run("candidate", job["limits"], theirs, stdin=case["input"]) as program:
            program.starts(mine)
            Channel(mine).send({"action": "script", **_program(job)})
            said = program.wait(mine)
            if "lost" in said:
                return program.ending()
            if "raised" in said:
                return _raised(said["raised"])
            output = program.output()
            if output is None:
                return {"outcome": "too much output"}
        text = output.decode("utf-8", "replace")
        return {"outcome": "passed"} if compare.same_output(text, case["output"]) else _wrong("another output")

    def call(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Call a program's function once for each case, until one fails; each time in a new process."""
        for number, case in enumerate(job["cases"]):
            mine, theirs = socket.socketpair()
            with self._run("candidate", job["limits"], theirs) as program:
                program.starts(mine)
                arguments = case["input"].split("\n")
                Channel(mine).send({"action": "call", **_program(job), "function": job["function"], "arguments": arguments})
                said = program.wait(mine)
                if "lost" in said:
                    result = program.ending()
                elif "raised" in said:
                    result = _raised(said["raised"])
                else:
                    result = {"outcome": "passed"} if compare.same_value(said.get("value"), case["output"]) else _wrong("another value")
            if result["outcome"] != "passed":
                return result | {"case": number}
        return {"outcome": "passed"}

    def parity(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """All cases in one process, as the reference runs them (`parity`). The result has its codes."""
        mine, theirs = socket.socketpair()
        codes: list[Any] = []
        with self._run("candidate", job["limits"], theirs, wall_seconds=parity.wall_seconds(job)) as program:
            program.starts(mine)
            inputs = [{"input": case["input"]} for case in job["cases"]]  # a program that looks around finds no outputs
            Channel(mine).send({"action": "parity", "cases": inputs, **{name: job[name] for name in ("code", "function", "test_seconds")}})
            while len(codes) < len(job["cases"]) and all(code is True for code in codes):
                said = program.wait(mine)
                if "lost" in said:
                    codes = [-1] * len(job["cases"])
                    break
                codes.append(parity.code_of(said, job["cases"][len(codes)]["output"], calls=bool(job["function"])))
        passed = all(code is True for code in codes)
        return {"outcome": "passed" if passed else parity.OUTCOMES.get(codes[-1], "failed"), "codes": codes}

    # ------------------------------------------------------------------------------------------------ processes

    @contextmanager
    def _run(
        self,
        role: str,
        limits: Mapping[str, Any],
        *sockets: socket.socket,
        stdin: str = "",
        drains: bool = True,
        wall_seconds: float | None = None,
    ) -> Iterator[_Process]:
        """A process, which is ended at the block's end. The sockets are its own: they are closed here."""
        ends = [os.pipe() for _ in range(2)] if drains else []
        given = os.memfd_create("stdin") if hasattr(os, "memfd_create") else _temporary()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            _write(given, stdin.encode("utf-8", "surrogateescape"))
            outputs = [end[1] for end in ends] or [nowhere, nowhere]
            request = {"role": role, "limits": limits}
            pid = self._ask(request, [given, *outputs, *[each.fileno() for each in sockets]])["pid"]
        finally:
            for descriptor in (given, nowhere, *[end[1] for end in ends]):
                os.close(descriptor)
            for each in sockets:
                each.close()
        process = _Process(self, pid, limits, [end[0] for end in ends], wall_seconds or limits["wall_seconds"], self._scratch)
        try:
            yield process
        finally:
            process.stop()
            for end in ends:
                os.close(end[0])

    def _ask(self, request: Mapping[str, Any], descriptors: Sequence[int] = ()) -> dict[str, Any]:
        try:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
            self._connection.sendmsg([json.dumps(request).encode()], rights)
            line = b""
            while not line.endswith(b"\n"):
                piece = self._connection.recv(4096)
                if not piece:
                    raise _InfrastructureError("the process that starts programs ended")
                line += piece
        except OSError as error:
            raise _InfrastructureError(f"the process that starts programs is gone: {error.strerror}") from None
        reply: dict[str, Any] = json.loads(line)
        return reply

    def reap(self, pid: int, *, patience: float = 0.0) -> dict[str, Any]:
        """How a process ended. If it has not ended in that time (seconds), it is killed, and the result says so."""
        return self._ask({"reap": pid, "patience": patience})


class _Process:
    """A run that is under way: what it wrote, and how it ended."""

    def __init__(
        self, keeper: Keeper, pid: int, limits: Mapping[str, Any], outputs: Sequence[int], wall_seconds: float, scratch: str | None
    ) -> None:
        self._keeper, self._pid, self._limits, self._scratch = keeper, pid, limits, scratch
        self._outputs = {descriptor: bytearray() for descriptor in outputs}
        self._open = set(outputs)
        for descriptor in outputs:
            os.set_blocking(descriptor, False)
        self._deadline = time.monotonic() + wall_seconds
        self._why: str | None = None
        """Why it was killed. None: it was not, or it had ended."""
        self._end: dict[str, Any] | None = None

    def starts(self, connection: socket.socket) -> bool:
        """Wait until its limits hold. Raises _InfrastructureError if they do not."""
        said = self.wait(connection)
        if "ready" not in said:
            raise _InfrastructureError(f"a program's limits cannot be set: {said.get('unconfined', 'its process ended')}")
        return True

    def wait(self, connection: socket.socket, *, also: _Process | None = None) -> dict[str, Any]:
        """Its next message; `{"lost": True}` if it ended, or was ended because it exceeded a limit. `also` is watched too."""
        watched = [self, *([also] if also else [])]
        checked = time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(connection, selectors.EVENT_READ, None)
            for process in watched:
                for descriptor in process._open:
                    selector.register(descriptor, selectors.EVENT_READ, process)
            while True:
                now = time.monotonic()
                left = self._deadline - now
                if left <= 0:
                    for process in watched:
                        process._kill("wall")
                    return {"lost": True}
                ready = selector.select(min(left, _WATCH_SECONDS))
                for key, _ in ready:
                    if key.data is None:
                        continue
                    if not key.data._drain(key.fd):
                        selector.unregister(key.fd)
                    if key.data._has_written() > self._limits["output_bytes"]:
                        key.data._kill("output")
                        return {"lost": True}
                if any(key.data is None for key, _ in ready):
                    return self._message(connection)
                if now - checked > _WATCH_SECONDS and self._scratch is not None:
                    checked = now
                    if scratch.size(self._scratch) > self._limits["scratch_bytes"]:
                        (also or self)._kill("output")
                        return {"lost": True}

    def _message(self, connection: socket.socket) -> dict[str, Any]:
        try:
            message = Channel(connection).receive(until=self._deadline)
        except GoneError:
            return {"lost": True}
        finally:
            connection.settimeout(None)
        return message if isinstance(message, dict) else {"lost": True}

    def _drain(self, descriptor: int) -> bool:
        """Read what is there. False: nothing will come any more."""
        try:
            data = os.read(descriptor, 2**16)
        except BlockingIOError:
            return True
        if not data:
            self._open.discard(descriptor)
            return False
        if self._has_written() <= self._limits["output_bytes"]:
            self._outputs[descriptor] += data
        return True

    def _has_written(self) -> int:
        return sum(map(len, self._outputs.values()))

    def output(self) -> bytes | None:
        """What a program that ended wrote to stdout. None: too much."""
        self.stop()
        for descriptor in list(self._open):
            while self._has_written() <= self._limits["output_bytes"] and descriptor in self._open:
                before = self._has_written()
                if self._drain(descriptor) and self._has_written() == before:
                    break
        first = next(iter(self._outputs))
        return bytes(self._outputs[first]) if self._has_written() <= self._limits["output_bytes"] else None

    @property
    def is_stopped(self) -> bool:
        """It was killed for a limit."""
        return self._why is not None

    def _kill(self, why: str) -> None:
        if self._end is None:
            self._why = why
            self.stop()

    def stop(self) -> None:
        """End it, if it has not ended, with whatever it started."""
        if self._end is None:
            self._end = self._keeper.reap(self._pid)

    def ending(self) -> dict[str, Any]:
        """The outcome of a program that gave no answer."""
        if self._end is None:
            # its channel is closed: it ends by itself now, or it closed the channel and goes on
            self._end = self._keeper.reap(self._pid, patience=0.5)
        end = self._end
        used, allowed = end["cpu_seconds"], self._limits["cpu_seconds"]
        number = os.WTERMSIG(end["status"]) if os.WIFSIGNALED(end["status"]) else None
        if self._why == "output":
            return {"outcome": "too much output"}
        if number == signal.SIGXCPU or used >= allowed:
            return {"outcome": "timed out"}
        if self._why == "wall":
            if used > _STARVED * allowed:
                raise _InfrastructureError(
                    f"the host is too busy: a program got {used:.1f} s of CPU time before the fuse of wall time blew"
                )
            return {"outcome": "timed out"}
        if number == signal.SIGKILL and not end["killed"]:
            if end["memory_bytes"] >= 0.8 * self._limits["memory_bytes"]:
                return {"outcome": "out of memory"}
            raise _InfrastructureError("the system killed a program that kept its limits: the host has too little memory")
        if number is not None and not end["killed"]:
            return {"outcome": "failed", "error": ["Signal", signal.Signals(number).name]}
        return {"outcome": "failed", "error": ["SystemExit", "the program ended before its tests did"]}


def _program(job: Mapping[str, Any]) -> dict[str, str]:
    return {"code": job["code"], "prelude": job["prelude"]}


def _raised(error: Any) -> dict[str, Any]:
    """The outcome of an error, as a message tells it. The program may have written the message itself."""
    name, text = map(str, error) if isinstance(error, list) and len(error) == 2 else ("GoneError", "no message")
    if name == "MemoryError":
        return {"outcome": "out of memory"}
    if text.startswith(_FULL):
        return {"outcome": "too much output"}
    return {"outcome": "failed", "error": [name[:_MOST_TOLD], text[:_MOST_TOLD]]}


def _wrong(what: str) -> dict[str, Any]:
    return {"outcome": "failed", "error": ["Wrong", what]}


def _write(descriptor: int, data: bytes) -> None:
    unwritten = memoryview(data)
    while unwritten:
        unwritten = unwritten[os.write(descriptor, unwritten) :]
    os.lseek(descriptor, 0, os.SEEK_SET)


def _temporary() -> int:
    import tempfile

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


_ACTIONS = {"tests": Keeper.examine, "script": Keeper.script, "call": Keeper.call, "parity": Keeper.parity}


def main() -> None:
    """Enter the sandbox that the settings describe, start the nursery, and do jobs until stdin ends."""
    settings = json.loads(sys.argv[1])
    os.environ.update(HOME=settings["scratch"], TMPDIR=settings["scratch"])
    if settings["landlock"]:
        sys.path += settings["site"]
        importlib.import_module("landlockpy")
        del sys.path[-len(settings["site"]) :]
    if settings["enter_namespaces"]:
        namespaces.enter(settings)
    mine, theirs = socket.socketpair()
    forking = os.fork()
    if forking == 0:
        mine.close()
        for descriptor, mode in ((0, os.O_RDONLY), (1, os.O_WRONLY)):
            os.dup2(os.open(os.devnull, mode), descriptor)
        try:
            nursery.serve(theirs, settings)
        except BaseException as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            sys.stderr.flush()
        finally:
            os._exit(0)
    theirs.close()
    if mine.recv(1) != b"\n":
        sys.exit(1)
    keeper = Keeper(mine, settings)
    sys.stdout.write(json.dumps({"ready": True, "python": sys.version.split()[0]}) + "\n")
    sys.stdout.flush()
    for line in sys.stdin:
        result = keeper.do(json.loads(line))
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()
    mine.close()
    os.waitpid(forking, 0)
    os._exit(0)
