"""The smallest loss that each gate can detect, computed before the run from options and baselines alone.

The formulas are in `comparison.power`; this module collects their inputs and writes the lines.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pytest_lighteval.baselines.model import BaselineTask
from pytest_lighteval.baselines.repeats import discordance
from pytest_lighteval.comparison.decision import BLIND_FROM, Policy
from pytest_lighteval.comparison.power import (
    ASSUMED_DISCORDANCE,
    POWER,
    averaged_discordance,
    detectable_loss,
    documents_needed,
    repeats_needed,
    sees_loss,
)
from pytest_lighteval.gates.compare import own_policy
from pytest_lighteval.gates.plan import GatePlan
from pytest_lighteval.gates.soft_voice import score_alpha
from pytest_lighteval.types import TaskKey


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedPower:
    """What a gate can detect, as far as it is known before the run."""

    gate: str
    """Task or group, and metric."""
    policy: Policy
    alpha: float
    """Its share of the session's."""
    n: int | None
    """Documents. None: unknown, there is no baseline."""
    discordance: float
    """Share of the documents that differ between two single runs (of a graded score, the variance of the difference)."""
    measured: bool
    """`discordance` is measured from the baseline's repeats. False: it is assumed."""
    runs: int = 1
    """Scores of a document in this run (its few-shot seeds)."""
    baseline_runs: int = 1
    """Scores of a document in the baseline (its repeats, under each few-shot seed)."""
    binary: bool = True
    """All scores are 0 or 1."""
    unknown: str | None = None
    """Why the power is unknown. None: it is known."""

    @property
    def variance(self) -> float:
        """Of the difference of one document's scores, averaged over its runs."""
        return averaged_discordance(self.discordance, repeats=self.runs, baseline_repeats=self.baseline_runs)

    @property
    def detectable(self) -> float | None:
        """The smallest true loss that the gate finds in four of five sessions. None: it finds none, or that is unknown."""
        if self.n is None or self.unknown is not None:
            return None
        return detectable_loss(
            n=self.n,
            discordance=self.discordance,
            alpha=self.alpha,
            min_effect=self.policy.least_loss,
            repeats=self.runs,
            baseline_repeats=self.baseline_runs,
            binary=self.binary,
        )

    @property
    def is_blind(self) -> bool:
        """Whether the gate is known not to find a huge loss, `BLIND_FROM` times `max_drop`. Cheap: by the normal distribution."""
        if self.unknown is not None or not self.n:
            return False
        huge = min(1.0, BLIND_FROM * self.policy.max_drop)
        return not sees_loss(huge, n=self.n, variance=self.variance, worst=1.0, alpha=self.alpha)


def expected_powers(
    plan: GatePlan, find: Callable[[TaskKey], BaselineTask | None], session: Policy, *, max_samples: int | None = None
) -> list[ExpectedPower]:
    """All gates of a session, and the metrics that would be gates if the baseline had their tasks.

    Args:
        plan: the gates, each with its share of alpha.
        find: the baseline of a task.
        session: the session's policy, for what a gate does not set itself.
        max_samples: the run's limit.
    """
    found = []
    for gate in plan.gates:
        members = [find(key) for key in gate.members or (gate.key,)]
        held = [member for member in members if member is not None]
        policy, alpha = own_policy(gate, held, session), score_alpha(gate, held) if held else gate.alpha
        power = expected_power(str(gate.key), gate.metric, members, policy=policy, alpha=alpha, max_samples=max_samples)
        no_range = gate.corpus.is_mean and gate.corpus.range is None and power.n is not None
        found.append(replace(power, unknown=power.unknown or "its metric states no range") if no_range else power)
    new = [(key, metric) for key, metrics in plan.new.items() for metric in metrics]
    return found + [expected_power(str(key), metric, (), policy=session, alpha=plan.family.gate_alpha) for key, metric in new]


def expected_power(
    gate: str, metric: str, members: Sequence[BaselineTask | None], *, policy: Policy, alpha: float, max_samples: int | None = None
) -> ExpectedPower:
    """The power of one gate, from the baselines of its tasks (one, or those of a superset).

    Args:
        gate: the task's or the superset's key.
        metric: the gated metric.
        members: its tasks' baselines. None: a task has none.
        policy: what the gate requires.
        alpha: the gate's share of the session's.
        max_samples: the run's limit.
    """
    name = f"{gate} {metric}"
    known = [member for member in members if member is not None]
    if len(known) < len(members) or not known:
        return ExpectedPower(gate=name, policy=policy, alpha=alpha, n=None, discordance=ASSUMED_DISCORDANCE, measured=False)
    values, counts, weighted = [], [], []
    for member in known:
        names = list(dict.fromkeys(member.ids))[:max_samples]
        asked = set(names)
        rows = [(name, row) for name, row in zip(member.ids, member.scores.get(metric, ()), strict=False) if name in asked]
        values += [value for _, row in rows for value in row if value is not None]
        counts.append(len({name for name, row in rows if any(value is not None for value in row)}))
        weighted.append(discordance(member, metric))
    measured = [share for share in weighted if share is not None]
    total = sum(counts)
    everywhere = len(measured) == len(known) and total > 0
    seeds = min(len(set(member.few_shot_seeds)) for member in known)
    unknown = None
    if not values:
        unknown = "the baseline has no score of it"
    elif any(isinstance(value, tuple) for value in values):
        unknown = "a metric of the whole corpus"
    elif not all(0 <= value <= 1 for value in values if not isinstance(value, tuple)):
        unknown = "its scores are not between 0 and 1"
    return ExpectedPower(
        gate=name,
        policy=policy,
        alpha=alpha,
        n=total,
        discordance=(
            math.fsum(share * count for share, count in zip(measured, counts, strict=True)) / total if everywhere else ASSUMED_DISCORDANCE
        ),
        measured=everywhere,
        runs=seeds,
        baseline_runs=seeds * min(member.repeats for member in known),
        binary=all(value in (0, 1) for value in values),
        unknown=unknown,
    )


