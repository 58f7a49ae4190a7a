"""Looking at a task several times while it runs, and stopping as soon as its verdict is certain, without spending more than its alpha.

Knows numbers of documents and what was measured on them, look by look; knows nothing of how documents are evaluated.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from pytest_lighteval.comparison.decision import Decision, GateOutcome, Policy, decide
from pytest_lighteval.comparison.paired import Paired, compared, concatenate
from pytest_lighteval.comparison.sign_flips import SignFlipResult, sign_flip_test

LOOKS = 5
"""How often a task is looked at, the end included."""

_GRID = 1501
_WIDTH = 9.0


# ---------------------------------------------------------------------------------------------------------- order


def stratified_order(
    strata: Sequence[Hashable], *, clusters: Sequence[str | None] | None = None, seed: int = 0, name: str = ""
) -> tuple[int, ...]:
    """A random order of documents in which every stretch from the start holds each stratum in about its share.

    It depends on the arguments alone, so never on the number of workers. Documents of one cluster stay together.

    Args:
        strata: one a document, in canonical order (the subtask, or one value for all).
        clusters: one name a document; those that share one (within a stratum) are one unit. None: it stands alone.
        seed: of the order.
        name: of the task, so that tasks with one seed do not share an order.
    """
    rng = random.Random(f"{seed}:{name}")
    units: dict[Hashable, dict[Hashable, list[int]]] = {}
    for index, (stratum, cluster) in enumerate(zip(strata, clusters or [None] * len(strata), strict=True)):
        units.setdefault(stratum, {}).setdefault(index if cluster is None else cluster, []).append(index)
    placed: list[tuple[float, int, list[int]]] = []
    for members in units.values():
        shuffled = list(members.values())
        rng.shuffle(shuffled)
        offset, total, passed = rng.random(), sum(map(len, shuffled)), 0
        for documents in shuffled:
            # evenly spread over the whole, each stratum from its own random offset
            placed.append(((passed + offset * len(documents)) / total, len(placed), documents))
            passed += len(documents)
    return tuple(index for _, _, documents in sorted(placed) for index in documents)


def look_ends(n: int, *, looks: int = LOOKS, clusters: Sequence[str | None] | None = None, fewest: int = 20) -> tuple[int, ...]:
    """How many documents have been seen at the end of each look: even steps, the last one all of them.

    Args:
        n: documents in all.
        looks: how many are wanted; fewer are made where a step would have less than `fewest` documents.
        clusters: one name a document, in the order in which they are evaluated; a look ends where a cluster does.
        fewest: documents a step.
    """
    looks = max(1, min(looks, n // max(1, fewest)))
    ends = [round(n * step / looks) for step in range(1, looks + 1)]
    if clusters is not None:
        names = [index if name is None else name for index, name in enumerate(clusters)]
        starts = [index for index in range(1, n) if names[index] != names[index - 1]] + [n]
        ends = sorted({min((start for start in starts if start >= end), default=n) for end in ends})
    return tuple(ends)


# -------------------------------------------------------------------------------------------------------- spending


def spent_alpha(alpha: float, ends: Sequence[int]) -> tuple[float, ...]:
    """The alpha that may be spent up to each look: alpha * t**2 after the share t of the documents.

    Kim and DeMets' family (Biometrika 74, 1987) with power 2: more patient than Pocock's rule, so that the last look keeps most of a
    single look's power, less so than O'Brien and Fleming's, so that a large loss stops a run early.
    """
    return tuple(alpha * (end / ends[-1]) ** 2 for end in ends)


def nominal_levels(spent: Sequence[float], ends: Sequence[int]) -> tuple[float, ...]:
    """The level of each look's own bound, such that the chance that any look up to one is wrong is what was spent up to it.

    By recursive integration over the normal path of a mean that grows with the documents (Armitage, McPherson & Rowe 1969; Lan & DeMets
    1983). One look gives the alpha itself.
    """
    return _nominal_levels(tuple(spent), tuple(ends))


@functools.lru_cache(maxsize=4096)
def _nominal_levels(spent: tuple[float, ...], ends: tuple[int, ...]) -> tuple[float, ...]:
    normal = NormalDist()
    levels: list[float] = []
    points = np.linspace(-_WIDTH, _WIDTH, _GRID)
    step = points[1] - points[0]
    density, earlier_time, earlier_spent = np.zeros(0), 0.0, 0.0
    for end, limit in zip(ends, spent, strict=True):
        time = end / ends[-1]
        # the path at this look, in units of its own standard deviation there, for paths that no earlier look stopped
        if not levels:
            density = np.exp(-(points**2) / 2) / np.sqrt(2 * np.pi)
        else:
            gap = np.sqrt(time - earlier_time)
            distances = (points[:, None] * np.sqrt(time) - points[None, :] * np.sqrt(earlier_time)) / gap
            density = np.exp(-(distances**2) / 2) @ density * step * np.sqrt(time) / gap / np.sqrt(2 * np.pi)
        tails = np.append(np.cumsum((density[1:] + density[:-1])[::-1] * step / 2)[::-1], 0.0)
        boundary = float(np.interp(limit - earlier_spent, tails[::-1], points[::-1]))
        levels.append(1 - normal.cdf(boundary))
        # the cell that the boundary cuts counts with the part of it that lies below
        kept = np.clip((boundary - points) / step + 0.5, 0.0, 1.0)
        density, earlier_time, earlier_spent = density * kept, time, limit
    return tuple(levels)


# --------------------------------------------------------------------------------------------------------- looking


@dataclass(frozen=True, slots=True, kw_only=True)
class LookDecision:
    """What a look says."""

    stop: bool
    """The verdict is certain, or all documents are seen. Else: go on."""
    decision: Decision
    """The verdict as it stands; it is the task's when `stop` is set."""
    look: int
    """Which look it was, from 1."""
    seen: int
    """Documents seen."""
    saved: int
    """Documents that need not be evaluated, if it stops here."""


