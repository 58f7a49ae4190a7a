"""The paired test: is the loss larger than chance explains? Chance is computed in two ways, and the larger p-value counts.

- *Sides*: the two models are exchangeable unit by unit. Then the loss of every unit has either sign with probability one half.
- *Runs*: all K + K' runs of a unit are exchangeable. Then any K of them may be the baseline's.

With one run on either side both are the same, the sign-flip test; for single 0/1 scores it is the exact McNemar test. With K runs against
one, neither assumption implies the other: independent runs are not symmetric (a mean of eight against one run), and copies of one
deterministic run are not exchangeable with the other side's. The larger p is valid under either.

Runs that are partly alike satisfy neither. Where the numbers of runs differ, the sides are therefore exchanged a second time with one more
unit, which nobody saw and which differs by as much as any: a mean of many runs against one is skewed, and what is missing is the rare
large gain. That this is enough is measured (`benchmarks.gate`), not proven.

All distributions are computed by convolution on a grid. Knows runs and units; knows nothing of scores, tasks or verdicts.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pytest_lighteval.comparison.sums import FFT_ERROR, NOTHING, FloatArray, IntArray, Law, added, drawn, signed, total

_FINEST_SHARE = 360
"""Scores that are whole multiples of 1/q for some q up to this keep their grid, if it is not too fine for their spread."""
_MOST_STEPS = 32_768
"""The largest standard deviation of an exact sum, in steps of its grid."""
_FEWEST_STEPS = 4096
"""The least standard deviation of a rounded sum, in steps of its grid."""
_STEPS_PER_UNIT = 32
"""The least spread of a unit in steps (root mean square), so that rounding adds no more than a few ten-thousandths to the variance."""
_MOST_EXCHANGES = 20_000_000
"""Exchanges of runs that are enumerated, over all units that differ: some tenths of a second."""
_GLANCE = 20
"""Scores that are looked at before all are."""
_TIE = 1e-9
_SAME = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """Units with the same numbers of runs. A unit is a document, or a cluster of documents.

    A run of a unit is the sum of its documents' scores in that run, signed so that more is better.
    """

    baseline: FloatArray
    """`[units, K]`."""
    candidate: FloatArray
    """`[units, K']`."""

    def __len__(self) -> int:
        return len(self.baseline)

    def scaled(self, factor: float) -> Runs:
        """All scores multiplied by a factor."""
        return Runs(self.baseline * factor, self.candidate * factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class LookResult:
    """The test at one look."""

    p: float
    """Probability, if nothing was lost, of a significant earlier look or of a sum at least as large as this look's (stage-wise ordering).
    With one look it is the plain p-value."""
    critical: float
    """The largest sum of losses that is not significant at this look."""
    boundary: float
    """Half-way from it to the next sum that chance can give."""
    reached: float
    """The sum of losses as the test sees it, on its grid."""
    significant: bool
    """`reached` is larger than `critical`: exactly when `p` is at most the alpha that may be spent up to this look."""
    is_rounded: bool
    """The grid is coarser than the scores: `reached` differs from the sum of the losses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The numbers on which losses are summed: whole multiples of `step`."""

    step: float
    is_rounded: bool
    """False: the losses are such multiples, however runs are exchanged."""

    def steps(self, losses: FloatArray) -> IntArray:
        """Losses in steps, each rounded to the nearest.

        The rule is odd (minus a loss is rounded to minus its steps) and the same for every exchange of a unit's runs, so a test on the
        rounded losses is as exact as one on the losses. The grid itself depends only on what no exchange changes.
        """
        return np.rint(losses / self.step).astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Exchanges:
    """What chance may do to the sums of several looks, and what was observed. Made by `exchanges`."""

    laws: tuple[tuple[Law, ...], ...]
    """For each way to exchange and each look, the distribution of the sum of its new losses, in steps."""
    observed: tuple[int, ...]
    """Each look's sum of new losses, in steps."""
    grid: Grid

    @property
    def mirrored(self) -> Exchanges:
        """The same for gains."""
        laws = tuple(tuple(law.mirrored for law in looks) for looks in self.laws)
        return Exchanges(laws, tuple(-seen for seen in self.observed), self.grid)


def exchanges(looks: Sequence[Sequence[Runs]]) -> Exchanges:
    """The distributions for `exchange_test`; per look, the units that are new in it."""
    differing = [[_differing(runs) for runs in look] for look in looks]
    grid = _grid(differing)
    observed = tuple(sum(int(grid.steps(unit.losses).sum()) for unit in look) for look in differing)
    sides = tuple(_sides_exchanged(look, grid) for look in differing)
    if all(unit.is_single for look in differing for unit in look):
        return Exchanges((sides,), observed, grid)
    runs = tuple(_runs_exchanged(look, grid) for look in differing)
    unseen = _unseen(differing, grid)
    if unseen is None:
        return Exchanges((sides, runs), observed, grid)
    number, law = unseen
    skewed = (*sides[:number], added(sides[number], law), *sides[number + 1 :])
    return Exchanges((sides, runs, skewed), observed, grid)


