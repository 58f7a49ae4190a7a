"""`compare`: stored runs against one of them, document by document, with the verdicts that sessions with that baseline would have given."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from pytest_lighteval.backends.common.user_cache import cache_home
from pytest_lighteval.commands.compared_run import Compared, ComparedRun, as_candidate, comparable, read_compared
from pytest_lighteval.commands.comparison_page import comparison_page
from pytest_lighteval.commands.gate_options import GATE_OPTIONS, add_gate_options, check_unchanged, given_options
from pytest_lighteval.commands.joined_runs import JoinedRuns
from pytest_lighteval.commands.judged_runs import judge_joined
from pytest_lighteval.commands.run_history import write_histories
from pytest_lighteval.errors import UserInputError
from pytest_lighteval.gates.gate_settings import GateSettings, needs_scipy, read_gate_settings
from pytest_lighteval.gates.session_reports import SessionReports
from pytest_lighteval.guests.lm_eval.source import LmEvalTasks
from pytest_lighteval.reports.flips import counted_reasons, explain_verdicts, reasons_by_task
from pytest_lighteval.reports.matrix import matrix_lines
from pytest_lighteval.reports.page.write import write_page
from pytest_lighteval.reports.printable import printable
from pytest_lighteval.reports.rows import failed_verdicts, ordered_keys
from pytest_lighteval.reports.serialize import to_json
from pytest_lighteval.reports.table import terminal_table
from pytest_lighteval.reports.verdict_lines import verdict_lines
from pytest_lighteval.tasks.catalogue import Catalogue

SCHEMA = 1
"""Version of what `--json` prints."""

_OPTIONS = [name for name in GATE_OPTIONS if not name.startswith("baseline")]
_FAIL_ON = ("never", "regressed", "red")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The runs, the one that others are compared with, and how the result is shown."""
    parser.add_argument(
        "runs", nargs="*", metavar="RUN", help="a run folder, a baseline file or folder, or results or samples of lm-eval; two or more"
    )
    parser.add_argument("--reference", metavar="RUN", help="which of them the others are compared with (default: the first)")
    parser.add_argument(
        "--history", type=Path, metavar="DIR", help="write the scores over time of each model that a reports folder has several runs of"
    )
    parser.add_argument("--json", action="store_true", help="print the verdicts as JSON, as results.json has them")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the runs side by side as one page, such as report.html")
    parser.add_argument("--no-documents", action="store_true", help="leave documents that did not flip out of the page")
    parser.add_argument("--fail-on", choices=_FAIL_ON, default="never", help="exit with 1 for a REGRESSED gate, or for whatever is red")
    parser.add_argument("--custom-tasks", action="append", type=Path, default=[], metavar="DIR", help="a folder of suites of your own")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="list the documents that changed")
    add_gate_options(parser, _OPTIONS)


def run(options: argparse.Namespace) -> int:
    """Judge every run against the reference, and print it. Returns 1 if `--fail-on` says so."""
    if options.history is not None:
        if options.runs:
            raise UserInputError("--history and runs: a history is of all runs of its folder; give one or the other")
        sys.stdout.writelines(f"{printable(line)}\n" for line in write_histories(options.history))
        return 0
    names = _names(options.runs, options.reference)
    needs_scipy()
    reference, *others = [read_compared(name) for name in names]
    compared = compare_runs(
        reference, others, overrides=given_options(options), catalogue=_catalogue(options.custom_tasks), today=datetime.now(UTC).date()
    )
    if options.output is not None:
        write_page(options.output, comparison_page(reference, compared, only_flips=options.no_documents))
    if options.json:
        sys.stdout.write(comparison_json(reference, compared))
    else:
        for line in _lines(reference, compared, verbosity=options.verbose):
            sys.stdout.write(f"{printable(line)}\n")
    return 1 if any(one.fails(options.fail_on) for one in compared) else 0


def _catalogue(folders: Sequence[Path]) -> Catalogue:
    """The tasks of suites, and those of lm-evaluation-harness."""
    return Catalogue(folders, guests=LmEvalTasks(cache=cache_home(), folders=folders))


