"""How fast the accelerate backend's engine is, compared with Lighteval 0.9.2 and lm-evaluation-harness.

`python -m benchmarks.engine [--only WORKLOAD]... [--documents N] [--repeats N] [--threads N] [--write]` asks all three the same requests
(same model in fp32, same texts, same threads), in turns, and prints a table: seconds of the evaluation itself (loading is left out),
tokens that went through the model, memory beyond what the loaded model takes, and how far the log-likelihoods differ. The peers live in
environments of their own, which are made when they are not there. It exits with 1 if a score differs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.document import table
from benchmarks.engine_workloads import WORKLOADS, Workload, requests_of
from benchmarks.environments import HARNESS, LIGHTEVAL, python_of
from benchmarks.model import MODEL
from benchmarks.recordings import ROOT, SHARED
from pytest_lighteval.backends.accelerate import AccelerateArguments
from pytest_lighteval.backends.common.model_folder import NamedFolders
from pytest_lighteval.backends.common.user_cache import cache_home
from pytest_lighteval.common.files import write_atomic
from pytest_lighteval.errors import LightevalError, UserInputError, did_you_mean

DOCUMENT = ROOT / "docs" / "performance.md"
OURS = "ours"
SYSTEMS = (OURS, "lighteval", "lm-eval")
TOLERANCE = 2e-3
"""Nats between two systems' log-likelihoods of one choice, in fp32."""
WARM_TASK = "leaderboard|mmlu:anatomy|5|0"


@dataclass(slots=True)
class Side:
    """One system in its process, and its runs of the current workload."""

    system: str
    process: subprocess.Popen[str]
    replies: Any
    said: Path
    """What it wrote to its standard error."""
    hello: Mapping[str, Any]
    runs: list[dict[str, Any]] = field(default_factory=list)

    def ask(self, requests: Path) -> dict[str, Any]:
        """Answer the requests once. Raises UserInputError if the process died."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{requests}\n")
        self.process.stdin.flush()
        line = self.replies.readline()
        if not line:
            raise UserInputError(
                f"{self.system}: its process ended; the end of what it said: {self.said.read_text('utf-8', 'replace')[-500:]}"
            )
        reply: dict[str, Any] = json.loads(line)
        return reply

    def median(self, name: str) -> float:
        """Over the runs of the current workload."""
        return float(statistics.median(run[name] for run in self.runs))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit status: 0, 1 if scores differ, 2 if it could not be tried."""
    options = _parser().parse_args(arguments)
    try:
        workloads = [_at_most(workload, options.documents) for workload in _chosen(options.only)]
        if options.write and len(workloads) < len(WORKLOADS):
            raise UserInputError(f"--write: {DOCUMENT.name} is written from all workloads; leave --only out")
        rows, problems, versions = _compare(workloads, options.repeats, options.threads)
        header = ("workload", "", "seconds", "ours is faster by (target)", "tokens", "memory beyond the loaded, MiB", "largest difference")
        text = f"{_setting(versions, options)}\n\n{table(header, rows)}"
        print(text, *problems, sep="\n", flush=True)
        warm = _second_run(options.threads)
        print(warm)
        if options.write:
            _write(f"{text}\n\n{warm}")
    except LightevalError as error:
        print(error, file=sys.stderr)
        return 2
    return 1 if problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=(__doc__ or "").partition("\n")[0])
    names = ", ".join(workload.name for workload in WORKLOADS)
    parser.add_argument("--only", action="append", metavar="WORKLOAD", help=f"may be given several times: {names}")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="runs of each workload on each side (default: %(default)s)")
    parser.add_argument("--documents", type=int, metavar="N", help="at most that many for each workload (default: its own number)")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--threads", type=int, default=cores, metavar="N", help="CPU threads of each side (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help=f"write the table into {DOCUMENT.relative_to(ROOT)}")
    return parser


def _chosen(names: Sequence[str] | None) -> list[Workload]:
    known = {workload.name: workload for workload in WORKLOADS}
    for name in names or ():
        if name not in known:
            raise UserInputError(f"--only: there is no workload {name!r}{did_you_mean(name, known)}; there are {', '.join(known)}")
    return [workload for workload in WORKLOADS if not names or workload.name in names]


def _at_most(workload: Workload, documents: int | None) -> Workload:
    return workload if documents is None else replace(workload, documents=min(workload.documents, documents))


def _compare(workloads: Sequence[Workload], repeats: int, threads: int) -> tuple[list[tuple[str, ...]], list[str], list[str]]:
    """Lines of the table, what is wrong with the scores, and the versions of each side."""
    rows: list[tuple[str, ...]] = []
    problems: list[str] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="engine-")))
        files = {}
        for workload in workloads:
            files[workload.name] = folder / f"{workload.name}.json"
            files[workload.name].write_text(json.dumps(requests_of(workload)), "utf-8")
        sides = {system: stack.enter_context(_side(system, threads, folder)) for system in SYSTEMS}
        for workload in workloads:
            for side in sides.values():
                side.runs = []
            for number in range(repeats):
                for system, side in sides.items():
                    side.runs.append(side.ask(files[workload.name]))
                    print(f"{workload.name}, run {number + 1}: {system}: {side.runs[-1]['seconds']:.1f} s", file=sys.stderr, flush=True)
            found, wrong = _lines(workload, sides)
            rows += found
            problems += wrong
        return rows, problems, [f"{name} {number}" for side in sides.values() for name, number in side.hello["versions"].items()]


