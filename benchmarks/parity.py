"""Repeat every recorded run of Lighteval v0.9.2 with our pipeline and a real model, and compare everything.

`python -m benchmarks.parity [--only NAME]... [--quick] [--write]` prints a table and exits with 1 if anything is not as recorded.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.comparison import Comparison, compare_run
from benchmarks.document import DOCUMENT, cell, setting, small, table, write_part
from benchmarks.model import MODEL, real_model
from benchmarks.recordings import ROOT, count_skipped, count_undeclared, read_run, run_names
from pytest_lighteval.errors import LightevalError

QUICK_DOCUMENTS = 3
"""Of every run, with `--quick`."""
HEADER = ("task", "n", "metric", "ours", "theirs", "largest difference")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit status: 0 all as recorded, 1 something is not, 2 it could not be tried."""
    options = _parser().parse_args(arguments)
    if options.write and (options.only or options.quick):
        print(f"--write: {DOCUMENT.name} is written from a full run; leave --only and --quick out", file=sys.stderr)
        return 2
    try:
        done = []
        for comparison in compare_runs(options.only or run_names(), most=QUICK_DOCUMENTS if options.quick else None):
            print(f"{comparison.run.name}: {_verdict(comparison)}", file=sys.stderr, flush=True)
            done.append(comparison)
        undeclared = count_undeclared()
    except LightevalError as error:
        print(error, file=sys.stderr)
        return 2
    done.sort(key=lambda comparison: comparison.run.name)
    misses = [miss for comparison in done for miss in comparison.misses]
    print(_table(done), _summary(done), _undeclared(*undeclared), *misses, sep="\n\n")
    if options.write:
        write_part("recorded", _part(done, undeclared))
    return 1 if misses else 0


def compare_runs(names: Sequence[str], *, most: int | None = None) -> Iterator[Comparison]:
    """Each run as soon as it is compared. One model is in memory at a time; runs that limit its length come last.

    Raises LightevalError for a name that is not recorded, and where the model or the recordings are not there.
    """
    with tempfile.TemporaryDirectory(prefix="parity-") as folder:
        runs = [read_run(name, Path(folder)) for name in dict.fromkeys(names)]
        for max_length in sorted({run.max_length for run in runs}, reverse=True):
            backend = real_model(max_length=max_length)
            for run in runs:
                if run.max_length == max_length:
                    yield compare_run(run, backend, most=most)
            backend.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parity", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", action="append", metavar="NAME", help="only this run; may be given several times")
    parser.add_argument("--quick", action="store_true", help=f"the first {QUICK_DOCUMENTS} documents of every run")
    parser.add_argument("--write", action="store_true", help=f"write the table into {DOCUMENT.relative_to(ROOT)}")
    return parser


def _verdict(comparison: Comparison) -> str:
    return f"{len(comparison.misses)} differences" if comparison.misses else "as recorded"


def _table(done: Sequence[Comparison]) -> str:
    rows = [
        ("" if index else cell(comparison.run.spec), str(line.n), line.metric, line.ours, line.theirs, small(line.largest))
        for comparison in done
        for index, line in enumerate(comparison.lines)
    ]
    return table(HEADER, rows)


def _summary(done: Sequence[Comparison]) -> str:
    """How much was compared with the recordings, and the largest differences."""
    counts: Counter[str] = Counter()
    largest: dict[str, float] = {}
    for comparison in done:
        counts += comparison.counts
        for kind, number in comparison.largest.items():
            largest[kind] = max(largest.get(kind, 0.0), number)
    misses = sum(len(comparison.misses) for comparison in done)
    near_ties = sum(len(comparison.near_ties) for comparison in done)
    close = sum(comparison.close_calls for comparison in done)
    rows = [(kind, str(count), small(largest.get(kind))) for kind, count in counts.items()]
    said = (
        f"{misses} differences in {len(done)} runs.\nDocuments whose best two choices or tokens are within the tolerance: {close}."
        f" Of these, {near_ties} differ."
    )
    return table(("compared", "count", "largest difference"), rows) + f"\n\n{said}"


