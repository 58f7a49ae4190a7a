"""The verdict of a comparison under a policy (PASSED, REGRESSED, INCONCLUSIVE, IMPROVED), and how gates share the session's alpha.

Knows numbers and policies; knows nothing of files, tasks or pytest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import get_args

from pytest_lighteval.comparison.compare import FullComparison
from pytest_lighteval.comparison.power import RequiredSample, required_sample, sees_loss
from pytest_lighteval.errors import UserInputError, did_you_mean
from pytest_lighteval.types import GateSpec
from pytest_lighteval.types.task import Inconclusive

BLIND_FROM = 10
"""A gate that could not find a loss of so many times its `max_drop` is blind."""


class GateOutcome(StrEnum):
    """The verdict of a gate."""

    PASSED = "PASSED"
    """The loss is certified to be at most `max_drop`."""
    REGRESSED = "REGRESSED"
    """A loss is proven and large enough to matter."""
    INCONCLUSIVE = "INCONCLUSIVE"
    """Neither: there are too few documents."""
    IMPROVED = "IMPROVED"
    """A gain is proven. Reported, never red."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a gate requires. Raises UserInputError for numbers that contradict each other."""

    alpha: float = 0.05
    """The largest chance that a session is red although nothing changed, and that a certificate is wrong."""
    max_drop: float = 0.02
    """The loss that is allowed, in the metric's own unit (0.02 of an accuracy: two points)."""
    min_effect: float | None = None
    """A proven loss below this is not REGRESSED. None: half of `max_drop`."""
    inconclusive: Inconclusive = "warn"
    """Which INCONCLUSIVE gates are red: each, those that are blind, or none."""

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 0.5:
            raise UserInputError(f"alpha: {self.alpha:g} is not between 0 and 0.5, like 0.05")
        if not (self.max_drop > 0 and math.isfinite(self.max_drop)):
            raise UserInputError(f"max_drop: {self.max_drop:g} is not above 0; a loss of two points of accuracy is 0.02")
        if self.min_effect is not None and not 0 <= self.min_effect <= self.max_drop:
            raise UserInputError(f"min_effect: {self.min_effect:g} is not between 0 and max_drop, {self.max_drop:g}")
        words = get_args(Inconclusive)
        if self.inconclusive not in words:
            raise UserInputError(
                f"inconclusive: {self.inconclusive!r} is none of {', '.join(words)}{did_you_mean(self.inconclusive, words)}"
            )

    @property
    def least_loss(self) -> float:
        """`min_effect`, or its default."""
        return self.max_drop / 2 if self.min_effect is None else self.min_effect

    @property
    def pooled(self) -> Policy:
        """The policy of the pooled test over all gates: it allows a quarter of what one gate allows.

        A small loss in every task is no chance, and over all documents together the test can prove it. INCONCLUSIVE is never red here:
        the pooled test detects, the gates certify.
        """
        return Policy(alpha=self.alpha, max_drop=self.max_drop / 4, min_effect=self.least_loss / 4, inconclusive="warn")


def policy_for(spec: GateSpec, session: Policy, *, unit: float = 1.0) -> Policy:
    """The policy of one gate: its own numbers, and the session's where it has none.

    A gate's own losses are in its metric's unit. The session's are multiplied by `unit`: 1 for scores between 0 and 1, otherwise the
    baseline's value.
    """
    if spec.max_drop is not None:
        max_drop, min_effect = float(spec.max_drop), None if spec.min_effect is None else float(spec.min_effect)
    else:
        max_drop = session.max_drop * unit
        min_effect = None if session.min_effect is None else session.min_effect * unit
    return Policy(
        alpha=session.alpha if spec.alpha is None else spec.alpha,
        max_drop=max_drop,
        min_effect=min_effect,
        inconclusive=spec.inconclusive or session.inconclusive,
    )


