"""What a sandbox is asked to run, under which limits, and what it says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Outcome = Literal["passed", "failed", "timed out", "out of memory", "too much output"]
MEBIBYTE = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of one process. What exceeds them is ended."""

    cpu_seconds: int = 6
    """The benchmark's limit: time that is computed, so that a busy host turns no right answer wrong."""
    wall_factor: float = 8.0
    """Wall time, as a multiple of the CPU time: a fuse for programs that wait."""
    memory_bytes: int = 4096 * MEBIBYTE
    """Of address space."""
    output_bytes: int = 10 * MEBIBYTE
    """Of stdout and stderr together, and of any one file."""
    scratch_bytes: int = 100 * MEBIBYTE
    threads: int = 64
    """No process may be started."""

    @property
    def wall_seconds(self) -> float:
        """The fuse."""
        return self.cpu_seconds * self.wall_factor

    def plain(self) -> dict[str, Any]:
        """As a job has them."""
        return {**asdict(self), "wall_seconds": self.wall_seconds}

    def __str__(self) -> str:
        """For results and baselines: those that no task sets."""
        return f"{self.memory_bytes // MEBIBYTE} MiB, {self.output_bytes // MEBIBYTE} MiB output, {self.threads} threads"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One input with the output that is expected; how they are written depends on the job."""

    input: str
    output: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A program and how it is tried.

    `tests`: Python code that calls the program's functions, from another process.
    `script`: the program runs once for each case, with `input` on stdin.
    `call`: its function is called once for each case, with one JSON value on each line of `input`; `output` is JSON.
    `parity`: as `script` or `call` (with a `function`), but all cases in one process, with the reference's faults.
    """

    action: Literal["tests", "script", "call", "parity"]
    code: str
    """The program."""
    prelude: str = ""
    """Code that runs before it, with the same names."""
    helpers: str = ""
    """Code that runs before the tests, beside them: the program cannot replace its names."""
    tests: str = ""
    names: tuple[str, ...] = ()
    """The program's global names that the tests use."""
    function: str | None = None
    cases: tuple[Case, ...] = ()
    test_seconds: float = 6
    """Of `parity`: the reference's limit of a test."""
    limits: Limits = field(default_factory=Limits)

    def plain(self) -> dict[str, Any]:
        """As a sandbox reads it."""
        return {**asdict(self), "limits": self.limits.plain()}

    def digest(self) -> bytes:
        """SHA-256 of all that may change its verdict."""
        return hashlib.sha256(json.dumps(self.plain(), sort_keys=True).encode()).digest()

    @property
    def most_seconds(self) -> float:
        """After which a sandbox that gave no verdict is broken."""
        runs = max(1, len(self.cases)) if self.action in ("script", "call") else 1
        if self.action == "parity":
            return (self.test_seconds + 1) * len(self.cases) + 35
        return runs * self.limits.wall_seconds + 30


@dataclass(frozen=True, slots=True, kw_only=True)
class RunVerdict:
    """How a program ended. The same program under the same limits has the same one."""

    outcome: Outcome | None
    """None: there is none, and `infrastructure` says why."""
    error: tuple[str, str] | None = None
    """The class and the text of what went wrong. None: nothing, or nothing is known of it."""
    case: int | None = None
    """The first case that failed. None: none did, or there are no cases."""
    codes: tuple[Any, ...] | None = None
    """Of `parity`: the reference's code of each test that ran."""
    infrastructure: str | None = None
    """Why there is no verdict: what runs programs failed, and the program did not."""

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> RunVerdict:
        """From what a sandbox wrote."""
        error, codes = plain.get("error"), plain.get("codes")
        return cls(
            outcome=plain.get("outcome"),
            error=None if error is None else (str(error[0]), str(error[1])),
            case=plain.get("case"),
            codes=None if codes is None else tuple(codes),
            infrastructure=plain.get("infrastructure"),
        )

    def plain(self) -> dict[str, Any]:
        """What `read` reads."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def cases_of(inputs: Sequence[str], outputs: Sequence[str]) -> tuple[Case, ...]:
    """Cases from two lists of the same length."""
    return tuple(Case(input=given, output=expected) for given, expected in zip(inputs, outputs, strict=True))
