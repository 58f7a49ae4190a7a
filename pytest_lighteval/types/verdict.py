"""What gates say about a number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """A document that scores otherwise than in the baseline. Repeats are averaged; a whole-corpus metric has none."""

    id: str
    before: float
    after: float
    is_loss: bool
    """The change is for the worse, in the metric's own direction."""
    margins: tuple[float, float] | None = None
    """Of multiple choice: the lead of the right choice before and after, each the mean over the repeats. None: a side does not know it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What two runs over the same documents say about the true loss. Losses are positive, in the metric's own unit."""

    baseline: float
    candidate: float
    loss: float
    lower: float
    """One-sided lower bound of the loss; above 0 exactly when the test at its alpha finds a loss."""
    upper: float
    """One-sided upper bound of the loss."""
    p: float
    """One-sided p-value of "nothing was lost"."""
    n: int
    """Documents."""
    lost: int | None
    """Documents that score worse than before. None: a metric of the whole corpus, to which no single document is lost."""
    won: int | None
    method: str
    """How `p` was computed, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftVerdict:
    """What the soft scores say of a number that the scores themselves could not decide."""

    loss: float | None
    """The loss of their mean, as a share of a document. None: they are log-probabilities, and only fell or did not."""
    p: float
    """One-sided p-value of "nothing was lost"."""
    alpha: float | None
    """Of the soft test: a part of the gate's. None: it is only reported."""
    is_certain: bool
    """The test finds a loss."""
    answers_fell: bool
    """The measured loss of the scores is at least half of `min_effect`."""
    is_large: bool
    """So is that of the soft scores, too."""

    @property
    def decides(self) -> bool:
        """Whether it makes the number REGRESSED."""
        return self.is_certain and self.is_large and self.alpha is not None


def _of_comparison(name: str) -> Any:
    return property(lambda verdict: getattr(verdict.comparison, name, None), doc=f"`comparison.{name}`. None: nothing was compared.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedVerdict:
    """What the comparison with the baseline says about one number."""

    outcome: Literal["PASSED", "REGRESSED", "INCONCLUSIVE", "IMPROVED", "NEW", "STALE"]
    """STALE: there is a baseline, and it must not be compared with; `line` holds every reason."""
    line: str
    """`acc 0.612 -> 0.581  loss 3.1 points [1.9, 4.4] (95 %)  p = 2e-6  n = 1319  57 lost / 16 won  REGRESSED (allowed 1.0)`."""
    red: bool
    """Whether it fails the session, waivers aside. An advisory one never does, unless it is STALE."""
    advisory: bool = False
    """Only reported: the gate of its superset covers it."""
    comparison: Comparison | None = None
    """None: nothing was compared (NEW, STALE). Its numbers are attributes of the verdict too."""
    candidate: float | None = None
    """Known of a NEW one too, as `n` is. None: STALE."""
    n: int | None = None
    p_adjusted: float | None = None
    """Holm's, to compare with the session's alpha. None: it is no gate, or the session did not get to its end."""
    max_drop: float | None = None
    min_effect: float | None = None
    alpha: float | None = None
    """Its share of the session's, without what its soft test has; `lower` has the level 1 - alpha."""
    certify_alpha: float | None = None
    """`upper` has the level 1 - certify_alpha."""
    soft_alpha: float | None = None
    """What its soft test has of the session's alpha beside `alpha`. None: it has no soft test."""
    soft: SoftVerdict | None = None
    """None: the soft scores were not asked, because there are none, or because the scores decided."""
    detectable: float | None = None
    """Power: the smallest true loss that this gate would have found in four of five runs, by the variance that was measured. None: nothing
    was compared, or it would have found none."""
    documents_needed: int | None = None
    """For INCONCLUSIVE: documents in all that would decide it. None: no number would."""
    repeats_needed: int | None = None
    used: float | None = None
    """Of a comparison with a pinned baseline: the measured loss as a share of `max_drop`; below 0 for a gain. None: of any other."""
    flips: tuple[Flip, ...] = ()
    """In the baseline's order."""
    margin_change: float | None = None
    """By how much the margin of a document that did not flip typically differs between the two sides. 0: none differs. None: not known."""
    blind: bool = False
    """INCONCLUSIVE, and it could not have found even a loss of ten times `max_drop`."""
    notes: tuple[str, ...] = ()
    """What a reader should know, one line each: a subset, a difference that was allowed."""

    baseline = _of_comparison("baseline")
    loss = _of_comparison("loss")
    lower = _of_comparison("lower")
    upper = _of_comparison("upper")
    p = _of_comparison("p")

    @property
    def gate_p(self) -> float | None:
        """The p-value of both tests together, to compare with all of the gate's alpha: each counts by its part (weighted Bonferroni)."""
        if self.p is None or self.alpha is None or self.soft_alpha is None:
            return self.p  # type: ignore[no-any-return]  # `_of_comparison` has no type
        both = self.alpha + self.soft_alpha
        soft = self.soft.p * both / self.soft_alpha if self.soft is not None and self.soft.is_large else 1.0
        return float(min(1.0, self.p * both / self.alpha, soft))

    lost = _of_comparison("lost")
    won = _of_comparison("won")
    method = _of_comparison("method")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is said about one number: by its thresholds, by the baseline, or by both."""

    metric: str
    outcome: Literal["passed", "failed", "inconclusive", "waived", "new", "advisory"]
    """failed: red. waived: would be, but a waiver expects it. inconclusive: the comparison cannot tell, and the policy lets it pass.
    new, advisory: there is nothing but a NEW or an advisory comparison."""
    message: str
    """One line: metric, value, stderr, threshold, n; and the comparison's line. Of a failure only what failed."""
    value: float
    stderr: float | None
    n: int
    min: float | None = None
    max: float | None = None
    paired: PairedVerdict | None = None
    """None: it was not compared with a baseline."""
    pinned: PairedVerdict | None = None
    """The comparison with the pinned baseline. None: there is none."""
    waiver: str | None = None
    """The reason of the waiver that covers it, used or not. None: none does."""
    retried: str | None = None
    """What an earlier session of the same model found, where this one (`--lf`, `--ff`) asked again and would be green: it fails, unless
    the user allows it. None: there was no such session."""
