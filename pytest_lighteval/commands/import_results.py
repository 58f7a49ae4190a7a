"""`import`: thresholds of other harnesses as a gates file, their recorded runs as a baseline."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pytest_lighteval.baselines.importers.gates import ImportedGates, render_gates, tensorrt_gates, vllm_gates
from pytest_lighteval.baselines.importers.lm_eval import lm_eval_baseline
from pytest_lighteval.baselines.importers.names import HARNESS
from pytest_lighteval.baselines.save import write_baseline
from pytest_lighteval.errors import UserInputError
from pytest_lighteval.guests.lm_eval.results import harness_baseline


def run(options: argparse.Namespace) -> int:
    """Gates to standard output, or a baseline into its file; what was left out to standard error."""
    if options.format == "lm-eval":
        read = harness_baseline if options.suite == HARNESS else lm_eval_baseline
        imported = read(options.results, samples=options.samples or None)
        write_baseline(options.output, imported.baseline, reason=options.reason)
        sys.stderr.write("".join(f"not imported: {line}\n" for line in imported.unmapped))
    else:
        sys.stdout.write(render_gates(_gates(options)))
    return 0


def _gates(options: argparse.Namespace) -> ImportedGates:
    if options.format == "vllm":
        return vllm_gates(options.file, of_harness=options.suite == HARNESS)
    spec = {}
    for pair in options.spec:
        name, equals, value = pair.partition("=")
        if not equals:
            raise UserInputError(f"--spec {pair}: is written name=value, such as quant_algo=FP8")
        spec[name] = value
    return tensorrt_gates(options.file, model=options.model, spec=spec)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One format each."""
    formats = parser.add_subparsers(dest="format", required=True)
    vllm = formats.add_parser("vllm", help="thresholds of a vLLM model file, as a gates file")
    vllm.add_argument("file", type=Path)
    _add_suite(vllm)
    tensorrt = formats.add_parser("tensorrt-llm", help="the threshold of a model in a TensorRT-LLM reference file, as a gates file")
    tensorrt.add_argument("file", type=Path)
    tensorrt.add_argument("--model", required=True, help="its key in the file")
    tensorrt.add_argument(
        "--spec", action="append", default=[], metavar="NAME=VALUE", help="quant_algo=FP8, ...; may be given several times"
    )
    harness = formats.add_parser("lm-eval", help="results and samples of lm-evaluation-harness, as a baseline")
    harness.add_argument("results", type=Path, help="results_<date>.json")
    harness.add_argument("samples", type=Path, nargs="*", help="samples_<task>_<date>.jsonl (default: those beside the results)")
    harness.add_argument("--output", type=Path, required=True, help="the baseline to write")
    harness.add_argument("--reason", help="why another score than the file's is right")
    _add_suite(harness)


def _add_suite(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--suite",
        choices=[HARNESS],
        help=f"for the harness's own tasks, run unchanged as {HARNESS}|TASK|N (default: for their counterparts in our suites)",
    )