def _lines(workload: Workload, sides: Mapping[str, Side]) -> tuple[list[tuple[str, ...]], list[str]]:
    ours = sides[OURS]
    rows: list[tuple[str, ...]] = []
    problems: list[str] = []
    for system, side in sides.items():
        difference, problem = ("", "") if system == OURS else _difference(ours.runs[0]["answers"], side.runs[0]["answers"])
        if problem:
            problems.append(f"{workload.name}: {system}: {problem}")
        ratio = "" if system == OURS else f"{side.median('seconds') / ours.median('seconds'):.1f} ({workload.targets[system]:g})"
        spread = f"{min(run['seconds'] for run in side.runs):.1f} to {max(run['seconds'] for run in side.runs):.1f}"
        rows.append(
            (
                f"{workload.title}, {workload.documents} documents" if system == OURS else "",
                system,
                f"{side.median('seconds'):.1f} ({spread})",
                ratio,
                f"{side.median('tokens'):,.0f}",
                f"{side.median('peak_bytes') / 2**20:,.0f}",
                difference,
            )
        )
    return rows, problems


def _difference(ours: Sequence[Any], theirs: Sequence[Any]) -> tuple[str, str]:
    """How much the answers of two sides differ, and what is wrong with that."""
    if isinstance(ours[0], str):
        equal = sum(one == other for one, other in zip(ours, theirs, strict=True))
        # greedy texts differ after near ties, which a benchmark cannot distinguish from mistakes; the parity runs can
        return f"{equal} of {len(ours)} texts equal", "" if equal > 0.9 * len(ours) else f"only {equal} of {len(ours)} texts are equal"
    largest = max(abs(one - other) for left, right in zip(ours, theirs, strict=True) for one, other in zip(left, right, strict=True))
    return f"{largest:.1e} nats", "" if largest <= TOLERANCE else f"log-likelihoods differ by {largest:.1e}"


def _for_transformers_4(folder: Path, copy: Path) -> Path:
    """The same model as transformers 4 reads it, which Lighteval needs: two settings have another name there."""
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).symlink_to(file)
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    config = json.loads((folder / "config.json").read_text("utf-8"))
    changed = {
        "tokenizer_config.json": tokenizer | {"tokenizer_class": "PreTrainedTokenizerFast"},
        "config.json": config | {"rope_theta": config["rope_parameters"]["rope_theta"]},
    }
    for name, content in changed.items():
        (copy / name).unlink()
        (copy / name).write_text(json.dumps(content), "utf-8")
    return copy


@contextmanager
def _side(system: str, threads: int, folder: Path) -> Iterator[Side]:
    """A system's process, ready to be asked. `folder` may be written to."""
    model = NamedFolders(AccelerateArguments(pretrained=MODEL)).model
    if system == "lighteval":
        model = _for_transformers_4(model, folder / "transformers-4")
    peers = {peer.name: peer for peer in (LIGHTEVAL, HARNESS)}
    python = Path(sys.executable) if system == OURS else python_of(peers[system], cache_home() / system)
    mine, theirs = os.pipe()
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    command = [str(python), str(ROOT / "benchmarks" / "engine_side.py"), system, str(model), str(threads), str(theirs)]
    said = folder / f"{system}.stderr"
    with said.open("wb") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors,
            text=True, pass_fds=(theirs,), env=environment, cwd=ROOT if system == OURS else None,
        )  # fmt: skip
    os.close(theirs)
    with os.fdopen(mine) as replies:
        line = replies.readline()
        if not line:
            raise UserInputError(f"{system}: its process ended before it was ready: {said.read_text('utf-8', 'replace')[-500:]}")
        try:
            yield Side(system=system, process=process, replies=replies, said=said, hello=json.loads(line))
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()


def _second_run(threads: int) -> str:
    """The same pytest run twice with a fresh cache: how long each took, imports and all."""
    with tempfile.TemporaryDirectory(prefix="engine-") as folder:
        command = [
            *(sys.executable, "-m", "pytest", "-q", "--tasks", WARM_TASK, "--max-samples", "100", "--backend", "accelerate"),
            *("--model-args", f"pretrained={MODEL},device=cpu", f"--data-home={SHARED / 'data' / 'hub'}"),
            *(f"--report-dir={folder}/reports", f"--cache-dir={folder}/cache"),
        ]
        seconds = []
        for _ in range(2):
            started = time.perf_counter()
            ran = subprocess.run(
                command,
                check=False,
                capture_output=True,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"},
                cwd=folder,
            )
            seconds.append(time.perf_counter() - started)
            if ran.returncode:
                raise UserInputError(f"{' '.join(command[1:])} ended with {ran.returncode}: {ran.stdout[-500:]}")
    return f"`pytest --tasks '{WARM_TASK}' --max-samples 100`, whole: {seconds[0]:.1f} s at first, {seconds[1]:.1f} s the second time."


def _setting(versions: Sequence[str], options: argparse.Namespace) -> str:
    processor = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), ""
    )
    return (
        f"Threads: {options.threads}. Processor: {processor or platform.machine()}, {os.cpu_count()} cores. "
        f"Python {platform.python_version()}, fp32, SmolLM2-135M-Instruct.\n"
        f"Versions: {', '.join(dict.fromkeys(versions))}.\n"
        f"Runs of each side: {options.repeats}, in turns. Seconds are the median (least to most)."
    )


def _write(text: str) -> None:
    begin, end = "<!-- measured by `python -m benchmarks.engine --write` -->", "<!-- end of measured -->"
    old = DOCUMENT.read_text("utf-8")
    write_atomic(DOCUMENT, re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: f"{begin}\n\n{text}\n\n{end}", old, flags=re.DOTALL))


if __name__ == "__main__":
    sys.exit(main())
