"""The sign-flip test: between runs of equal models, chance gives the difference of every unit either sign with probability one half.

Knows sums of random signs, tested once or at several looks; knows nothing of scores, tasks or verdicts.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_lighteval.errors import MissingExtraError

FloatArray = npt.NDArray[np.float64]

_FINEST_GRID = 360
"""Values that are whole multiples of 1/q for some q up to this are summed exactly."""
_LONGEST_GRID = 20_000
"""Steps of the longest exact distribution: at most 2e8 products, some tenths of a second."""
_MOST_ENUMERATED = 20
"""The most units whose 2**n sign patterns are all enumerated."""
_MOST_DRAWS = 100_000
_FEWEST_DRAWS = 20_000
_CELLS = 400_000_000
"""Random signs that a test may draw before it takes fewer draws: some seconds."""
_CELLS_AT_ONCE = 4_000_000
_TIE = 1e-9
"""Sums nearer than this share of the largest possible sum are equal."""


def scipy_module(name: str) -> Any:
    """`scipy.<name>`, imported when a gate first needs it. Raises MissingExtraError."""
    try:
        return importlib.import_module(f"scipy.{name}")
    except ImportError as error:
        raise MissingExtraError("scipy, which computes the gate's tests,", "gate") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class SignFlipResult:
    """The test at one look."""

    p: float
    """Probability, for random signs, of a significant earlier look or of a sum at least as large as this look's (stage-wise ordering).
    With one look it is the plain p-value."""
    critical: float
    """The largest sum that is not significant at this look."""
    significant: bool
    """The observed sum is larger than `critical`: exactly when `p` is at most the alpha that may be spent up to this look."""
    exact: bool
    """False: estimated from seeded random signs."""


def sign_flip_test(
    losses: Sequence[npt.ArrayLike], spent: Sequence[float], *, seed: int = 0, draws: int | None = None
) -> tuple[SignFlipResult, ...]:
    """Test whether the sum of the losses is larger than random signs explain, once or at each of several looks.

    Null hypothesis: the two runs are exchangeable unit by unit. Then, given the sizes |loss|, the distribution of the sum is known.
    - Sizes that are whole multiples of a common step (0/1 scores, means of repeats, sums of clusters): exact, by convolution. For 0/1
      scores of single documents this is the exact McNemar test.
    - Up to 20 differing units of other sizes: exact, by enumeration.
    - More: seeded random signs. The observed signs count as one draw, so that p is never too small (Phipson & Smyth 2010).

    Args:
        losses: per look, the losses of the units that are new in it. One look is the plain test.
        spent: per look, the alpha that may be spent up to and including it; never decreasing. A later look may use what is left.
        seed: of the random signs.
        draws: of random signs. None: 100,000, down to 20,000 for many units.
    """
    new = [np.asarray(look, dtype=np.float64) for look in losses]
    magnitudes = [np.abs(look[look != 0]) for look in new]
    grid = _grid(np.concatenate(magnitudes)) if magnitudes else None
    reached = np.cumsum([float(look.sum()) for look in new])
    if grid is not None:
        return tuple(_on_grid(magnitudes, reached, spent, grid))
    count = sum(map(len, magnitudes))
    if count <= _MOST_ENUMERATED:
        return tuple(_on_draws(_all_signs(magnitudes), magnitudes, reached, spent, exact=True))
    if draws is None:
        draws = int(np.clip(_CELLS // count, _FEWEST_DRAWS, _MOST_DRAWS))
    return tuple(_on_draws(_random_signs(magnitudes, seed, draws), magnitudes, reached, spent, exact=False))


def _grid(magnitudes: FloatArray) -> int | None:
    """The smallest q for which all magnitudes are multiples of 1/q and the exact distribution is not too long."""
    distinct, total = np.unique(magnitudes), float(magnitudes.sum())
    for steps in range(1, _FINEST_GRID + 1):
        if total * steps > _LONGEST_GRID:
            return None
        scaled = distinct * steps
        if np.all(np.abs(scaled - np.rint(scaled)) <= _TIE * np.maximum(scaled, 1)):
            return steps
    return None


def _on_grid(magnitudes: Sequence[FloatArray], reached: FloatArray, spent: Sequence[float], grid: int) -> Iterator[SignFlipResult]:
    # index i: i steps of loss and (total - i) steps of gain, a sum of (2 i - total) / grid
    probabilities, total, earlier = np.ones(1), 0, 0.0
    for new, seen, limit in zip(magnitudes, reached, spent, strict=True):
        for size, count in zip(*np.unique(np.rint(new * grid).astype(np.int64), return_counts=True), strict=True):
            kernel = np.zeros(int(size * count) + 1)
            kernel[:: int(size)] = _fair_coins(int(count))
            probabilities = np.convolve(probabilities, kernel)
            total += int(size * count)
        tails = earlier + np.cumsum(probabilities[::-1])[::-1]
        allowed = np.flatnonzero(tails > limit * (1 + _TIE))
        last = int(allowed[-1]) if len(allowed) else -1
        index = round((seen * grid + total) / 2)
        yield SignFlipResult(p=min(1.0, float(tails[index])), critical=(2 * last - total) / grid, significant=index > last, exact=True)
        earlier += float(probabilities[last + 1 :].sum())
        probabilities = probabilities.copy()
        probabilities[last + 1 :] = 0


def _fair_coins(count: int) -> FloatArray:
    """Probabilities of 0 to `count` heads."""
    log_gamma = scipy_module("special").gammaln
    heads = np.arange(count + 1)
    logs: FloatArray = log_gamma(count + 1) - log_gamma(heads + 1) - log_gamma(count - heads + 1) - count * np.log(2)
    return np.exp(logs)


def _on_draws(
    drawn: Iterator[FloatArray], magnitudes: Sequence[FloatArray], reached: FloatArray, spent: Sequence[float], *, exact: bool
) -> Iterator[SignFlipResult]:
    tie = _TIE * sum(float(new.sum()) for new in magnitudes)
    observed = 0 if exact else 1  # the observed signs are one more draw
    sums: FloatArray | None = None
    possible, earlier = 0.0, 0.0
    for increments, new, seen, limit in zip(drawn, magnitudes, reached, spent, strict=True):
        sums = increments if sums is None else sums + increments
        possible += float(new.sum())
        weight = 1 / (len(increments) + observed)
        alive = np.sort(sums[~np.isnan(sums)])
        above = len(alive) - int(np.searchsorted(alive, seen - tie))
        room = int(np.floor((limit * (1 + _TIE) - earlier) / weight + _TIE)) - observed
        critical = possible
        if room >= 0:
            critical = float(alive[-1 - room]) if room < len(alive) else -possible - 1
        yield SignFlipResult(
            p=min(1.0, earlier + (above + observed) * weight), critical=critical, significant=seen > critical + tie, exact=exact
        )
        crossed = sums > critical + tie
        earlier += int(crossed.sum()) * weight
        sums = np.where(crossed, np.nan, sums)


def _all_signs(magnitudes: Sequence[FloatArray]) -> Iterator[FloatArray]:
    """Per look, the sum of its units under each of the sign patterns of all looks' units."""
    patterns, first = np.arange(2 ** sum(map(len, magnitudes))), 0
    for new in magnitudes:
        sums = np.zeros(len(patterns))
        for position, size in enumerate(new, start=first):
            sums += np.where(patterns >> position & 1, size, -size)
        first += len(new)
        yield sums


def _random_signs(magnitudes: Sequence[FloatArray], seed: int, draws: int) -> Iterator[FloatArray]:
    rng = np.random.Generator(np.random.PCG64(seed))
    for new in magnitudes:
        sizes, counts = np.unique(new, return_counts=True)
        sums = np.zeros(draws)
        repeated = counts > 1
        for size, count in zip(sizes[repeated], counts[repeated], strict=True):
            sums += size * (2.0 * rng.binomial(count, 0.5, size=draws) - count)
        alone = sizes[~repeated]
        step = max(1, _CELLS_AT_ONCE // max(1, len(alone)))
        for start in range(0, draws if len(alone) else 0, step):
            rows = min(step, draws - start)
            bits = np.unpackbits(rng.integers(0, 256, size=(rows, -(-len(alone) // 8)), dtype=np.uint8), axis=1)
            sums[start : start + rows] += 2 * (bits[:, : len(alone)] @ alone) - alone.sum()
        yield sums