# ------------------------------------------------------------------------------------------------------- one gate


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The verdict of one gate and its numbers."""

    outcome: GateOutcome
    comparison: FullComparison
    policy: Policy
    certify_alpha: float
    """Of the upper bound."""
    tolerated: bool = False
    """PASSED although a loss is proven: it is certified to be at most `max_drop`."""
    required: RequiredSample | None = None
    """For INCONCLUSIVE, the sample that would decide it. None: another outcome, or no larger sample would."""
    unseen: float | None = None
    """For INCONCLUSIVE, a huge loss (`BLIND_FROM` times `max_drop`) that the gate would not have found. None: it would have."""

    @property
    def red(self) -> bool:
        """Whether the gate fails its session."""
        if self.outcome is GateOutcome.INCONCLUSIVE:
            return self.policy.inconclusive == "fail" or (self.policy.inconclusive == "blind" and self.unseen is not None)
        return self.outcome is GateOutcome.REGRESSED


def decide(
    comparison: FullComparison, policy: Policy, *, alpha: float, certify_alpha: float | None = None, huge: float | None = None
) -> Decision:
    """The verdict: the first of these that applies.

    1. The upper bound of the loss is at most `max_drop`: IMPROVED if the test finds a gain, otherwise PASSED; `tolerated` if the test
       finds a loss.
    2. The lower bound is above 0 and the loss is at least `min_effect`: REGRESSED.
    3. The test finds a gain: IMPROVED.
    4. INCONCLUSIVE.

    Args:
        comparison: computed with the same two alphas.
        policy: what the gate requires.
        alpha: the gate's share of the session's (`Family.gate_alpha`), for the sample that would decide an INCONCLUSIVE gate.
        certify_alpha: of the upper bound. None: the policy's. Gates do not share it, because no upper bound makes a session red.
        huge: a loss that any gate should find. None: `BLIND_FROM` times `max_drop`.
    """
    certify_alpha = policy.alpha if certify_alpha is None else certify_alpha
    lost = comparison.lower > 0
    if comparison.upper <= policy.max_drop:
        outcome = GateOutcome.IMPROVED if comparison.gained else GateOutcome.PASSED
        return Decision(outcome=outcome, comparison=comparison, policy=policy, certify_alpha=certify_alpha, tolerated=lost)
    if lost and comparison.loss >= policy.least_loss - 1e-12:
        return Decision(outcome=GateOutcome.REGRESSED, comparison=comparison, policy=policy, certify_alpha=certify_alpha)
    if comparison.gained:
        return Decision(outcome=GateOutcome.IMPROVED, comparison=comparison, policy=policy, certify_alpha=certify_alpha)
    huge = min(BLIND_FROM * policy.max_drop if huge is None else huge, comparison.worst)
    is_seen = sees_loss(huge, n=comparison.n, variance=comparison.variance, worst=comparison.worst, alpha=alpha)
    unseen = None if is_seen else huge
    if not math.isfinite(comparison.worst):
        return Decision(outcome=GateOutcome.INCONCLUSIVE, comparison=comparison, policy=policy, certify_alpha=certify_alpha, unseen=unseen)
    required = required_sample(
        loss=comparison.loss,
        n=comparison.n,
        variance=comparison.variance,
        worst=comparison.worst,
        max_drop=policy.max_drop,
        min_effect=policy.least_loss,
        alpha=alpha,
        certify_alpha=certify_alpha,
    )
    return Decision(
        outcome=GateOutcome.INCONCLUSIVE,
        comparison=comparison,
        policy=policy,
        certify_alpha=certify_alpha,
        required=required,
        unseen=unseen,
    )


# ----------------------------------------------------------------------------------------------------- the family


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The gates of a session share its alpha, so that alpha bounds the chance of a session that is red although nothing changed.

    The gates get four fifths in equal shares (Bonferroni), so that no verdict depends on another gate's. The pooled test gets the rest.
    A single gate has all of alpha: a pooled test would repeat its test.
    """

    alpha: float
    gates: int
    share: float = 1.0
    """What these gates and their pooled test have of alpha; a pinned baseline has the rest."""
    has_pool: bool = True
    """False: there is no pooled test, and the gates have its part."""

    @property
    def gate_alpha(self) -> float:
        """The alpha of each gate's test for a loss."""
        together = 0.8 * self.alpha if self.gates > 1 and self.has_pool else self.alpha
        return self.share * (together / max(self.gates, 1))

    @property
    def pooled_alpha(self) -> float | None:
        """The alpha of the pooled test. None: there is none."""
        return 0.2 * self.share * self.alpha if self.gates > 1 and self.has_pool else None


