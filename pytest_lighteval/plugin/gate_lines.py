"""What a session's gates can see, as lines behind its collection: short before a run, in full where nothing is evaluated."""

from __future__ import annotations

import pytest

from pytest_lighteval.errors import LightevalError
from pytest_lighteval.gates.expected_power import expected_powers, plan_lines, power_lines
from pytest_lighteval.gates.plan import GatePlan, plan_gates
from pytest_lighteval.plugin.options import is_in_use
from pytest_lighteval.plugin.session import Plan, plan_of

SHOWN = 3
"""Gates in the header of a run; the blindest ones."""


def gate_lines(config: pytest.Config) -> list[str]:
    """None under `-q` and in a session without gates; no data is loaded for them. Raises pytest.UsageError."""
    plan = plan_of(config)
    asked = plan.settings.gate.plan_only or config.option.collectonly
    if not is_in_use(config) or (config.get_verbosity() < 0 and not plan.settings.gate.plan_only):
        return []
    if plan.gates is None and not asked:
        return (
            []
            if plan.settings.gate.interim_checks is None
            else ["sequential: every document is asked, as there is no baseline to be certain of"]
        )
    try:
        gates = plan.gates or _without_baseline(plan)
        baselines = plan.settings.gate.baselines
        found = expected_powers(
            gates,
            lambda key: None if baselines is None else baselines.find(key),
            plan.settings.gate.policy,
            max_samples=plan.settings.evaluation.max_samples,
        )
    except LightevalError as error:
        raise pytest.UsageError(str(error)) from error
    if plan.settings.gate.plan_only:
        return plan_lines(found)
    return [*power_lines(found, most=None if asked else SHOWN), *_sequential(plan)]


def _without_baseline(plan: Plan) -> GatePlan:
    """What would be gates if there were a baseline."""
    gate = plan.settings.gate
    return plan_gates(plan.items or (), promised=lambda key: None, file=gate.file, policy=gate.policy)


def _sequential(plan: Plan) -> list[str]:
    from pytest_lighteval.plugin.gates import ends_early

    looks = plan.settings.gate.interim_checks
    if looks is None or plan.gates is None:
        return []
    early = sum(ends_early(plan, key, task) for key, task in plan.items or ())
    whole = len(plan.items or ()) - early
    rest = f"; {whole} are asked as a whole (docs/gate.md says why)" if whole else ""
    return [f"sequential: up to {looks} looks at {early} task{'s' * (early != 1)}{rest}"]
