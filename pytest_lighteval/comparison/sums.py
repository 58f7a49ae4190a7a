"""Distributions over whole numbers, and the distribution of the sum of many independent ones, by convolution. Knows no scores."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_lighteval.comparison.lazy_scipy import scipy_module

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

FFT_ERROR = 1e-12
"""More than the error of any probability that was computed by fast Fourier transform."""

_MOST_PRODUCTS = 4_000_000
"""Two distributions with more products of probabilities are convolved by fast Fourier transform: some milliseconds."""
_NEGLIGIBLE = 1e-15
"""Ends of a distribution whose probabilities are a smaller share of its largest are cut off, where it is not exact."""
_MOST_COINS = 2000
"""The distribution of more coins is not exact."""
_FEWEST_IN_A_TABLE = 64
_WIDEST_IN_A_TABLE = 2048


@dataclass(frozen=True, slots=True, eq=False)
class Law:
    """A distribution over whole numbers."""

    first: int
    """The number of the first probability."""
    probabilities: FloatArray
    exact: bool = True
    """Every probability has a small relative error. False: a small absolute one, below `FFT_ERROR`."""

    @property
    def mirrored(self) -> Law:
        """The distribution of minus the number."""
        return Law(1 - self.first - len(self.probabilities), self.probabilities[::-1], self.exact)


NOTHING = Law(0, np.ones(1))
"""The sum of no numbers."""


def signed(sizes: IntArray) -> Law:
    """The sum of the numbers, each with a random sign: plus or minus with equal chance."""
    # heads add twice their size to minus the sum of all sizes
    heads = total(_heads(int(size), int(count)) for size, count in zip(*np.unique(sizes[sizes > 0], return_counts=True), strict=True))
    probabilities = np.zeros(2 * len(heads.probabilities) - 1)
    probabilities[::2] = heads.probabilities
    return Law(2 * heads.first - int(sizes.sum()), probabilities, heads.exact)


def _heads(size: int, count: int) -> Law:
    """`size` times the heads of `count` fair coins."""
    heads = np.arange(count + 1)
    log_gamma = scipy_module("special").gammaln
    logs = log_gamma(count + 1) - log_gamma(heads + 1) - log_gamma(count - heads + 1) - count * np.log(2)
    if count > _MOST_COINS:
        heads = heads[logs > logs.max() + np.log(_NEGLIGIBLE)]
        logs = logs[heads]
    chances = np.exp(logs)
    probabilities = np.zeros(size * (len(heads) - 1) + 1)
    # logarithms of large numbers of ways are rounded, all by nearly the same
    probabilities[::size] = chances / chances.sum()
    return Law(size * int(heads[0]), probabilities, exact=len(heads) > count)


def drawn(outcomes: IntArray, counts: IntArray) -> Law:
    """The sum of independent numbers of several kinds.

    Args:
        outcomes: `[kinds, outcomes]`, each row in ascending order; all outcomes of a kind have equal chance.
        counts: how many numbers of each kind there are.
    """
    widths = outcomes[:, -1] - outcomes[:, 0] + 1
    short = (counts == 1) & (widths <= _WIDEST_IN_A_TABLE)
    tables = [1 << exponent for exponent in range(_WIDEST_IN_A_TABLE.bit_length())]
    bins = np.where(short, np.searchsorted(tables, widths), -1)
    laws: list[Law] = []
    for place, width in enumerate(tables):
        members = np.flatnonzero(bins == place)
        if len(members) >= _FEWEST_IN_A_TABLE:
            laws += _summed(outcomes[members], width)
        else:
            bins[members] = -1
    for row, count in zip(outcomes[bins < 0], counts[bins < 0], strict=True):
        laws.append(power(Law(int(row[0]), np.bincount(row - row[0]) / len(row)), int(count)))
    return total(laws)


def _summed(outcomes: IntArray, width: int) -> Iterator[Law]:
    """The sums of groups of numbers of equally short distributions, of which many are convolved at once."""
    fft = scipy_module("fft")
    firsts = outcomes[:, 0].copy()
    table = np.zeros((len(outcomes), width))
    np.add.at(table, (np.arange(len(outcomes))[:, None], outcomes - firsts[:, None]), 1 / outcomes.shape[1])
    while len(table) > 1 and width <= _WIDEST_IN_A_TABLE:
        if len(table) % 2:
            yield _trimmed(int(firsts[-1]), table[-1])
            firsts, table = firsts[:-1], table[:-1]
        half, width = len(table) // 2, 2 * width
        spectra = fft.rfft(table, width, axis=1)
        table = np.maximum(fft.irfft(spectra[:half] * spectra[half:], width, axis=1), 0.0)
        firsts = firsts[:half] + firsts[half:]
    yield from (_trimmed(int(first), row) for first, row in zip(firsts, table, strict=True))


def power(law: Law, count: int) -> Law:
    """The sum of `count` independent numbers of one distribution."""
    result, factor = NOTHING, law
    while count:
        if count & 1:
            result = added(result, factor)
        count >>= 1
        if count:
            factor = added(factor, factor)
    return result


def total(laws: Iterable[Law]) -> Law:
    """The sum of independent numbers, one of each distribution."""
    heap = [(len(law.probabilities), number, law) for number, law in enumerate(laws)]
    heapq.heapify(heap)
    number = len(heap)
    while len(heap) > 1:
        shorter, longer = heapq.heappop(heap)[2], heapq.heappop(heap)[2]
        joined = added(shorter, longer)
        heapq.heappush(heap, (len(joined.probabilities), number, joined))
        number += 1
    return heap[0][2] if heap else NOTHING


def added(one: Law, other: Law) -> Law:
    """The sum of two independent numbers."""
    first = one.first + other.first
    if len(one.probabilities) * len(other.probabilities) <= _MOST_PRODUCTS or min(len(one.probabilities), len(other.probabilities)) == 1:
        return Law(first, np.convolve(one.probabilities, other.probabilities), one.exact and other.exact)
    fft = scipy_module("fft")
    length = len(one.probabilities) + len(other.probabilities) - 1
    size = fft.next_fast_len(length, real=True)
    product = fft.rfft(one.probabilities, size) * fft.rfft(other.probabilities, size)
    return _trimmed(first, fft.irfft(product, size)[:length])


def _trimmed(first: int, probabilities: FloatArray) -> Law:
    """Without rounding errors below 0, and without negligible ends."""
    probabilities = np.maximum(probabilities, 0.0)
    kept = np.flatnonzero(probabilities >= _NEGLIGIBLE * probabilities.max())
    return Law(first + int(kept[0]), probabilities[kept[0] : kept[-1] + 1], exact=False)
