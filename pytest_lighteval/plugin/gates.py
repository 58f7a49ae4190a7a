"""The gates of a session inside pytest: planned when the items are known, described after collection."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest

from pytest_lighteval.errors import LightevalError
from pytest_lighteval.gates.expected_power import blind_line, expected_powers, plan_lines, power_lines
from pytest_lighteval.gates.pinned import PINNED_SHARE
from pytest_lighteval.gates.plan import GatePlan, plan_gates
from pytest_lighteval.plugin.canary import canary_lines
from pytest_lighteval.plugin.session import Session
from pytest_lighteval.reports.printable import printable
from pytest_lighteval.types import SampleValue, Task, TaskKey

BaselineScores = Callable[[str, int], Mapping[str, Sequence[SampleValue | None]] | None]
"""A document's id and few-shot seed -> metric -> its repeats in the baseline. None: the baseline does not know it."""


def plan_session(session: Session, items: Sequence[tuple[TaskKey, Task]]) -> None:
    """Fix what the session evaluates and which gates share its alpha, once. Raises pytest.UsageError."""
    if session.is_planned:
        return
    try:
        session.judge = session.judge.planned(items)
    except LightevalError as error:
        raise pytest.UsageError(printable(str(error))) from error
    session.is_planned = True


def baseline_scores(session: Session, key: TaskKey) -> BaselineScores:
    """For the details: what the documents of a task scored in the baseline."""
    baseline = session.judge.baseline_of(key)
    if baseline is None:
        return lambda document, seed: None
    rows = {place: row for row, place in enumerate(zip(baseline.ids, baseline.few_shot_seeds, strict=True))}
    scores = baseline.scores

    def scores_of(document: str, seed: int) -> Mapping[str, Sequence[SampleValue | None]] | None:
        row = rows.get((document, seed))
        return None if row is None else {metric: repeats[row] for metric, repeats in scores.items()}

    return scores_of


# ------------------------------------------------------------------------------------------- the lines after collection

SHOWN = 3
"""Gates in the header of a run: those that detect only the largest losses."""


def gate_lines(session: Session, *, collect_only: bool, verbosity: int) -> list[str]:
    """What the session's gates can detect: short before a run, in full where nothing is evaluated. Loads no data.

    There are no lines under `-q` and in a session without gates. Raises pytest.UsageError.
    """
    if session.settings.gate.canary is not None and not collect_only:
        return canary_lines(session)
    if session.settings.gate.is_deferred and not collect_only:
        return ["gates: deferred; python -m pytest_lighteval gate judges this run together with others", *_sequential(session)]
    asked = session.settings.gate.plan_only or collect_only
    if verbosity < 0 and not session.settings.gate.plan_only:
        return []
    if session.judge.plan is None and not asked:
        is_sequential = session.settings.gate.interim_checks is not None
        return ["sequential: every document is asked, as there is no baseline"] if is_sequential else _sequential(session)
    try:
        gates = session.judge.plan or _without_baseline(session)
        found = expected_powers(
            gates,
            session.judge.baseline_of,
            session.settings.gate.policy,
            max_samples=session.settings.evaluation.max_samples,
        )
    except LightevalError as error:
        raise pytest.UsageError(printable(str(error))) from error
    blind = [] if (line := blind_line(found)) is None else [line]
    if session.settings.gate.plan_only:
        return [*plan_lines(found), *blind, *_pinned(session)]
    return [*power_lines(found, most=None if asked else SHOWN), *blind, *_pinned(session), *_sequential(session)]


def _pinned(session: Session) -> list[str]:
    plan, gate = session.judge.pinned, session.settings.gate
    if plan is None or gate.pinned is None:
        return []
    alpha = PINNED_SHARE * gate.policy.alpha
    gates = f"{len(plan.gates)} gate{'s' * (len(plan.gates) != 1)}"
    return [f"pinned: {gates} also compared with {gate.pinned_name}; they share alpha {alpha:g}, a fifth of the session's"]


def _without_baseline(session: Session) -> GatePlan:
    """What would be gates if there were a baseline."""
    gate = session.settings.gate
    return plan_gates(session.judge.items, promised=lambda key: None, file=gate.file, policy=gate.policy)


def _sequential(session: Session) -> list[str]:
    checks = session.settings.gate.interim_checks
    if session.settings.gate.sequential_off is not None:
        return [f"sequential: every document is asked: {session.settings.gate.sequential_off}"]
    if checks is None or session.judge.plan is None:
        return []
    early = sum(session.judge.ends_early(key, task) for key, task in session.judge.items)
    whole = len(session.judge.items) - early
    rest = f"; {whole} are asked in full (docs/gate.md says why)" if whole else ""
    return [f"sequential: up to {checks} interim checks of {early} task{'s' * (early != 1)}{rest}"]
