"""How often the test with several runs finds a loss although nothing changed: by simulation, for every kind of run that the page names.

Each document is right in a share of the runs. The runs of a side are independent, half correlated (correlation 1/2) or identical; the two
sides are independent of each other and of the same model.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pytest_lighteval.comparison.exchange import Runs, exchange_test, exchanges

Floats = npt.NDArray[np.float64]

UNITS = (30, 60, 200, 1319)
RIGHT = (0.02, 0.05, 0.5)
SHAPES = ((1, 1), (2, 1), (4, 1), (8, 1), (4, 4))
"""Runs of the baseline and of the candidate."""
KINDS: Mapping[str, float] = {"independent": 0.0, "half correlated": 0.5, "identical": 1.0}
"""Of the runs of one side: their correlation."""
ALPHAS = (0.05, 0.0008)
"""Of a single gate, and of each of fifty."""

Cell = tuple[int, float, tuple[int, int], str]
Shares = tuple[float, float]
"""In percent, at each of `ALPHAS`."""

MOST_DRAWS = 2000
"""Of one cell: there are many, and each draw takes a test of its own."""
_SURELY_CHANCE = 1.0
"""A sum of this many standard deviations or less is never significant at the largest alpha."""


def drawn_side(rng: np.random.Generator, units: int, runs: int, right: float, correlation: float) -> Floats:
    """`[units, runs]` 0/1 scores of one side. Each run is the side's common score with the chance that gives the correlation."""
    common, own = rng.random((units, 1)) < right, rng.random((units, runs)) < right
    return np.where(rng.random((units, runs)) < np.sqrt(correlation), common, own).astype(np.float64)


def false_losses(cell: Cell, draws: int, seed: Sequence[int]) -> Shares:
    """The share of draws in which the test finds a loss."""
    units, right, (before, after), kind = cell
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(list(seed))))
    found = np.zeros(len(ALPHAS))
    for _ in range(draws):
        runs = Runs(*(drawn_side(rng, units, count, right, KINDS[kind]) for count in (before, after)))
        losses = runs.baseline.mean(axis=1) - runs.candidate.mean(axis=1)
        if losses.sum() > _SURELY_CHANCE * np.linalg.norm(losses):
            (look,) = exchange_test(exchanges([[runs]]), [max(ALPHAS)])
            found += look.p <= np.asarray(ALPHAS) * (1 + 1e-9)
    return 100 * float(found[0]) / draws, 100 * float(found[1]) / draws


def simulate_cells(
    draws: int, say: Callable[[str], None], *, units: Sequence[int] = UNITS, shapes: Sequence[tuple[int, int]] = SHAPES
) -> dict[Cell, Shares]:
    """All cells."""
    measured: dict[Cell, Shares] = {}
    for number, (count, shape) in enumerate(itertools.product(units, shapes)):
        for place, (right, kind) in enumerate(itertools.product(RIGHT, KINDS)):
            cell = (count, right, shape, kind)
            measured[cell] = false_losses(cell, draws, (13, number, place))
        say(f"{count} documents, {shape[0]} runs against {shape[1]}")
    return measured


def table(measured: Mapping[Cell, Shares]) -> tuple[list[str], list[list[str]]]:
    """The head, and one row for each number of documents, share that is right and kind of runs."""
    shapes = list(dict.fromkeys(shape for _, _, shape, _ in measured))
    rows = []
    for count, right, kind in dict.fromkeys((count, right, kind) for count, right, _, kind in measured):
        cells = [f"{at_alpha:.1f} / {at_share:.2f}" for at_alpha, at_share in (measured[count, right, shape, kind] for shape in shapes)]
        rows.append([f"{count}", f"{100 * right:g} %", kind, *cells])
    return ["documents", "right", "runs of a side", *(f"{before} : {after}" for before, after in shapes)], rows
