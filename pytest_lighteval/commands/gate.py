"""`gate`: judges the runs of one model that `--gate-defer` recorded, with one alpha, as one session would have."""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from pytest_lighteval.baselines.measured import MeasuredBaselines
from pytest_lighteval.commands.gate_options import GATE_OPTIONS, add_gate_options, check_unchanged, given_options
from pytest_lighteval.commands.joined_runs import JoinedRuns, join_runs
from pytest_lighteval.commands.judged_runs import JudgedRuns, judge_joined
from pytest_lighteval.common.files import write_atomic
from pytest_lighteval.errors import UserInputError
from pytest_lighteval.gates.gate_settings import GateSettings, read_gate_settings
from pytest_lighteval.gates.missing_tasks import missing_of_several, missing_reports
from pytest_lighteval.reports.junit_file import junit_xml
from pytest_lighteval.reports.page import PAGE
from pytest_lighteval.reports.printable import printable
from pytest_lighteval.reports.recorded_run import SCORES, RecordedRun, digest_of, read_deferred, write_recorded
from pytest_lighteval.reports.rows import failed_verdicts, ordered_keys
from pytest_lighteval.reports.run_folder import run_folder, write_run
from pytest_lighteval.reports.table import terminal_table
from pytest_lighteval.reports.verdict_lines import verdict_lines
from pytest_lighteval.types import RunReport


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The runs, and what is to be other than they recorded it."""
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="the folder of a run under --gate-defer")
    add_gate_options(parser, GATE_OPTIONS)
    parser.add_argument("--report-dir", type=Path, default=Path("reports"), metavar="DIR", help="where the joined run is written")
    parser.add_argument("--junitxml", type=Path, metavar="PATH", help="write a JUnit file, too")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="list the documents that changed")


def run(options: argparse.Namespace) -> int:
    """Judge, write the joined run, and print it. Returns 1 if anything is red."""
    overrides = given_options(options)
    runs = [(folder, read_deferred(folder)) for folder in options.runs]
    for folder, one in runs:
        if (shard := one.report.settings.get("shard")) is not None:
            raise UserInputError(f"{folder}: is shard {shard[0]} of {shard[1]}: join all shards first, with merge")
    joined = join_runs(runs, overridden=overrides)
    now = datetime.now(UTC)
    folder = run_folder(options.report_dir, now, f"gate-{joined.report.backend.get('name', 'runs')}", secrets.token_hex(3))
    return judge_and_write(joined, overrides, folder, now, sources=options.runs, verbosity=options.verbose, junit=options.junitxml)


def judge_and_write(
    joined: JoinedRuns,
    overrides: Mapping[str, Any],
    folder: Path,
    now: datetime,
    *,
    sources: Sequence[Path],
    verbosity: int,
    junit: Path | None = None,
    is_one_session: bool = False,
) -> int:
    """Judge joined runs, write them as one run (and as a JUnit file, if it is named), and print it. Returns 1 if anything is red.

    `sources`: the folders of the runs. `is_one_session`: the runs are the shards of one session, whose selection is then no lost job.
    """
    gate = _gate_settings(joined, overrides, today=now.date())
    gates_are_required = "gates" in {**joined.options, **overrides}
    missing = (missing_reports if is_one_session else missing_of_several)(gate, {key for key, _ in joined.items}, joined.suites)
    judged = judge_joined(joined, gate, gates_are_required=gates_are_required, missing=missing)
    report = replace(judged.report, run_id=folder.name, exit_status="tests_failed" if judged.is_red else "ok")
    digests = {name: digest_of(paths) for name, paths in gate.files.items()}
    recorded = RecordedRun(report=report, items=joined.items, options=dict(gate.options), digests=digests)
    write_recorded(folder / SCORES, recorded)
    write_run(folder, report, os.environ, sources=sources)
    if junit is not None:
        problems = {entry.name: entry.problem for entry in judged.reports if entry.problem is not None}
        write_atomic(junit, junit_xml(report, problems=problems))
    lines = _lines(replace(judged, report=report), runs=len(sources), verbosity=verbosity)
    for line in (*lines, f"results: {folder / 'results.json'}", f"page: {folder / PAGE}"):
        sys.stdout.write(f"{printable(line)}\n")
    return 1 if judged.is_red else 0


def _gate_settings(joined: JoinedRuns, overrides: Mapping[str, Any], *, today: date) -> GateSettings:
    """What the runs recorded, unless the user says otherwise; the files must be those of the runs."""
    values: Mapping[str, Any] = defaultdict(lambda: None, {**joined.options, **overrides})
    gate = read_gate_settings(values, Path(), today=today)
    check_unchanged(gate, joined.digests, overrides)
    if isinstance(gate.baselines, MeasuredBaselines):
        report = joined.report
        for result in report.references:
            gate.baselines.add(result, backend=report.reference_backend, environment=report.environment, settings=joined.settings)
    return gate


def _lines(judged: JudgedRuns, *, runs: int, verbosity: int) -> Iterator[str]:
    report = judged.report
    width = shutil.get_terminal_size((120, 24)).columns
    yield from (line for line, _ in terminal_table(report, width=width))
    yield from (line for line, _ in verdict_lines(report, verbosity=verbosity))
    yield from judged.notices
    told = {f"{key}: {verdict.message}" for key, verdict in failed_verdicts(report)}
    failures = [f"{key}: {verdict.message}" for key, verdict in failed_verdicts(report)]
    failures += [entry.problem for entry in judged.reports if entry.problem is not None and entry.problem not in told]
    yield from (f"FAILED {failure}" for failure in failures)
    yield from (f"ERROR {key}: {report.errors[key]}" for key in ordered_keys(report.errors))
    yield _count_line(report, failures, runs)


def _count_line(report: RunReport, failures: Sequence[str], runs: int) -> str:
    gates = sum(len(verdicts) for verdicts in report.verdicts.values())
    parts = [f"{runs} run{'s' * (runs > 1)}", f"{len(report.results)} tasks", f"{gates} verdicts", f"{len(failures)} failed"]
    return ", ".join([*parts, *([f"{len(report.errors)} errors"] if report.errors else [])])
