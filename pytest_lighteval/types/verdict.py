"""What gates say about a number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """A document that scores otherwise than in the baseline. Repeats are averaged; a whole-corpus metric has none."""

    id: str
    before: float
    after: float
    is_loss: bool
    """The change is for the worse, in the metric's own direction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedVerdict:
    """What the comparison with the baseline says about one number. Losses are positive, in the metric's own unit."""

    outcome: Literal["PASSED", "REGRESSED", "INCONCLUSIVE", "IMPROVED", "NEW", "STALE"]
    """STALE: there is a baseline, and it must not be compared with; `line` holds every reason."""
    line: str
    """`acc 0.612 -> 0.581  loss 3.1 points [1.9, 4.4]  p = 2e-6  n = 1319  57 lost / 16 won  REGRESSED (allowed 1.0)`."""
    red: bool
    """Whether it fails the session, waivers aside. An advisory one never does, unless it is STALE."""
    advisory: bool = False
    """Told, but not a gate of its own: the gate of its superset covers it."""
    baseline: float | None = None
    """None, as all numbers: nothing was compared (NEW, STALE)."""
    candidate: float | None = None
    loss: float | None = None
    lower: float | None = None
    upper: float | None = None
    p: float | None = None
    """Of "nothing was lost"."""
    p_adjusted: float | None = None
    """Holm's, to be held against the session's alpha. None: it is no gate, or the session did not get to its end."""
    n: int | None = None
    lost: int | None = None
    won: int | None = None
    method: str | None = None
    max_drop: float | None = None
    min_effect: float | None = None
    alpha: float | None = None
    """Its share of the session's."""
    documents_needed: int | None = None
    """For INCONCLUSIVE: documents in all that would settle it. None: more of the same never would."""
    repeats_needed: int | None = None
    flips: tuple[Flip, ...] = ()
    """In the baseline's order."""
    notes: tuple[str, ...] = ()
    """What a reader should know, one line each: a subset, a reason that was allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is said about one number: by its thresholds, by the baseline, or by both."""

    metric: str
    outcome: Literal["passed", "failed", "inconclusive", "waived", "new", "advisory"]
    """failed: red. waived: would be, but a waiver expects it. inconclusive: the comparison cannot tell, and the policy lets it pass.
    new, advisory: there is nothing but a NEW or an advisory comparison."""
    message: str
    """One line: metric, value, stderr, threshold, n; and the comparison's line."""
    value: float
    stderr: float | None
    n: int
    min: float | None = None
    max: float | None = None
    paired: PairedVerdict | None = None
    """None: it was not held against a baseline."""
    waiver: str | None = None
    """The reason of the waiver that covers it, used or not. None: none does."""
