"""How often a series of checkpoints is red although no checkpoint is worse, and which drops it finds, under two divisions of alpha.

python -m benchmarks.series            both tables of docs/decisions/030-checkpoints-are-compared-with-the-best.md, a minute on one core
python -m benchmarks.series --quick    fewer draws
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.refreshing import ALPHA, DISCORDANCE, MIN_EFFECT
from pytest_lighteval.comparison.compare import mcnemar
from pytest_lighteval.gates.series import comparison_share

DOCUMENTS = 1319

Share = Callable[[int], float]
"""Number of a checkpoint, from 2 on -> its part of alpha."""


def whole(position: int) -> float:
    """All of alpha at every checkpoint."""
    return 1.0


def once(position: int) -> float:
    """The parts of a series without an end, as if the best had not been chosen: 1 / (k (k - 1))."""
    return 1 / (position * (position - 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Red:
    """Of many series, the share of them."""

    certain: float
    """With a checkpoint at which the test finds a loss to the best before."""
    red: float
    """The same, and the measured loss is at least `min_effect`."""


def red_series(
    share: Share, *, checkpoints: int, draws: int, seed: int, drop: float = 0.0, at: int | None = None, documents: int = DOCUMENTS
) -> Red:
    """Simulate series of checkpoints that are equally good, but for the coin tosses of some documents.

    Args:
        share: the part of alpha that a comparison has.
        checkpoints: how many a series has.
        draws: how many series.
        seed: of the coins.
        drop: of all documents, those that are lost for good at one checkpoint.
        at: the number of that checkpoint. Only it and those after it are looked at. None: there is no drop.
        documents: of the task.
    """
    rng = np.random.default_rng(seed)
    coins = round(2 * DISCORDANCE * documents)
    alphas = np.array([ALPHA * share(position) for position in range(2, checkpoints + 1)])
    gone = np.zeros(checkpoints)
    if at is not None:
        gone[at - 1 :] = round(drop * documents)
    certain = red = 0
    for _ in range(draws):
        right = rng.random((checkpoints, coins)) < 0.5
        scores = right.sum(axis=1) - gone
        best = _best_before(scores)
        later = np.arange(1, checkpoints)
        lost = (right[best] & ~right[later]).sum(axis=1) + np.maximum(gone[later] - gone[best], 0)
        won = (right[later] & ~right[best]).sum(axis=1)
        found = mcnemar(lost, won) <= alphas
        if at is not None:
            found[: at - 2] = False
        certain += bool(found.any())
        red += bool((found & ((lost - won) / documents >= MIN_EFFECT)).any())
    return Red(certain=certain / draws, red=red / draws)


def _best_before(scores: np.ndarray) -> np.ndarray:
    """For each checkpoint but the first, the one before it with the highest score; of equal ones the first."""
    best, found = 0, []
    for position in range(1, len(scores)):
        found.append(best)
        if scores[position] > scores[best]:
            best = position
    return np.array(found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the draws")
    draws = 400 if parser.parse_args(arguments).quick else 4000
    out = sys.stdout.write
    out("| checkpoints | alpha at each | 1 / (k (k - 1)) of it | 1 / (k (k - 1)²) of it |\n| ---: | ---: | ---: | ---: |\n")
    for checkpoints in (5, 20, 100):
        found = [red_series(share, checkpoints=checkpoints, draws=draws, seed=checkpoints) for share in (whole, once, comparison_share)]
        cells = (f"{one.certain:.1%} ({one.red:.1%})" for one in found)
        out(f"| {checkpoints} | {' | '.join(cells)} |\n")
    out("\n| drop at checkpoint | points lost | red at that checkpoint | red at it or one of the next four |\n")
    out("| ---: | ---: | ---: | ---: |\n")
    for at in (3, 10, 30):
        for drop in (0.02, 0.03, 0.05):
            cells = (
                f"{red_series(comparison_share, checkpoints=at + more, draws=draws // 4, seed=at, drop=drop, at=at).red:.0%}"
                for more in (0, 4)
            )
            out(f"| {at} | {100 * drop:.0f} | {' | '.join(cells)} |\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
