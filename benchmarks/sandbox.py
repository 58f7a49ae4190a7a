"""Programs a second, in each kind of sandbox that this machine has, beside a plain interpreter for each program.

`python -m benchmarks.sandbox [--programs N] [--write]` runs a function with its tests, and a script with LiveCodeBench's prelude, on all
cores. `--write` puts the table into docs/graders.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.document import table
from pytest_lighteval.common.files import write_atomic
from pytest_lighteval.errors import GraderError
from pytest_lighteval.graders.programs import PRELUDE
from pytest_lighteval.sandbox.job import Job, cases_of
from pytest_lighteval.sandbox.kinds import KINDS, Kind
from pytest_lighteval.sandbox.pool import Pool, default_size
from pytest_lighteval.sandbox.worker import Worker

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/graders.md"
BEGIN, END = "<!-- measured: written by `python -m benchmarks.sandbox --write` -->", "<!-- end of measured -->"
CODE = "def add(a, b):\n    return a + b\n"
TESTS = "assert add(1, 2) == 3\nassert add([1], [2]) == [1, 2]\nassert add('a', 'b') == 'ab'\n"
SCRIPT = "a, b = map(int, input().split())\nprint(a + b)\n"
FUNCTION = Job(action="tests", code=CODE, tests=TESTS, names=("add",))
CONTEST = Job(action="script", code=SCRIPT, prelude=PRELUDE, cases=cases_of(["1 2\n"], ["3\n"]))
_PROCESSES = default_size()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one program."""

    per_second: float
    cpu_milliseconds: float
    """Of all processes that it took."""

    def __str__(self) -> str:
        return f"{self.per_second:.0f} ({self.cpu_milliseconds:.0f} ms)"


def cost(run: Callable[[], object], close: Callable[[], object], programs: int) -> Cost:
    """Of programs that run at a time on every core; the first ones, which start what is kept warm, count for CPU time alone."""
    before = _cpu_seconds()
    with ThreadPoolExecutor(_PROCESSES) as threads:
        list(threads.map(lambda _: run(), range(_PROCESSES)))
        started = time.perf_counter()
        list(threads.map(lambda _: run(), range(programs)))
        seconds = time.perf_counter() - started
    close()
    return Cost(per_second=programs / seconds, cpu_milliseconds=1000 * (_cpu_seconds() - before) / (programs + _PROCESSES))


def _cpu_seconds() -> float:
    """Of processes that ended."""
    use = resource.getrusage(resource.RUSAGE_CHILDREN)
    return use.ru_utime + use.ru_stime


def _plain(code: str) -> None:
    subprocess.run([sys.executable, "-I", "-S", "-c", code], input=b"1 2\n", stdout=subprocess.DEVNULL, check=True)


def measure(programs: int) -> list[list[str]]:
    """The table, its header first."""
    plain = [cost(lambda code=code: _plain(code), lambda: None, programs) for code in (CODE + TESTS, PRELUDE + SCRIPT)]  # type: ignore[misc]
    rows = [["a new interpreter for each program, no sandbox", *map(str, plain)]]
    for kind in KINDS:
        try:
            Worker(kind).close()
        except GraderError as error:
            sys.stderr.write(f"{kind}: not measured: {error}\n")
            continue
        rows.append([f"`{kind}`", *[str(_in_sandbox(kind, job, programs)) for job in (FUNCTION, CONTEST)]])
    return [["", "a function with three tests", "a script with LiveCodeBench's prelude"], *rows]


def _in_sandbox(kind: Kind, job: Job, programs: int) -> Cost:
    pool = Pool(kind)

    def run() -> None:
        verdict = pool.run(job)
        if verdict.outcome != "passed":
            raise RuntimeError(f"the program did not pass: {verdict}")

    return cost(run, pool.close, programs)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=int, default=200, metavar="N")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args(arguments)
    header, *rows = measure(options.programs)
    text = table(header, rows)
    sys.stdout.write(text + "\n")
    if options.write:
        machine = (
            f"Programs a second, and CPU time of one: {options.programs} of each, Python {platform.python_version()}, {_PROCESSES} cores, "
            f"of which others took a part (load {os.getloadavg()[0]:.0f})."
        )
        content = PAGE.read_text("utf-8")
        found = re.search(f"{re.escape(BEGIN)}.*?{re.escape(END)}", content, re.DOTALL)
        if found is None:
            raise SystemExit(f"{PAGE}: the marks of the table are gone")
        part = f"{BEGIN}\n{machine}\n\n{text}\n{END}"
        write_atomic(PAGE, content[: found.start()] + part + content[found.end() :])


if __name__ == "__main__":
    main()
