"""Runs of one model that were not judged, joined as if one session had made them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_lighteval.errors import UserInputError
from pytest_lighteval.gates.missing_tasks import DeclaredSuites
from pytest_lighteval.reports.recorded_run import RecordedRun
from pytest_lighteval.reports.run_collector import use_of_all
from pytest_lighteval.types import RunReport, Task, TaskKey

_OF_THE_PROCESS = ("few_shots", "threads")
"""Settings that may differ: the first is a part of each task's key, the second decides how fast a run is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedRuns:
    """Several runs as one."""

    report: RunReport
    """Without verdicts and groups."""
    items: tuple[tuple[TaskKey, Task], ...]
    suites: DeclaredSuites
    options: Mapping[str, Any]
    """The options of the gate that all runs have."""
    digests: Mapping[str, str]
    """Option that names files -> the digest that all runs recorded."""
    notes: tuple[str, ...]

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the evaluation, as a session knows them."""
        return {name: value for name, value in self.report.settings.items() if name not in _OF_THE_PROCESS}


def join_runs(runs: Sequence[tuple[Path, RecordedRun]], *, overridden: Collection[str] = ()) -> JoinedRuns:
    """Join runs, in whatever order they are named.

    Args:
        runs: each with the folder that the user named; not empty.
        overridden: options of the gate that the user gives anew, so that the runs may differ in them.

    Raises:
        UserInputError: a run is there twice, two runs have a task in common, or they are not of one model, one reference, and one set of
            settings and options.
    """
    ordered = sorted(runs, key=lambda run: run[1].report.run_id)
    _check_distinct(ordered)
    _check_same_candidate(ordered, overridden)
    reports = [run.report for _, run in ordered]
    first = next((report for report in reports if report.backend), reports[0])
    suites: dict[str, dict[TaskKey, bool]] = {}
    for _, run in ordered:
        for suite, declared in run.suites.items():
            suites.setdefault(suite, {}).update(declared)
    uses = [report.backend["use"] for report in reports if "use" in report.backend]
    report = replace(
        first,
        started=min(report.started for report in reports),
        seconds=sum(report.seconds for report in reports),
        backend={**first.backend, **({"use": use_of_all(uses)} if uses else {})},
        results=tuple(sorted((result for report in reports for result in report.results), key=lambda result: result.key)),
        references=tuple(sorted((result for report in reports for result in report.references), key=lambda result: result.key)),
        reference_backend=next((report.reference_backend for report in reports if report.reference_backend), {}),
        errors=_united(report.errors for report in reports),
        skipped=_united(report.skipped for report in reports),
        own_runs=_united(report.own_runs for report in reports),
        repeats=_united(report.repeats for report in reports),
        attempts=_united(report.attempts for report in reports),
        calibration=_united(report.calibration for report in reports),
        cache={name: sum(report.cache.get(name, 0) for report in reports) for name in first.cache},
    )
    options: dict[str, Any] = {}
    for _, run in ordered:
        options |= run.options
    return JoinedRuns(
        report=report,
        items=tuple(item for _, run in ordered for item in run.items),
        suites=DeclaredSuites(tasks=suites, selection=next((run.selection for _, run in ordered if run.selection), None)),
        options=options,
        digests=ordered[0][1].digests,
        notes=tuple(_package_notes(ordered)),
    )


def _united(parts: Iterator[Mapping[str, Any]]) -> dict[str, Any]:
    united: dict[str, Any] = {}
    for part in parts:
        united |= part
    return dict(sorted(united.items()))


def _check_distinct(runs: Sequence[tuple[Path, RecordedRun]]) -> None:
    folders: dict[str, Path] = {}
    places: dict[TaskKey, Path] = {}
    for folder, run in runs:
        name = run.report.run_id
        if name in folders:
            again = "is named twice" if folders[name] == folder else f"is the same run as {folders[name]}"
            raise UserInputError(f"{folder}: {again}; name each run once")
        folders[name] = folder
        for key, _ in run.items:
            if key in places:
                raise UserInputError(f"{folder}: {key} is in {places[key]} too; each task belongs to one run")
            places[key] = folder


def _check_same_candidate(runs: Sequence[tuple[Path, RecordedRun]], overridden: Collection[str]) -> None:
    facts: tuple[tuple[str, Callable[[RecordedRun], str | None]], ...] = (
        ("model", lambda run: _model(run.report.backend)),
        ("reference model", lambda run: _model(run.report.reference_backend)),
    )
    for what, fact in facts:
        known = [(folder, name) for folder, run in runs if (name := fact(run)) is not None]
        for folder, name in known[1:]:
            if name != known[0][1]:
                raise UserInputError(f"{folder}: is of another {what} ({name}) than {known[0][0]} ({known[0][1]})")
    first_folder, first = runs[0]
    for folder, run in runs[1:]:
        for name in sorted((first.report.settings.keys() | run.report.settings.keys()) - set(_OF_THE_PROCESS)):
            here, there = run.report.settings.get(name), first.report.settings.get(name)
            if here != there:
                raise UserInputError(f"{folder}: was measured with {name}={here}, and {first_folder} with {name}={there}")
        for name in sorted((first.options.keys() | run.options.keys()) - set(overridden)):
            here, there = run.options.get(name), first.options.get(name)
            option = f"--{name.replace('_', '-')}"
            if here != there:
                raise UserInputError(f"{folder}: has {option} {_shown(here)}, and {first_folder} {_shown(there)}; give {option} here")
            if run.digests.get(name) != first.digests.get(name):
                raise UserInputError(f"{folder}: {option} {_shown(here)} had another content than for {first_folder}; give {option} here")


def _model(backend: Mapping[str, Any]) -> str | None:
    fingerprint = backend.get("fingerprint")
    if fingerprint is None:
        return None
    name = backend.get("model_name") or backend.get("model") or backend.get("name")
    return f"{name}, fingerprint {fingerprint}"


def _shown(value: Any) -> str:
    return "not given" if value is None else ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _package_notes(runs: Sequence[tuple[Path, RecordedRun]]) -> Iterator[str]:
    """One line for each package that has several versions among the runs: it may move a score."""
    versions: dict[str, set[str]] = {}
    for _, run in runs:
        packages = run.report.environment.get("packages", {})
        for name, version in {**packages, "python": run.report.environment.get("python")}.items():
            versions.setdefault(name, set()).add(str(version))
    for name, found in sorted(versions.items()):
        if len(found) > 1:
            yield f"the runs were made with several versions of {name}: {', '.join(sorted(found))}"