def holm(p_values: Mapping[str, float], family: Family) -> dict[str, float]:
    """Adjusted p-values by Holm's step-down procedure, within the alpha that the family's gates have together.

    To compare with the session's alpha: at or below it, Holm finds a loss, wherever Bonferroni does and sometimes in further gates. Valid,
    as Bonferroni's, however the gates depend on each other. Holm, Scandinavian Journal of Statistics 6 (1979).
    """
    together = family.gate_alpha * max(family.gates, 1)
    adjusted, least = {}, 0.0
    for rank, gate in enumerate(sorted(p_values, key=lambda gate: p_values[gate])):
        least = max(least, p_values[gate] * (family.gates - rank))
        adjusted[gate] = min(1.0, least * family.alpha / together)
    return {gate: adjusted[gate] for gate in p_values}


# ------------------------------------------------------------------------------------------------------- in words


def decision_line(metric: str, decision: Decision, *, alpha: float, points: bool = True) -> str:
    """The verdict in one line, for the terminal and JUnit.

    `acc 0.612 -> 0.581  loss 3.1 points [1.9, 4.4] (95 %)  p = 2e-6  n = 1319  57 lost / 16 won  REGRESSED (allowed 2.0)`

    Each end of the interval is a one-sided bound with its own level: `(99.6 %, 95 %)` where they differ.

    Args:
        metric: the number's name.
        decision: the verdict.
        alpha: of the lower bound, as `decide` had it.
        points: print losses in hundredths (accuracies). False: in the metric's own unit.
    """
    comparison = decision.comparison
    scale, digits = (100, 1 if comparison.n < 5000 else 2) if points else (1, 4)

    def number(value: float) -> str:
        text = f"{value * scale:.{digits}f}"
        return text.removeprefix("-") if float(text) == 0 else text

    gain = comparison.loss < 0
    unit = " points" if points else ""
    what, size = ("gain", -comparison.loss) if gain else ("loss", comparison.loss)
    ends = [(comparison.lower, _level(alpha)), (comparison.upper, _level(decision.certify_alpha))]
    if gain:
        ends = [(-bound, level) for bound, level in reversed(ends)]
    levels = ", ".join(dict.fromkeys(level for _, level in ends))
    parts = [
        f"{metric} {comparison.baseline:.3f} -> {comparison.candidate:.3f}",
        f"{what} {number(size)}{unit} [{number(ends[0][0])}, {number(ends[1][0])}] ({levels})",
        f"p = {probability(comparison.p_gain if gain else comparison.p)}",
        f"n = {comparison.n}",
    ]
    if comparison.lost is not None:
        parts.append(f"{comparison.lost} lost / {comparison.won} won")
    return "  ".join([*parts, f"{decision.outcome} ({_because(decision, number, unit)})"])


def _because(decision: Decision, number: Callable[[float], str], unit: str) -> str:
    allowed = number(decision.policy.max_drop)
    if decision.unseen is not None:
        documents = "1 document" if decision.comparison.n == 1 else f"{decision.comparison.n} documents"
        allowed += f"; blind: {documents} would not show a loss of {number(decision.unseen)}{unit}"
    if decision.outcome is GateOutcome.INCONCLUSIVE and decision.required is not None:
        required = decision.required
        repeats = "" if required.repeats is None else f" or {required.repeats} repeats"
        return f"allowed {allowed}; about {required.documents} documents{repeats} would decide it"
    if decision.outcome is GateOutcome.INCONCLUSIVE and not math.isfinite(decision.comparison.worst):
        return f"allowed {allowed}; the metric states no range, so no loss can be certified to be small"
    if decision.tolerated:
        return f"allowed {allowed}; the loss is real but tolerated"
    return f"allowed {allowed}"


def _level(alpha: float) -> str:
    return f"{100 * (1 - alpha):.4g} %"


def probability(p: float) -> str:
    """A p-value in two digits, or one with its exponent: `0.045`, `8e-7`."""
    if p >= 0.001:
        return f"{p:.2g}"
    mantissa, exponent = f"{p:.0e}".split("e")
    return f"{mantissa}e{int(exponent)}" if p else "0"