def exchange_test(found: Exchanges, spent: Sequence[float]) -> tuple[LookResult, ...]:
    """Test whether the sum of the losses is larger than chance explains, once or at each of several looks.

    Args:
        found: one look is the plain test.
        spent: per look, the alpha that may be spent up to and including it; never decreasing. A later look may use what is left.
    """
    return tuple(_walk(found, spent))


def _walk(found: Exchanges, spent: Sequence[float]) -> Iterator[LookResult]:
    alive = [NOTHING] * len(found.laws)
    earlier = [0.0] * len(found.laws)
    reached = 0
    for number, (seen, limit) in enumerate(zip(found.observed, spent, strict=True)):
        reached += seen
        alive = [added(law, looks[number]) for law, looks in zip(alive, found.laws, strict=True)]
        p, critical = 0.0, -math.inf
        for law, gone in zip(alive, earlier, strict=True):
            error = 0.0 if law.exact else FFT_ERROR
            tails = gone + error + np.cumsum(law.probabilities[::-1])[::-1]
            allowed = np.flatnonzero(tails > limit * (1 + _TIE))
            critical = max(critical, law.first + (int(allowed[-1]) if len(allowed) else -1))
            place = max(reached - law.first, 0)
            p = max(p, float(tails[place]) if place < len(tails) else gone + error)
        following = max(_following(law, int(critical)) for law in alive)
        yield LookResult(
            p=min(1.0, p),
            critical=critical * found.grid.step,
            boundary=(critical + following) / 2 * found.grid.step,
            reached=reached * found.grid.step,
            significant=reached > critical,
            is_rounded=found.grid.is_rounded,
        )
        for place, law in enumerate(alive):
            crossed = max(int(critical) + 1 - law.first, 0)
            earlier[place] += float(law.probabilities[crossed:].sum())
            kept = law.probabilities.copy()
            kept[crossed:] = 0
            alive[place] = Law(law.first, kept, law.exact)


def _following(law: Law, number: int) -> int:
    """The next larger number that is possible. The number itself: it is the largest."""
    after = max(number + 1 - law.first, 0)
    possible = law.probabilities[after:] > 0
    return law.first + after + int(np.argmax(possible)) if possible.any() else number


# ------------------------------------------------------------------------------------------------- units that differ


@dataclass(frozen=True, slots=True, eq=False)
class _Offsets:
    """Units some of whose runs differ: how far each run is above the unit's lowest, which no exchange changes."""

    baseline: FloatArray
    candidate: FloatArray

    @property
    def is_single(self) -> bool:
        """There is one run on either side."""
        return _shape(self) == (1, 1)

    @property
    def spread(self) -> FloatArray:
        """How far the highest run is above the lowest."""
        spread: FloatArray = np.maximum(self.baseline.max(axis=1), self.candidate.max(axis=1))
        return spread

    @property
    def losses(self) -> FloatArray:
        """The observed losses."""
        before, after = _shape(self)
        losses: FloatArray = self.baseline.sum(axis=1) / before - self.candidate.sum(axis=1) / after
        return losses


def _differing(runs: Runs) -> _Offsets:
    both = np.concatenate([runs.baseline, runs.candidate], axis=1)
    offsets = both - both.min(axis=1, keepdims=True)
    # sums of the same scores in another order differ by rounding
    offsets[offsets <= _SAME * np.abs(both).max(axis=1, keepdims=True, initial=0)] = 0
    offsets = offsets[offsets.max(axis=1, initial=0) > 0]
    return _Offsets(*np.split(offsets, [runs.baseline.shape[1]], axis=1))


def _grid(looks: Sequence[Sequence[_Offsets]]) -> Grid:
    """The grid of all scores if there is one that is not too fine; otherwise powers of two, by the spread of the first look that differs.

    A later look does not change the second, so that what an earlier one found stays found.
    """
    units = [unit for look in looks for unit in look if len(unit.baseline)]
    if not units:
        return Grid(step=1.0, is_rounded=False)
    runs = math.lcm(*(count for unit in units for count in _shape(unit)))
    spread = _norm(units)
    offsets = np.unique(np.concatenate([side.ravel() for unit in units for side in (unit.baseline, unit.candidate)]))
    for share in range(1, _FINEST_SHARE + 1):
        if spread * share * runs > _MOST_STEPS:
            break
        if _is_whole(offsets[:_GLANCE] * share) and _is_whole(offsets * share):
            return Grid(step=1 / (share * runs), is_rounded=False)
    first = next(look for look in looks if any(len(unit.baseline) for unit in look))
    count = sum(len(unit.baseline) for unit in first)
    steps = max(_FEWEST_STEPS, _STEPS_PER_UNIT * math.sqrt(count))
    return Grid(step=max(2.0 ** math.floor(math.log2(_norm(first) / steps)), math.ulp(0.0)), is_rounded=True)