def _undeclared(missing: int, recorded: int) -> str:
    return f"{missing} of the {recorded} tasks whose prompts are recorded are not declared yet."


def _skipped(reasons: Counter[str]) -> str:
    lines = (f"  - {count}: {reason}" for reason, count in sorted(reasons.items(), key=lambda item: (-item[1], item[0])))
    return "\n".join((f"{reasons.total()} declared tasks cannot be scored and are skipped, with these reasons:", *lines))


def _part(done: Sequence[Comparison], undeclared: tuple[int, int]) -> str:
    documents = sum(len(comparison.run.documents) for comparison in done)
    sampled = [comparison.run.name for comparison in done if comparison.run.samples]
    return f"""\
## Against Lighteval v0.9.2

Ours: {setting("torch", "transformers", "tokenizers")}.
Theirs: recorded from lighteval 0.9.2 with transformers 4.57.6 on a CPU in fp32.
Model: SmolLM2-135M-Instruct as `{MODEL}`, no chat template.

{len(done)} runs with {documents} documents are compared.
Each task is the one that `suites/` declares.
The whole pipeline runs: rows, shuffle, few-shot examples, contexts, tokens, model, metrics, aggregates.
Only the rows and the limits of a run come from the recording (new tokens, model length, number of documents).

These must be equal:

- the order of the documents;
- contexts, choices, stop sequences and all token ids;
- every log-likelihood, within max(5e-4, 5e-6 x |sum|) nats of the recorded sum;
- the predicted choice, unless the two best choices are closer than that;
- the greedy flags;
- the generated text, unless our model prefers its own token by less than 1e-3 nats where the texts begin to differ;
- every document's value and every aggregate (within 1e-9 if they come from texts).

Anything else is a difference, and then the command exits with 1.
The recorded numbers are torch's `log_softmax` in fp32.
It is off by up to 2e-5 nats per token, always to the same side ([differences](differences-from-lighteval.md)).

{_summary(done)}

{_table(done)}

± is the standard error, of both with every document alone: the reference knows no [clusters](suites.md#a-task).
The standard errors of perplexities and of IFEval's instructions are bootstrapped.
The reference divides its own by sqrt(1000) once too often ([listed](differences-from-lighteval.md)).
So the table shows the recorded ones times sqrt(1000).
Two bootstraps may differ by a quarter of their size.

### Not covered

- Sampled texts ({" and ".join(f"`{name}`" for name in sampled)}): no two draws are the same.
  So the metrics are computed from the recorded texts.
  Prompts, token ids and the number of samples are compared.
- {_undeclared(*undeclared)}
  Prompts are compared for every task that has a recorded row, and settings for all tasks (`tests/golden`).
  A model's answers are compared only in these {len(done)} runs.
- Rows that nobody recorded: a task has two to four recorded rows, and some tasks have none.
  A rule of the reference for rare rows (empty lines, a doubled question mark, a missing answer) shows in no such row.
  The reference's prompt functions ran beside ours once, on all 441,587 rows of the data sets at hand.
  What differed is in [differences-from-lighteval.md](differences-from-lighteval.md).
  Data sets that were not at hand, and tasks outside of the reference's `default_prompts.py`, have their recorded rows alone.
- {_skipped(count_skipped())}
- Metrics that no run uses are compared with recorded tables (`tests/metrics/test_golden.py`).
  [differences-from-lighteval.md](differences-from-lighteval.md) lists the metrics that differ on purpose.
  It also lists those that do not exist here: BERTScore, BLEURT, SummaC, judges, and `lcb_codegen_metric`.
  (The last one would run code that a model wrote.)
- Chat templates, system prompts and few-shot seeds are compared as texts (`tests/golden/test_few_shots.py`), not with a model.
- Other models, dtypes and devices.
"""


if __name__ == "__main__":
    sys.exit(main())
