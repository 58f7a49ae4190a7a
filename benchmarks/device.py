"""What the accelerate backend does on one device: is it right, does it use the device, how fast is it, where does the time go.

`python -m benchmarks.device [--device cuda:0] [--minutes 8] [--data-home DIR] [--json FILE] [--write]` needs no network and no weights:
models of Llama-3.1-8B's and Qwen3-0.6B's shapes are made there from random numbers. Each part runs in a process of its own, which is ended
when its time is over; what it had found by then stays. A step that fails says so in its line. `--small` takes tiny models and a few
requests, on a CPU within seconds. `--write` puts the table into docs/performance-device.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import device_steps as steps
from benchmarks.device_kit import Kit, Row, Settings, dump
from benchmarks.document import cell, table
from benchmarks.recordings import ROOT
from pytest_lighteval.common.files import write_atomic

DOCUMENT = ROOT / "docs" / "performance-device.md"
BEGIN = "<!-- measured: written by `python -m benchmarks.device --write` -->"
END = "<!-- end of measured -->"

PARTS: dict[str, float] = {"machine": 60, "qwen-fp32": 120, "qwen-bf16": 150, "llama-bf16": 240, "real-model": 90}
"""In this order, with the most seconds that each may take of what is left."""


def run_part(part: str, settings: Settings, out: Path) -> None:
    """Measure one part, in this process, and write what is known after each step."""
    rows: list[Row] = []
    figures: dict[str, Any] = {}
    for row in _rows(part, settings, figures):
        rows.append(row)
        dump(out, rows, figures)


def _rows(part: str, settings: Settings, figures: dict[str, Any]) -> Iterator[Row]:
    name, _, dtype = part.partition("-")
    kit = Kit(
        name={"llama": "Llama-3.1-8B"}.get(name, "Qwen3-0.6B"),
        settings=settings,
        dtype={"bf16": "bfloat16"}.get(dtype, "float32"),
        figures=figures,
    )
    found: dict[str, Sequence[steps.Step]] = {
        "machine": (_of_settings(steps.machine), _of_settings(steps.pinned_workers)),
        "qwen-fp32": (steps.scores_against_single_rows, steps.texts_against_generate, steps.memory_runs_out, steps.memory_given_back),
        "qwen-bf16": (
            steps.scores_against_single_rows,
            steps.texts_against_generate,
            steps.fused_kernels,
            steps.throughput,
            steps.where_the_time_goes,
        ),
        "llama-bf16": (steps.throughput, steps.where_the_time_goes, steps.scores_against_single_rows, steps.fused_kernels),
        "real-model": (steps.smollm2,),
    }
    for step in found[part]:
        if settings.left <= 0:
            yield Row(step=step.__name__.replace("_", " "), what=part, measured="left out: the time is over")
        else:
            yield from steps.try_step(step, kit)


def _of_settings(step: Any) -> steps.Step:
    def run(kit: Kit) -> Iterator[Row]:
        yield from step(kit.settings)

    run.__name__ = step.__name__
    return run


def measure(settings: Settings, parts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """All parts, each in a process of its own: part -> rows and figures."""
    results = {}
    with tempfile.TemporaryDirectory(prefix="device-") as folder:
        for part in parts:
            out = Path(folder, f"{part}.json")
            limit = min(PARTS[part], settings.left)
            if limit < 5:
                results[part] = _failed(part, "left out: the time is over")
                continue
            told = json.dumps({**asdict(settings), "deadline": time.time() + limit - 5})
            command = [sys.executable, "-m", "benchmarks.device", "--part", part, "--settings", told, "--json", str(out)]
            problem = None
            try:
                done = subprocess.run(command, cwd=ROOT, timeout=limit, capture_output=True, text=True, check=False)
                if done.returncode:
                    problem = f"FAILED: its process ended with {done.returncode}: {' '.join(done.stderr.split())[-300:]}"
            except subprocess.TimeoutExpired:
                problem = f"ended after {limit:.0f} s; what is above was done by then"
            results[part] = json.loads(out.read_text("utf-8")) if out.is_file() else {"rows": [], "figures": {}}
            if problem is not None:
                results[part]["rows"] += _failed(part, problem)["rows"]
            for row in results[part]["rows"]:
                print(*row, sep=" | ", file=sys.stderr, flush=True)
    return results


def _failed(part: str, why: str) -> dict[str, Any]:
    return {"rows": [["part", part, why]], "figures": {}}


def text_of(results: dict[str, dict[str, Any]]) -> str:
    """The table of the page."""
    rows = [[cell(one) for one in row] for part in results.values() for row in part["rows"]]
    return table(("step", "what", "measured"), rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Its exit status is 1 if a step failed or was wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.device", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", help="default: the first GPU if torch sees one, else the CPU")
    parser.add_argument("--minutes", type=float, default=8.0, help="most time for all of it (default: %(default)g)")
    parser.add_argument("--data-home", metavar="DIR", help="a folder <owner>/<name>/... of real rows; without it, prompts are made up")
    parser.add_argument("--only", action="append", choices=PARTS, help="may be given several times")
    parser.add_argument("--json", type=Path, default=Path("device.json"), metavar="FILE", help="all figures (default: %(default)s)")
    parser.add_argument("--small", action="store_true", help="tiny models and a few requests")
    parser.add_argument("--write", action="store_true", help=f"write the table into {DOCUMENT.relative_to(ROOT)}")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--settings", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.part:
        run_part(given.part, Settings(**json.loads(given.settings)), given.json)
        return 0
    home = None if given.data_home is None else str(Path(given.data_home).resolve())
    device = given.device or _default_device()
    settings = Settings(device=device, small=given.small, data_home=home, deadline=time.time() + 60 * given.minutes)
    results = measure(settings, given.only or list(PARTS))
    write_atomic(given.json, json.dumps(results, indent=1) + "\n")
    text = text_of(results)
    print(text)
    if given.write:
        write_part(text)
    return int(any(word in text for word in ("FAILED", "WRONG")))


def write_part(text: str) -> None:
    """Put the table between the marks of the page."""
    page = DOCUMENT.read_text("utf-8")
    before, _, rest = page.partition(BEGIN)
    write_atomic(DOCUMENT, f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}")


def _default_device() -> str:
    # asked in another process: a process that has touched the GPU keeps a part of its memory
    code = "import torch; print('cuda:0' if torch.cuda.is_available() else 'cpu')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "cpu"


if __name__ == "__main__":
    sys.exit(main())