def look(
    parts: Sequence[Paired], ends: Sequence[int], policy: Policy, *, alpha: float, certify_alpha: float | None = None, seed: int = 0
) -> LookDecision:
    """Judge a task after one of its looks. A pure function of what was seen so far: no state is kept between looks.

    A loss is tested by the random walk of the differing documents: given how many differ in each look, the boundary of every look is
    computed exactly (for graded scores from seeded signs), so that the chance to cross any of them is at most what is spent; a loss once
    found stays found. The certificate, which is another claim with its own alpha, uses the bound of each look at its nominal level.

    A run stops early when the certificate is there, or when a loss is found and what was measured so far reaches `max_drop`. A smaller
    loss that is found goes on: all documents may show it to be tolerated.

    Args:
        parts: for each look up to this one, the documents that were new in it.
        ends: documents seen at the end of each planned look (`look_ends`).
        policy: what is asked.
        alpha: the gate's share of the session's, spent over all looks.
        certify_alpha: of the certificate, spent over all looks. None: the policy's.
        seed: of random signs, where they are needed.

    Raises:
        ValueError: the parts are not what was planned.
    """
    certify_alpha = policy.alpha if certify_alpha is None else certify_alpha
    number = len(parts)
    seen = np.cumsum([part.n for part in parts]).tolist()
    if not parts or seen != list(ends[:number]):
        raise ValueError(f"looks at {seen} documents were made where {list(ends)} are planned")
    spent, certifying = spent_alpha(alpha, ends), spent_alpha(certify_alpha, ends)
    losses = sign_flip_test([-part.gains for part in parts], spent[:number], seed=seed)
    gains = sign_flip_test([part.gains for part in parts], certifying[:number], seed=seed)
    comparison = compared(
        concatenate(parts),
        loss=_first_found(losses),
        gain=_first_found(gains),
        alpha=nominal_levels(spent, ends)[number - 1],
        certify_alpha=nominal_levels(certifying, ends)[number - 1],
        lower=_best_lower(parts, losses),
    )
    decision = decide(comparison, policy, alpha=alpha, certify_alpha=certify_alpha)
    certain = comparison.upper <= policy.max_drop or (decision.outcome is GateOutcome.REGRESSED and comparison.loss >= policy.max_drop)
    stop = certain or number == len(ends)
    return LookDecision(stop=stop, decision=decision, look=number, seen=seen[-1], saved=ends[-1] - seen[-1] if stop else 0)


def _first_found(looks: Sequence[SignFlipResult]) -> SignFlipResult:
    """The first look that was significant, which nothing later takes back; the last one where none was."""
    return next((look for look in looks if look.significant), looks[-1])


def _best_lower(parts: Sequence[Paired], looks: Sequence[SignFlipResult]) -> float | None:
    """The highest of the looks' lower bounds, which hold together. None: no look found a loss."""
    reached = np.cumsum([-part.gains.sum() for part in parts])
    seen = np.cumsum([part.n for part in parts])
    found = [(total - look.critical) / n for total, n, look in zip(reached, seen, looks, strict=True) if look.significant]
    return max(map(float, found), default=None)
