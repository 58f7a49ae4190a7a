"""`gate`: judges the runs of one model that `--gate-defer` recorded, with one alpha, as one session would have."""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from pytest_lighteval.baselines.measured import MeasuredBaselines
from pytest_lighteval.commands.joined_runs import JoinedRuns, join_runs
from pytest_lighteval.common.files import write_atomic
from pytest_lighteval.errors import LightevalError, UserInputError
from pytest_lighteval.gates.gate_settings import GateSettings, read_gate_settings
from pytest_lighteval.gates.judge import Judge
from pytest_lighteval.gates.missing_tasks import missing_of_several, missing_reports
from pytest_lighteval.gates.session_reports import UNENDED, Measured, SessionReport, judge_session, unended_reports
from pytest_lighteval.reports.deferred import digest_of, read_deferred
from pytest_lighteval.reports.groups import group_results
from pytest_lighteval.reports.junit_file import junit_xml
from pytest_lighteval.reports.printable import printable
from pytest_lighteval.reports.rows import failed_verdicts, ordered_keys
from pytest_lighteval.reports.run_folder import run_folder, write_run
from pytest_lighteval.reports.summary import append_step_summary, summary_markdown
from pytest_lighteval.reports.table import terminal_table
from pytest_lighteval.reports.verdict_lines import verdict_lines
from pytest_lighteval.types import RunReport, TaskKey, TaskResult, Verdict