def _shape(unit: _Offsets) -> tuple[int, int]:
    return unit.baseline.shape[1], unit.candidate.shape[1]


def _norm(units: Sequence[_Offsets]) -> float:
    """The root of the sum of squared spreads."""
    spreads = np.concatenate([unit.spread for unit in units])
    largest = float(spreads.max())
    return largest * float(np.linalg.norm(spreads / largest))


def _is_whole(numbers: FloatArray) -> bool:
    """All are whole, but for rounding, and only 0 is 0."""
    nearest = np.rint(numbers)
    return bool(np.all(np.abs(numbers - nearest) <= _TIE * np.maximum(numbers, 1)) and np.all((nearest > 0) == (numbers > 0)))


# ------------------------------------------------------------------------------------------------- the distributions


def _sides_exchanged(units: Sequence[_Offsets], grid: Grid) -> Law:
    """The sum of the losses when the two sides are exchanged, unit by unit."""
    return signed(np.concatenate([np.abs(grid.steps(unit.losses)) for unit in units]))


def _runs_exchanged(units: Sequence[_Offsets], grid: Grid) -> Law:
    """The sum of the losses when the runs are exchanged within every unit."""
    laws = [_sides_exchanged([unit for unit in units if unit.is_single], grid)] if any(unit.is_single for unit in units) else []
    for unit in units:
        if not unit.is_single and len(unit.baseline):
            losses, counts = _exchanged(unit)
            steps, kinds = np.unique(np.sort(grid.steps(losses), axis=1), axis=0, return_inverse=True)
            laws.append(drawn(steps, np.bincount(kinds.ravel(), weights=counts).astype(np.int64)))
    return total(laws)


def _unseen(looks: Sequence[Sequence[_Offsets]], grid: Grid) -> tuple[int, Law] | None:
    """One more unit that differs by as much as any with different numbers of runs, and the look to which it belongs. None: none has."""
    for number, look in enumerate(looks):
        spreads = [float(unit.spread.max()) for unit in look if len(set(_shape(unit))) == 2 and len(unit.baseline)]
        if spreads:
            return number, signed(grid.steps(np.asarray([max(spreads)])))
    return None


def _exchanged(unit: _Offsets) -> tuple[FloatArray, IntArray]:
    """`[kinds of unit, exchanges]` losses, and the number of units of each kind.

    If there are too many exchanges, only blocks of consecutive runs are exchanged: fewer permutations, which are a group all the same.
    """
    before, after = _shape(unit)
    both = np.sort(np.concatenate([unit.baseline, unit.candidate], axis=1), axis=1)
    kinds, counts = np.unique(both, axis=0, return_counts=True)
    if len(kinds) * math.comb(before + after, before) <= _MOST_EXCHANGES:
        return _all_losses(kinds[:, :before], kinds[:, before:], 1), counts
    lengths = range(2, min(before, after) + 1)
    count = len(unit.baseline)
    length = next(
        (length for length in lengths if count * math.comb(before // length + after // length, before // length) <= _MOST_EXCHANGES),
        min(before, after),
    )
    return _all_losses(unit.baseline, unit.candidate, length), np.ones(count, dtype=np.int64)


def _all_losses(baseline: FloatArray, candidate: FloatArray, length: int) -> FloatArray:
    """The losses under every exchange of blocks of `length` runs; runs that fill no block stay on their side."""
    before, after = baseline.shape[1], candidate.shape[1]
    blocks = [side[:, : side.shape[1] // length * length].reshape(len(side), -1, length).sum(axis=2) for side in (baseline, candidate)]
    kept = [side[:, side.shape[1] // length * length :].sum(axis=1, keepdims=True) for side in (baseline, candidate)]
    both = np.concatenate(blocks, axis=1)
    chosen = np.asarray(list(itertools.combinations(range(both.shape[1]), blocks[0].shape[1])))
    moved = both[:, chosen].sum(axis=2)
    losses: FloatArray = (kept[0] + moved) / before - (kept[1] + both.sum(axis=1, keepdims=True) - moved) / after
    return losses
