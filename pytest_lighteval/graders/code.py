"""The grader of programs: answers in, marks out, while a pool of sandboxes works in the background."""

from __future__ import annotations

import hashlib
import json
import re
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ClassVar, Protocol

from pytest_lighteval.errors import GraderError
from pytest_lighteval.graders.programs import gold_job, job_of
from pytest_lighteval.sandbox.job import Job, Limits, RunVerdict, cases_of
from pytest_lighteval.sandbox.kinds import PACKAGES, Kind
from pytest_lighteval.sandbox.pool import Pool
from pytest_lighteval.types import Answer, Doc, Grade, GraderKind, Mark, Task

RULES = "2"
"""Version of the rules by which programs are made, run and compared. To be raised when a verdict may change."""
_OWN_SOLUTIONS = 16
"""Documents whose own solution is tried before their answers are judged, of each task."""
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{6,}")
_SANITY = (
    (Job(action="tests", code="def double(x):\n    return 2 * x\n", tests="assert double(4) == 8", names=("double",)), "passed"),
    (Job(action="tests", code="def double(x):\n    return x\n", tests="assert double(4) == 8", names=("double",)), "failed"),
    (Job(action="script", code="print(2 * int(input()))\n", cases=cases_of(["4"], ["8"])), "passed"),
    (
        Job(action="call", code="class Solution:\n    def f(self, x):\n        return [x]\n", function="f", cases=cases_of(["4"], ["[4]"])),
        "passed",
    ),
)
"""Programs whose outcome is known, for data sets without solutions of their own."""


class Verdicts(Protocol):
    """A store of verdicts of earlier sessions. It may forget everything."""

    def find(self, key: bytes) -> bytes | None:
        """What was written under this key."""

    def write(self, key: bytes, value: bytes) -> None:
        """Keep a verdict."""


@dataclass(slots=True)
class _Pending:
    """One answer whose programs run."""

    index: int
    runs: list[Future[RunVerdict]]


@dataclass(slots=True)
class Use:
    """How many verdicts were needed, for the report."""

    programs: int = 0
    recalled: int = 0
    """Of them, those that an earlier session or another answer had."""