def _names(runs: Sequence[str], chosen: str | None) -> list[str]:
    """The reference, then the others. Raises UserInputError."""
    names = [str(Path(name)) for name in runs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserInputError(f"{twice}: is named twice; name each run once")
    if chosen is not None:
        first = str(Path(chosen))
        names = [first, *(name for name in names if name != first)]
    if not names:
        raise UserInputError("no run is named; name two or more, or --history DIR")
    if len(names) < 2:
        raise UserInputError(f"{names[0]}: is compared with nothing; name a second run")
    return names


def compare_runs(
    reference: ComparedRun, others: Sequence[ComparedRun], *, overrides: Mapping[str, Any], catalogue: Catalogue, today: date
) -> list[Compared]:
    """Each of the others against the reference. Together they have one alpha: several share it evenly.

    Args:
        reference: what the others are compared with.
        others: one or more.
        overrides: options of the gate that replace what the runs recorded.
        catalogue: knows the tasks of files, which keep scores alone.
        today: for waivers.

    Raises:
        LightevalError: Two runs have no task in common, recorded other options, or a gate cannot be judged.
    """
    joined = [as_candidate(run, reference, catalogue) for run in others]
    _check_same_options([(run, of) for run, of in zip(others, joined, strict=True) if run.recorded is not None], overrides)
    return [_compared(run, of, reference, overrides, today=today, share=1 / len(others)) for run, of in zip(others, joined, strict=True)]


def _compared(
    run: ComparedRun, joined: JoinedRuns, reference: ComparedRun, overrides: Mapping[str, Any], *, today: date, share: float
) -> Compared:
    gate = _gate_settings(run, joined, reference, overrides, today=today)
    judged = judge_joined(joined, gate, gates_are_required=False, missing=SessionReports(), share=share)
    flips = explain_verdicts(judged.report.verdicts, before=reference.answers, after=run.answers)
    items = {key for key, _ in joined.items}
    return Compared(run=run, judged=judged, flips=flips, absent=tuple(key for key in reference.baselines.keys if key not in items))


def _gate_settings(
    run: ComparedRun, joined: JoinedRuns, reference: ComparedRun, overrides: Mapping[str, Any], *, today: date
) -> GateSettings:
    recorded = {name: value for name, value in joined.options.items() if name in _OPTIONS}
    values: Mapping[str, Any] = defaultdict(lambda: None, {**recorded, **overrides})
    gate = read_gate_settings(values, Path(), today=today)
    check_unchanged(gate, joined.digests, overrides)
    return replace(gate, baselines=comparable(reference, run), baseline_names=(reference.name,))


def _check_same_options(runs: Sequence[tuple[ComparedRun, JoinedRuns]], overrides: Mapping[str, Any]) -> None:
    """Raise UserInputError for an option that the runs recorded differently, as one alpha and one rule hold for all of them."""
    for run, joined in runs[1:]:
        first, of_first = runs[0]
        for name in _OPTIONS:
            here, there = joined.options.get(name), of_first.options.get(name)
            if name not in overrides and here != there:
                option = f"--{name.replace('_', '-')}"
                raise UserInputError(f"{run.name}: recorded {option} {_shown(here)}, and {first.name} {_shown(there)}; give {option} here")


def _shown(value: Any) -> str:
    return "not at all" if value is None else ",".join(map(str, value)) if isinstance(value, list) else str(value)


# ------------------------------------------------------------------------------------------------------- what is printed


def comparison_json(reference: ComparedRun, compared: Sequence[Compared]) -> str:
    """The verdicts of every run, as its results.json would have them, with the reasons of its flips."""
    content = {
        "schema": SCHEMA,
        "reference": {"run": reference.name, "model": reference.model},
        "runs": [
            {
                "run": one.run.name,
                "model": one.run.model,
                "is_red": one.judged.is_red,
                "verdicts": {key: list(verdicts) for key, verdicts in one.judged.report.verdicts.items()},
                "errors": one.judged.report.errors,
                "problems": [entry.problem for entry in one.judged.reports if entry.problem is not None],
                "notices": [*one.judged.notices],
                "absent": [str(key) for key in one.absent],
                "flips": {
                    key: {
                        metric: {reason: {"lost": lost, "won": won} for reason, (lost, won) in counted_reasons(flips).items()}
                        for metric, flips in metrics.items()
                    }
                    for key, metrics in one.flips.items()
                },
            }
            for one in compared
        ],
    }
    return to_json(content, indent=2, sort_keys=True) + "\n"


def _lines(reference: ComparedRun, compared: Sequence[Compared], *, verbosity: int) -> Iterator[str]:
    width = shutil.get_terminal_size((120, 24)).columns
    if len(compared) > 1:
        yield from matrix_lines(_title(reference), [(_title(one.run), one.judged.report) for one in compared], width=width)
    for one in compared:
        report = one.judged.report
        yield f"{_title(one.run)} compared with {_title(reference)}"
        if len(compared) == 1:
            yield from (line for line, _ in terminal_table(report, width=width))
        yield from (line for line, _ in verdict_lines(report, verbosity=verbosity)[1:])
        for key, metric, reasons in reasons_by_task(one.flips, each=verbosity > 0):
            yield f"{key}: {metric}: why documents flipped: {reasons}"
        yield from (*reference.notes, *one.judged.notices)
        if one.absent:
            yield f"only in {reference.name}: {', '.join(map(str, one.absent))}"
        told = {f"{key}: {verdict.message}" for key, verdict in failed_verdicts(report)}
        problems = [entry.problem for entry in one.judged.reports if entry.problem is not None]
        said = {failure for failure in told if any(problem.startswith(failure) for problem in problems)}
        yield from (f"FAILED {failure}" for failure in (*sorted(told - said), *problems))
        yield from (f"ERROR {key}: {report.errors[key]}" for key in ordered_keys(report.errors))


def _title(run: ComparedRun) -> str:
    return run.name if run.model is None else f"{run.name} ({run.model})"
