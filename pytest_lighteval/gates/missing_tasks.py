"""Tasks that the baseline holds and that nobody ran: a removed or renamed task, or a lost job, must not take its gate away in silence."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from pytest_lighteval.baselines.read import Baselines
from pytest_lighteval.gates.gate_settings import MISSING, GateSettings
from pytest_lighteval.gates.session_reports import SessionReport, SessionReports
from pytest_lighteval.types import TaskKey


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredSuites:
    """What the suites of a session declare, and whether the session runs all of it."""

    tasks: Mapping[str, Mapping[TaskKey, bool]] = field(default_factory=dict)
    """Suite -> its tasks at the session's few-shot counts, and whether a score of each has a floor. A suite that cannot be read lacks."""
    selection: str | None = None
    """The option that chooses among the tasks. None: there is none, but a plugin may leave some out."""


def missing_reports(
    gate: GateSettings, planned: Collection[TaskKey], suites: DeclaredSuites, *, earlier: Collection[TaskKey] = ()
) -> SessionReports:
    """Of a session: a failure for each task that vanished from a suite that runs as a whole, or a notice where that is allowed.

    A notice names the tasks of which this is not judged, and the suites of the baseline of which nothing runs.

    Args:
        gate: its baselines hold the tasks.
        planned: what the session runs.
        suites: what its suites declare.
        earlier: what an earlier session found missing, and this one continues (`still_missing`).
    """
    vanished = vanished_tasks(gate, planned, suites)
    reasons = dict.fromkeys(earlier, "the baseline holds it, and an earlier session found that its suite does not declare it any more")
    reasons |= dict.fromkeys(vanished, "the baseline holds it, and its suite does not declare it any more")
    told = _told(gate, planned, reasons)
    told.notices += _unjudged(gate, planned, suites, {*reasons})
    return told


def vanished_tasks(gate: GateSettings, planned: Collection[TaskKey], suites: DeclaredSuites) -> list[TaskKey]:
    """Tasks of the baseline that a suite does not declare any more, of the suites that run as a whole."""
    if not isinstance(gate.baselines, Baselines) or suites.selection is not None:
        return []
    whole = {suite for suite, declared in suites.tasks.items() if declared.keys() <= set(planned)}
    return [key for key in _held(gate) if key.suite in whole and key not in planned]


def still_missing(gate: GateSettings, planned: Collection[TaskKey], suites: DeclaredSuites, names: Collection[str]) -> list[TaskKey]:
    """Of the tasks that earlier sessions found missing, those that the baseline still holds and that no suite of this session declares."""
    declared = {key for tasks in suites.tasks.values() for key in tasks}
    return [key for key in _held(gate) if str(key) in names and key not in planned and key not in declared]


def _unjudged(gate: GateSettings, planned: Collection[TaskKey], suites: DeclaredSuites, judged: Collection[TaskKey]) -> Iterator[str]:
    """One line about the tasks that may have vanished from a suite of which the session does not run all tasks."""
    if not isinstance(gate.baselines, Baselines):
        return
    named = {key.suite for key in planned}
    declared = {key for tasks in suites.tasks.values() for key in tasks}
    unjudged = [key for key in _held(gate) if key.suite in named and key not in planned and key not in declared and key not in judged]
    if unjudged:
        why = f"{suites.selection} selects" if suites.selection is not None else "not all tasks of the suite ran"
        yield f"not judged whether they vanished from their suite ({why}): {_first(unjudged)}"


def _first(keys: Collection[TaskKey]) -> str:
    return ", ".join(map(str, list(keys)[:3])) + (", ..." if len(keys) > 3 else "")


def missing_of_several(gate: GateSettings, planned: Collection[TaskKey], suites: DeclaredSuites) -> SessionReports:
    """The same for several runs that are judged as one: a task that its suite declares, and that no run has, is missing too.

    Such a task was in a job that was lost.
    So is a task of the baseline where the runs selected their tasks: together, the jobs of a matrix run all of them.
    """
    unrun = {key: has_floor for tasks in suites.tasks.values() for key, has_floor in tasks.items() if key not in planned}
    held = _held(gate) if isinstance(gate.baselines, Baselines) else []
    selected = "" if suites.selection is None else f" ({suites.selection} selected)"
    reasons = {
        key: f"its suite declares it with a floor, and no run has it{selected}" for key, has_floor in sorted(unrun.items()) if has_floor
    }
    reasons |= {key: f"its suite declares it, the baseline holds it, and no run has it{selected}" for key in held if key in unrun}
    gone = [key for key in held if key.suite in suites.tasks and key not in planned and key not in unrun]
    why = (
        f"the baseline holds it, and no run has it{selected}"
        if selected
        else "the baseline holds it, and its suite does not declare it any more"
    )
    return _told(gate, planned, reasons | dict.fromkeys(gone, why))


def _held(gate: GateSettings) -> list[TaskKey]:
    """What the baselines hold of suites; no suite names the truncation flag: such a task was measured by `--tasks`."""
    places = [of for of in (gate.baselines, gate.pinned) if isinstance(of, Baselines)]
    return sorted({key for place in places for key in place.keys if not key.truncate})


def _told(gate: GateSettings, planned: Collection[TaskKey], reasons: Mapping[TaskKey, str]) -> SessionReports:
    told = SessionReports(notices=[*_unnamed_suites(gate, planned)])
    problems = {str(key): f"{key}: {reason}" for key, reason in sorted(reasons.items())}
    if MISSING in gate.allowed:
        told.notices += problems.values()
    else:
        told.reports += [SessionReport(name=key, problem=f"{text} (--gate-allow {MISSING})") for key, text in problems.items()]
    return told


def _unnamed_suites(gate: GateSettings, planned: Iterable[TaskKey]) -> Iterator[str]:
    """One line about the suites of the baseline of which nothing runs."""
    named = {key.suite for key in planned}
    if not isinstance(gate.baselines, Baselines) or not named:
        return
    held: dict[str, int] = {}
    for key in gate.baselines.keys:
        if key.suite not in named:
            held[key.suite] = held.get(key.suite, 0) + 1
    if held:
        told = ", ".join(f"{suite} ({count} task{'s' * (count > 1)})" for suite, count in held.items())
        yield f"not compared, as this session did not name the suites that the baseline also holds: {told}"
