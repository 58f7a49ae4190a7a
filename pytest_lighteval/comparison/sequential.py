"""A group-sequential test: judge a task at several looks while it runs, stop when its verdict is certain, keep the error rate of its alpha.

Knows numbers of documents and their scores, look by look; knows nothing of how documents are evaluated.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from pytest_lighteval.comparison.compare import beyond_chance, compared
from pytest_lighteval.comparison.decision import Decision, GateOutcome, Policy, decide
from pytest_lighteval.comparison.exchange import LookResult, exchange_test, exchanges
from pytest_lighteval.comparison.paired import Paired, concatenate

LOOKS = 5
"""Looks at a task, the one at the end included."""

_GRID = 1501
_WIDTH = 9.0


# ---------------------------------------------------------------------------------------------------------- order


def stratified_order(
    strata: Sequence[Hashable], *, clusters: Sequence[str | None] | None = None, seed: int = 0, name: str = ""
) -> tuple[int, ...]:
    """A random order of documents in which every first part holds each stratum in about its share.

    It depends only on the arguments, never on the number of workers. Documents of one cluster stay together.

    Args:
        strata: one per document, in canonical order (the subtask, or one value for all).
        clusters: one name per document; documents of one name (within a stratum) are one unit. None: the document has no cluster.
        seed: of the order.
        name: of the task, so that two tasks with one seed have different orders.
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
            # each stratum is spread evenly over the whole, from a random offset of its own
            placed.append(((passed + offset * len(documents)) / total, len(placed), documents))
            passed += len(documents)
    return tuple(index for _, _, documents in sorted(placed) for index in documents)


def look_ends(n: int, *, looks: int = LOOKS, clusters: Sequence[str | None] | None = None, fewest: int = 20) -> tuple[int, ...]:
    """The number of documents seen at each look: even steps, and all of them at the last.

    Args:
        n: documents in all.
        looks: the most looks; there are fewer if a step would have less than `fewest` documents.
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

    Kim and DeMets' family (Biometrika 74, 1987) with power 2. It spends later than Pocock's rule, so the last look keeps most of a single
    look's power, and earlier than O'Brien and Fleming's, so a large loss stops a run early.
    """
    return tuple(alpha * (end / ends[-1]) ** 2 for end in ends)


def nominal_levels(spent: Sequence[float], ends: Sequence[int]) -> tuple[float, ...]:
    """The level of each look's own bound, such that the chance that any look up to this one is wrong equals the alpha spent up to it.

    By recursive integration over the normal path of a growing sample's mean (Armitage, McPherson & Rowe 1969; Lan & DeMets 1983). With
    one look it is the alpha itself.
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
        # density of the path at this look, in units of its standard deviation, over the paths that no earlier look stopped
        if not levels:
            density = np.exp(-(points**2) / 2) / np.sqrt(2 * np.pi)
        else:
            gap = np.sqrt(time - earlier_time)
            distances = (points[:, None] * np.sqrt(time) - points[None, :] * np.sqrt(earlier_time)) / gap
            density = np.exp(-(distances**2) / 2) @ density * step * np.sqrt(time) / gap / np.sqrt(2 * np.pi)
        tails = np.append(np.cumsum((density[1:] + density[:-1])[::-1] * step / 2)[::-1], 0.0)
        boundary = float(np.interp(limit - earlier_spent, tails[::-1], points[::-1]))
        levels.append(1 - normal.cdf(boundary))
        # of the cell that contains the boundary, the part below it counts
        kept = np.clip((boundary - points) / step + 0.5, 0.0, 1.0)
        density, earlier_time, earlier_spent = density * kept, time, limit
    return tuple(levels)


# ----------------------------------------------------------------------------------------------------------- looks


@dataclass(frozen=True, slots=True, kw_only=True)
class LookDecision:
    """The result of a look."""

    stop: bool
    """The verdict is certain, or all documents are seen."""
    decision: Decision
    """The verdict so far; final if `stop` is set."""
    look: int
    """The number of the look, from 1."""
    seen: int
    """Documents seen."""
    saved: int
    """Documents that are not evaluated, if it stops here."""


def look(parts: Sequence[Paired], ends: Sequence[int], policy: Policy, *, alpha: float, certify_alpha: float | None = None) -> LookDecision:
    """Judge a task at one of its looks. A pure function of the documents seen so far: no state is kept between looks.

    A loss is tested by the random walk of the differing documents (`exchange_test`): the chance to cross the boundary of any look is at
    most the alpha spent. A loss that one look has found stays found. The certificate is a separate claim with its own alpha: it uses the
    bound of each look at its nominal level.

    A run stops early when the loss is certified, or when a loss is found and the measured loss is at least `max_drop`. With a smaller loss
    the run goes on, because all documents may show that it is tolerated.

    Args:
        parts: for each look up to this one, its new documents.
        ends: documents seen at each planned look (`look_ends`).
        policy: what the gate requires.
        alpha: the gate's share of the session's, spent over all looks.
        certify_alpha: of the certificate, spent over all looks. None: the policy's.

    Raises:
        ValueError: the parts do not have the planned sizes.
    """
    certify_alpha = policy.alpha if certify_alpha is None else certify_alpha
    number = len(parts)
    seen = np.cumsum([part.n for part in parts]).tolist()
    if not parts or seen != list(ends[:number]):
        raise ValueError(f"looks at {seen} documents were made where {list(ends)} are planned")
    spent, certifying = spent_alpha(alpha, ends), spent_alpha(certify_alpha, ends)
    found = exchanges([part.runs for part in parts])
    losses = exchange_test(found, spent[:number])
    gains = exchange_test(found.mirrored, certifying[:number])
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


def _first_found(looks: Sequence[LookResult]) -> LookResult:
    """The first significant look; the last look if none is."""
    return next((look for look in looks if look.significant), looks[-1])


def _best_lower(parts: Sequence[Paired], looks: Sequence[LookResult]) -> float | None:
    """The highest of the looks' lower bounds, which hold simultaneously. None: no look found a loss."""
    whole = [concatenate(parts[: number + 1]) for number in range(len(parts))]
    found = [beyond_chance(part.loss, part.n, look) for part, look in zip(whole, looks, strict=True) if look.significant]
    return max(found, default=None)