class CodeGrader:
    """Runs programs in sandboxes of one kind.

    Args:
        kind: That holds on this host (`sandbox.self_test.choose`), or `none`.
        size: Sandboxes at a time. None: as many as there are cores, eight at most.
        image: For podman and docker.
        verdicts: Of earlier sessions. None: every program runs.
    """

    kind: ClassVar[GraderKind] = "sandbox"

    def __init__(self, kind: Kind, *, size: int | None = None, image: str | None = None, verdicts: Verdicts | None = None) -> None:
        self.sandbox = kind
        self._image = image
        self._pool = Pool(kind, size=size, image=image)
        self._verdicts = verdicts
        self._known: dict[bytes, Future[RunVerdict]] = {}
        """By key, of this session."""
        self._is_sane = False
        self._use = Use()

    def identity(self, task: Task) -> dict[str, str]:
        """The kind, its interpreter and packages, the limits of all tasks, the version of the rules, and how the task tests programs."""
        return {
            "sandbox": self.sandbox,
            "python": _python(),
            "packages": self._packages(),
            "limits": str(Limits()),
            "rules": RULES,
            "tests": _digest(task),
        }

    def _packages(self) -> str:
        if self.sandbox in ("podman", "docker"):
            return self._image or "none"
        return ", ".join(f"{name} {found}" for name in PACKAGES if (found := _version(name))) or "none"

    def grade(self, task: Task, answers: Iterable[tuple[int, Answer]]) -> Iterator[tuple[int, Grade]]:
        """Marks of True and False.

        Raises:
            GraderError: Programs do not run here, or the data set's own solutions do not pass.
        """
        pending: deque[_Pending] = deque()
        tried: set[str] = set()
        for index, answer in answers:
            self._check_host()
            if answer.doc.id not in tried and len(tried) < _OWN_SOLUTIONS:
                tried.add(answer.doc.id)
                self._check_solution(task, answer.metric, answer.doc)
            jobs = [job_of(answer.metric, answer.doc, text, stops=task.stop_sequence) for text in answer.texts]
            pending.append(_Pending(index, [self._run(job) for job in jobs]))
            # what is ready is passed on before the next answer is waited for
            yield from self._ready(pending)
        while pending:
            wait([run for entry in pending for run in entry.runs if not run.done()][:1], return_when=FIRST_COMPLETED)
            yield from self._ready(pending)

    def _ready(self, pending: deque[_Pending]) -> Iterator[tuple[int, Grade]]:
        for _ in range(len(pending)):
            entry = pending.popleft()
            if all(run.done() for run in entry.runs):
                yield entry.index, self._grade([run.result() for run in entry.runs])
            else:
                pending.append(entry)

    def _grade(self, verdicts: list[RunVerdict]) -> Grade:
        broken = next((verdict.infrastructure for verdict in verdicts if verdict.infrastructure is not None), None)
        if broken is not None:
            return Grade(error=f"the sandbox gave no verdict: {broken}")
        return Grade(marks=tuple(map(_mark, verdicts)))

    def _run(self, job: Job | None) -> Future[RunVerdict]:
        """The verdict; of a program that ran before, that one's."""
        self._use.programs += 1
        if job is None:
            return _done(RunVerdict(outcome="failed", error=("NoProgram", "the answer has no code")))
        key = hashlib.sha256(json.dumps([job.digest().hex(), self.sandbox, _python(), self._packages(), RULES]).encode()).digest()
        if key in self._known:
            self._use.recalled += 1
            return self._known[key]
        stored = None if self._verdicts is None else self._verdicts.find(key)
        if stored is not None:
            self._use.recalled += 1
            run = _done(RunVerdict.read(json.loads(stored)))
        else:
            run = self._pool.submit(job)
            if self._verdicts is not None:
                run.add_done_callback(lambda done: self._keep(key, done))
        self._known[key] = run
        return run

    def _keep(self, key: bytes, done: Future[RunVerdict]) -> None:
        """A verdict of a host that failed is none."""
        if self._verdicts is None or done.cancelled() or done.exception() is not None:
            return
        verdict = done.result()
        if verdict.infrastructure is None:
            self._verdicts.write(key, json.dumps(verdict.plain()).encode())

    def _check_host(self) -> None:
        """Programs whose outcome is known have it, twice. Raises GraderError."""
        if self._is_sane:
            return
        runs = [(job, expected, self._pool.submit(job)) for job, expected in _SANITY for _ in range(2)]
        for job, expected, run in runs:
            if (verdict := run.result()).outcome != expected:
                said = verdict.infrastructure or f"{verdict.outcome}, {verdict.error}"
                raise GraderError(f"this host cannot run programs ({self.sandbox}): {job.code.strip()!r} is {said}, not {expected}")
        self._is_sane = True

    def _check_solution(self, task: Task, metric: str, doc: Doc) -> None:
        """The data set's own solution passes. Raises GraderError."""
        job = gold_job(metric, doc, stops=task.stop_sequence)
        if job is None:
            return
        verdict = self._run(job).result()
        if verdict.outcome != "passed":
            said = verdict.infrastructure or verdict.outcome
            detail = "" if verdict.error is None else f" ({': '.join(verdict.error)})"
            raise GraderError(
                f"{task.id}: this host cannot judge it: the data set's own solution of {doc.id} does not pass: {said}{detail}"
            )

    def describe(self) -> dict[str, Any]:
        """The kind, and how many programs ran."""
        return {
            "kind": self.kind,
            "sandbox": self.sandbox,
            "python": _python(),
            "packages": self._packages(),
            "use": {"programs": self._use.programs, "recalled": self._use.recalled},
        }

    def close(self) -> None:
        """End all sandboxes."""
        self._pool.close()


def _mark(verdict: RunVerdict) -> Mark:
    facts: dict[str, Any] = {}
    if verdict.error is not None:
        name, text = verdict.error
        # an address differs from run to run
        facts["error"] = _ADDRESS.sub("0x", f"{name}: {text}" if text else name)
    if verdict.case is not None:
        facts["case"] = verdict.case
    if verdict.codes is not None:
        facts["codes"] = list(verdict.codes)
    assert verdict.outcome is not None
    return Mark(value=verdict.outcome == "passed", outcome=verdict.outcome, facts=facts)


def _done(verdict: RunVerdict) -> Future[RunVerdict]:
    future: Future[RunVerdict] = Future()
    future.set_result(verdict)
    return future


def _digest(task: Task) -> str:
    """12 hex digits of what the suite says of programs: tests, helpers, CPU time, where code is found. Rows are the data set's."""
    specific = task.prompt.specific
    said = [specific if isinstance(specific, str) else dict(specific), list(task.stop_sequence)]
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _python() -> str:
    import platform

    return platform.python_version()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