_REPEATABLE = ("baseline", "gate_allow")
_OVERRIDES = {
    "baseline": ("PATH", "compare with this baseline; may be repeated"),
    "baseline_pinned": ("PATH", "compare with this pinned baseline, too"),
    "gates": ("FILE", "floors and policies by task"),
    "waivers": ("FILE", "known regressions"),
    "gate_max_drop": ("LOSS", "the loss that a gate allows"),
    "gate_min_effect": ("LOSS", "a smaller loss is never red"),
    "gate_alpha": ("ALPHA", "the share of judgements that may be red although nothing changed"),
    "gate_inconclusive": ("fail|blind|warn", "which gates with too few documents to decide fail"),
    "gate_allow": ("KIND[,KIND...]", "mismatches that are not errors"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The runs, and what is to be other than they recorded it."""
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="the folder of a run under --gate-defer")
    given = parser.add_argument_group("instead of what the runs recorded")
    for name, (metavar, text) in _OVERRIDES.items():
        action = "append" if name in _REPEATABLE else "store"
        given.add_argument(f"--{name.replace('_', '-')}", dest=name, action=action, metavar=metavar, help=text)
    parser.add_argument("--report-dir", type=Path, default=Path("reports"), metavar="DIR", help="where the joined run is written")
    parser.add_argument("--junitxml", type=Path, metavar="PATH", help="write a JUnit file, too")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="list the documents that changed")


def run(options: argparse.Namespace) -> int:
    """Judge, write the joined run, and print it. Returns 1 if anything is red."""
    overrides = {name: value for name in _OVERRIDES if (value := getattr(options, name)) is not None}
    runs = [(folder, read_deferred(folder)) for folder in options.runs]
    for folder, one in runs:
        if (shard := one.report.settings.get("shard")) is not None:
            raise UserInputError(f"{folder}: is shard {shard[0]} of {shard[1]}: join all shards first, with merge")
    joined = join_runs(runs, overridden=overrides)
    now = datetime.now(UTC)
    folder = run_folder(options.report_dir, now, f"gate-{joined.report.backend.get('name', 'runs')}", secrets.token_hex(3))
    return judge_and_write(joined, overrides, folder, now, runs=len(options.runs), verbosity=options.verbose, junit=options.junitxml)


def judge_and_write(
    joined: JoinedRuns,
    overrides: Mapping[str, Any],
    folder: Path,
    now: datetime,
    *,
    runs: int,
    verbosity: int,
    junit: Path | None = None,
    is_one_session: bool = False,
) -> int:
    """Judge joined runs, write them as one run (and as a JUnit file, if it is named), and print it. Returns 1 if anything is red.

    `is_one_session`: the runs are the shards of one session, whose selection is then no lost job.
    """
    gate = _gate_settings(joined, overrides, today=now.date())
    gates_are_required = "gates" in {**joined.options, **overrides}
    judged = judge_joined(joined, gate, gates_are_required=gates_are_required, is_one_session=is_one_session)
    report = replace(judged.report, run_id=folder.name, exit_status="tests_failed" if judged.is_red else "ok")
    write_run(folder, report)
    append_step_summary(summary_markdown(report), os.environ)
    if junit is not None:
        problems = {entry.name: entry.problem for entry in judged.reports if entry.problem is not None}
        write_atomic(junit, junit_xml(report, problems=problems))
    lines = _lines(replace(judged, report=report), runs=runs, verbosity=verbosity)
    for line in (*lines, f"results: {folder / 'results.json'}"):
        sys.stdout.write(f"{printable(line)}\n")
    return 1 if judged.is_red else 0


def _gate_settings(joined: JoinedRuns, overrides: Mapping[str, Any], *, today: date) -> GateSettings:
    """What the runs recorded, unless the user says otherwise; the files must be those of the runs."""
    values: Mapping[str, Any] = defaultdict(lambda: None, {**joined.options, **overrides})
    gate = read_gate_settings(values, Path(), today=today)
    for name, paths in gate.files.items():
        if name not in overrides and digest_of(paths) != joined.digests.get(name):
            option = f"--{name.replace('_', '-')}"
            shown = ", ".join(map(str, paths))
            raise UserInputError(f"{option} {shown}: changed since the runs; give {option} to judge them by what it is now")
    if isinstance(gate.baselines, MeasuredBaselines):
        report = joined.report
        for result in report.references:
            gate.baselines.add(result, backend=report.reference_backend, environment=report.environment, settings=joined.settings)
    return gate


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedRuns:
    """Joined runs with their verdicts."""

    report: RunReport
    reports: tuple[SessionReport, ...]
    """What is said beside the verdicts of tasks."""
    notices: tuple[str, ...]

    @property
    def is_red(self) -> bool:
        """Whether a task has no score, or a gate failed."""
        return bool(self.report.errors or failed_verdicts(self.report) or any(report.problem for report in self.reports))


def judge_joined(joined: JoinedRuns, gate: GateSettings, *, gates_are_required: bool, is_one_session: bool = False) -> JudgedRuns:
    """Every verdict that one session over all of these tasks would have had. Raises UserInputError for a gate that nothing can meet."""
    judge = Judge(gate=gate, settings=joined.settings).planned(joined.items)
    report = joined.report
    model = report.backend.get("fingerprint")
    errors, results, verdicts = _item_verdicts(judge, report, model)
    planned = {key for key, _ in joined.items}
    unended = sorted(key for key in planned - results.keys() if str(key) not in {*errors, *report.skipped})
    errors |= {str(key): UNENDED for key in unended}
    groups = group_results(list(results.values()))
    judged = judge_session(
        judge,
        Measured(results=results, errors=errors, skipped=report.skipped, model=model),
        groups=groups,
        verdicts=verdicts,
        gates_are_required=gates_are_required,
    )
    missing = (missing_reports if is_one_session else missing_of_several)(gate, planned, joined.suites)
    recalled = report.cache.get("recalled", 0)
    cached = [f"{recalled} of {recalled + report.cache['misses']} answers are remembered ones"] if recalled else []
    return JudgedRuns(
        report=replace(
            report,
            results=tuple(results[key] for key in sorted(results)),
            groups=groups,
            verdicts=dict(sorted(judged.verdicts.items())),
            baselines=gate.compared_files(Path()),
            errors=dict(sorted(errors.items())),
        ),
        reports=(*unended_reports(unended, ()), *missing.reports, *judged.reports),
        notices=(*joined.notes, *judged.notices, *missing.notices, *cached),
    )


def _item_verdicts(
    judge: Judge, report: RunReport, model: str | None
) -> tuple[dict[str, str], dict[TaskKey, TaskResult], dict[str, tuple[Verdict, ...]]]:
    errors, results = dict(report.errors), {result.key: result for result in report.results}
    verdicts: dict[str, tuple[Verdict, ...]] = {}
    tasks = dict(judge.items)
    for key in sorted(results.keys() & tasks.keys()):
        try:
            verdicts[str(key)] = judge.verdicts(tasks[key], results[key], model=model)
        except LightevalError as error:
            errors[str(key)] = str(error).removeprefix(f"{key}: ")
            del results[key]
    return errors, results, verdicts


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
