"""An upper confidence bound of a mean, from values that cannot exceed a known worst one. It holds for small and skewed samples.

The bound of Learned-Miller and Thomas, "A new confidence interval for the mean of a bounded random variable" (arXiv:1905.06208): the
values and one more, the worst possible, get random weights that are uniform on the simplex; the bound is a quantile of the weighted mean.
For 0/1 values it is Clopper and Pearson's bound; with no event among n, 1 - alpha**(1/n), the "rule of three". With many events it is
close to the t bound. Its level is proven for 0/1 values; for others no case was found in which it fails.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from pytest_lighteval.comparison.lazy_scipy import scipy_module
from pytest_lighteval.comparison.sums import FloatArray

_STEP = 0.2
_MOST_NODES = 100
"""Nodes of the contour integral reach to sinh(20): even with two values the integrand is below 1e-17 of its start there."""
_NODES_AT_ONCE = 20
_NEGLIGIBLE = 1e-17
_MOST_POINTS = 512
"""More different values are divided among so many points."""


def mean_upper_bound(values: npt.ArrayLike, *, worst: float, alpha: float) -> float:
    """The upper confidence bound, at level 1 - `alpha`, of the mean of which `values` are a sample. No value can exceed `worst`.

    Deterministic: the quantile is computed, no weights are drawn. `alpha` is below one half.
    """
    points, counts = _augmented(values, worst)
    centre = float(points @ counts / counts.sum())
    if points[0] == points[-1]:
        return centre
    # the tail falls from about one half at the centre to 0 at the worst value; a step below the floating-point spacing would loop forever
    lowest, step = centre, max(float(points[-1] - points[0]) / float(counts.sum()), float(np.spacing(abs(centre))))
    while _tail(points, counts, lowest) <= alpha:
        lowest, step = lowest - step, 2 * step
    return float(scipy_module("optimize").brentq(lambda x: _tail(points, counts, x) - alpha, lowest, float(points[-1]), xtol=1e-12))


def mean_tail(values: npt.ArrayLike, *, worst: float, mean: float, counts: npt.ArrayLike | None = None) -> float:
    """The p-value of "the mean is `mean` or more": at or below alpha exactly when the upper bound at alpha is at or below `mean`.

    `counts`: how often each value occurs. None: once.
    """
    points, weights = _augmented(values, worst, counts)
    return _tail(points, weights, mean)


def _augmented(values: npt.ArrayLike, worst: float, counts: npt.ArrayLike | None = None) -> tuple[FloatArray, FloatArray]:
    """The distinct values and how often each occurs, with the worst one added once."""
    given = np.append(np.asarray(values, dtype=np.float64), worst)
    weights = np.ones(len(given)) if counts is None else np.append(np.asarray(counts, dtype=np.float64), 1.0)
    points, places = np.unique(given[weights > 0], return_inverse=True)
    if points[-1] > worst:
        raise ValueError(f"a value of {points[-1]} exceeds the worst possible one, {worst}")
    counted = np.bincount(places, weights=weights[weights > 0]).astype(np.float64)
    return (points, counted) if len(points) <= _MOST_POINTS else _divided(points, counted)


def _divided(points: FloatArray, counts: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Every value as shares of the two points beside it that have its mean. The spread grows a little, so the bound is no lower.

    The largest value keeps its own point: it may be the worst one, far from all others.
    """
    grid = np.linspace(points[0], points[-2], _MOST_POINTS)
    places = np.clip(np.searchsorted(grid, points[:-1], side="right") - 1, 0, _MOST_POINTS - 2)
    above = (points[:-1] - grid[places]) / (grid[places + 1] - grid[places])
    shares = np.bincount(places, counts[:-1] * (1 - above), _MOST_POINTS) + np.bincount(places + 1, counts[:-1] * above, _MOST_POINTS)
    used = shares > 0
    return np.append(grid[used], points[-1]), np.append(shares[used], counts[-1])


def _tail(points: FloatArray, counts: FloatArray, x: float) -> float:
    """P(weighted mean > x) for weights uniform on the simplex: P(Y > 0) where Y sums (point - x) * exponential variable."""
    distances = points - x
    if distances[-1] <= 0:
        return 0.0
    if distances[0] >= 0:
        return 1.0
    if float(distances @ counts) > 0:
        return 1 - _positive(-distances[::-1], counts[::-1])
    return _positive(distances, counts)


def _positive(distances: FloatArray, counts: FloatArray) -> float:
    """P(Y > 0) for a Y whose mean is not positive, by the inversion integral of its generating function prod (1 - d t)**-count.

    The path crosses the real axis near the saddle point and bends there as the path of steepest descent does; the trapezoidal rule
    converges geometrically along it.
    """
    spread = math.sqrt(float(counts @ distances**2))
    edge = 1 / float(distances[-1])

    def slope(t: float) -> float:
        return float(counts @ (distances / (1 - distances * t)))

    # the saddle point is between the poles at 0 and at the edge; near the mean it reaches the first, from which the path keeps away
    saddle, furthest = min(0.3 / spread, 0.5 * edge), edge * (1 - 1e-12)
    if slope(saddle) < 0:
        saddle = float(scipy_module("optimize").brentq(slope, saddle, furthest, rtol=1e-6)) if slope(furthest) > 0 else furthest
    ratios = distances / (1 - distances * saddle)
    second, third = float(counts @ ratios**2), 2 * float(counts @ ratios**3)
    scale = min(saddle, edge - saddle, 2 / math.sqrt(second))
    bend = min(1.0, max(-1.0, scale * third / (3 * second)))
    integral, peak = 0.0, 0.0
    for first in range(0, _MOST_NODES, _NODES_AT_ONCE):
        nodes = _STEP * np.arange(first, first + _NODES_AT_ONCE)
        path = saddle + scale * (bend * (np.cosh(nodes) - 1) + 1j * np.sinh(nodes))
        direction = scale * (bend * np.sinh(nodes) + 1j * np.cosh(nodes))
        heights = np.exp(-(np.log(1 - np.outer(path, distances)) @ counts)) / path * direction
        if first == 0:
            heights[0] /= 2
            peak = float(abs(heights).max())
        integral += float(np.imag(heights).sum())
        if abs(heights[-1]) < _NEGLIGIBLE * peak:
            break
    return float(min(1.0, max(0.0, _STEP * integral / math.pi)))