def blind_line(gates: Sequence[ExpectedPower]) -> str | None:
    """The gates that will not find even a huge loss, before the model runs. None: there is none, as far as it is known."""
    blind = [gate for gate in gates if gate.is_blind]
    if not blind:
        return None
    named = ", ".join(f"{gate.gate} (n = {gate.n})" for gate in blind[:3]) + ", ..." * (len(blind) > 3)
    one = len(blind) == 1
    return f"WARNING: {len(blind)} of {len(gates)} gates {'is' if one else 'are'} blind to ten times the allowed loss: {named}"


# --------------------------------------------------------------------------------------------------------- in words


def power_lines(gates: Sequence[ExpectedPower], *, most: int | None = None) -> list[str]:
    """One line per gate: the smallest loss that it finds. `most`: only so many lines, the least sensitive gates first."""
    if not gates:
        return []
    if len(gates) > 1 and all(gate.n is None for gate in gates):
        return [f"gates: {len(gates)}, n unknown (no baseline)"]
    shown = gates if most is None or len(gates) <= most else sorted(gates, key=_sharpness)[:most]
    left = len(gates) - len(shown)
    return [
        f"gates: {len(gates)}; the smallest loss that each finds with {POWER:.0%} power",
        *(f"  {_power(gate)}" for gate in shown),
        *([f"  {left} more gate{'s' * (left > 1)} (all able to detect smaller losses): list with --gate-plan"] if left else []),
    ]


def plan_lines(gates: Sequence[ExpectedPower]) -> list[str]:
    """For each gate the smallest loss that it finds, and the documents or repeats with which it certifies its `max_drop`."""
    if not gates:
        return ["gate plan: no selected task can be a gate"]
    lines = [f"gate plan: documents needed to certify max_drop with {POWER:.0%} power, if nothing changed"]
    if all(gate.n is None for gate in gates):
        one = len(gates) == 1
        needs = dict.fromkeys(_needs(gate) for gate in gates)
        return [*lines, f"  {gates[0].gate if one else f'{len(gates)} gates'}: n unknown (no baseline)", *(f"    {need}" for need in needs)]
    for gate in gates:
        lines += [f"  {_power(gate)}", f"    {_needs(gate)}"]
    return lines


def _power(gate: ExpectedPower) -> str:
    if gate.n is None:
        return f"{gate.gate}: n unknown (no baseline)"
    if gate.unknown is not None:
        return f"{gate.gate}: n = {gate.n}; unknown: {gate.unknown}"
    loss = gate.detectable
    finds = "finds no loss at all" if loss is None else f"finds a loss of {_points(loss)}"
    return f"{gate.gate}: n = {gate.n}, {_changed(gate)}: {finds} (alpha {gate.alpha:.2g})"


def _needs(gate: ExpectedPower) -> str:
    if gate.unknown is not None:
        return "documents needed: unknown"
    drop = gate.policy.max_drop
    documents = documents_needed(max_drop=drop, variance=gate.variance, alpha=gate.policy.alpha)
    text = f"max_drop {_points(drop)}: {documents} documents"
    if gate.n is None:
        return f"{text} ({100 * gate.discordance:.2g} % changing, {'measured' if gate.measured else 'assumed'})"
    if documents is not None and documents <= gate.n:
        return f"{text}, and it has {gate.n}"
    repeats = repeats_needed(n=gate.n, max_drop=drop, variance=gate.discordance, alpha=gate.policy.alpha)
    return f"{text}, or {'no number of' if repeats is None else repeats} repeats of its {gate.n} with both models"


def _changed(gate: ExpectedPower) -> str:
    return f"{100 * gate.discordance:.2g} % changing from run to run ({'measured' if gate.measured else 'assumed'})"


def _points(loss: float) -> str:
    return f"{100 * loss:.1f} points"


def _sharpness(gate: ExpectedPower) -> tuple[int, float]:
    """Larger for a gate that finds smaller losses. By the normal distribution, which is cheap."""
    if gate.n is None or gate.unknown is not None or gate.n == 0:
        return (0, 0.0)
    return (1, -math.sqrt((gate.variance + gate.policy.max_drop) / gate.n))
