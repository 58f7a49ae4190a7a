"""What becomes of a baseline that is refreshed again and again: how lucky it gets, and how much is lost before somebody sees it.

python -m benchmarks.refreshing            both tables of docs/decisions/017-refreshing-and-pinned-baselines.md, some minutes on one core
python -m benchmarks.refreshing --quick    fewer draws
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_lighteval.comparison.compare import mcnemar
from pytest_lighteval.comparison.mean_bounds import mean_upper_bound
from pytest_lighteval.gates.pinned import PINNED_SHARE

ALPHA, MAX_DROP, MIN_EFFECT, DISCORDANCE = 0.05, 0.02, 0.01, 0.06

Answers = npt.NDArray[np.bool_]
"""Per document of one run, whether it is right."""


def chance(rng: np.random.Generator, documents: int) -> Answers:
    """The documents whose answers are coin tosses: two runs of one model differ in half of them."""
    return rng.random(round(2 * DISCORDANCE * documents)) < 0.5


def losses(before: Answers, after: Answers) -> tuple[int, int]:
    """Documents lost and won."""
    return int((before & ~after).sum()), int((after & ~before).sum())


def is_red(lost: int, won: int, documents: int, alpha: float) -> bool:
    """REGRESSED: a loss is certain, and at least `min_effect`."""
    return (lost - won) / documents >= MIN_EFFECT and float(mcnemar(lost, won)) <= alpha


def differs(lost: int, won: int) -> bool:
    """Whether a refresh needs a reason."""
    return 2 * float(mcnemar(max(lost, won), min(lost, won))) <= ALPHA


# ------------------------------------------------------------------------------------------- the winner's curse


def red_after(refreshes: int, *, keeps_best: bool, documents: int, draws: int, seed: int) -> float:
    """The share of honest runs that are red against a baseline after that many refreshes by honest runs.

    `keeps_best`: a refresh that is worse needs a reason, and nobody has one. Otherwise one that differs beyond chance does.
    """
    rng = np.random.default_rng(seed)
    red = 0
    for _ in range(draws):
        baseline = chance(rng, documents)
        for _ in range(refreshes):
            run = chance(rng, documents)
            lost, won = losses(baseline, run)
            if (won >= lost) if keeps_best else not differs(lost, won):
                baseline = run
        red += is_red(*losses(baseline, chance(rng, documents)), documents, ALPHA)
    return red / draws


# -------------------------------------------------------------------------------------------------------- drift


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The true loss, in points, when something was first red; the median and nine tenths of the chains."""

    median: float
    most: float


def loss_when_seen(step: float, *, pinned: bool, documents: int, draws: int, seed: int) -> Seen:
    """Pull requests that each lose `step` of the documents and, while green, become the baseline.

    With `pinned`, the first baseline is compared too: the gate has four fifths of alpha, the pinned one a fifth.
    """
    rng = np.random.default_rng(seed)
    alpha = ALPHA * (1 - PINNED_SHARE) if pinned else ALPHA
    seen = []
    for _ in range(draws):
        first = baseline = chance(rng, documents)
        gone = 0
        while gone < documents // 4:
            new = int(rng.binomial(documents, step))
            gone += new
            run = chance(rng, documents)
            lost, won = losses(baseline, run)
            if is_red(lost + new, won, documents, alpha) or (pinned and exceeds(*losses(first, run), gone, documents)):
                break
            baseline = run
        seen.append(100 * gone / documents)
    return Seen(median=float(np.median(seen)), most=float(np.quantile(seen, 0.9)))


def exceeds(lost: int, won: int, gone: int, documents: int) -> bool:
    """Whether a loss of `max_drop` since the pinning is certain."""
    lost += gone
    if (lost - won) / documents < MAX_DROP:
        return False
    gains = np.zeros(documents)
    gains[:lost], gains[lost : lost + won] = -1.0, 1.0
    return -mean_upper_bound(gains, worst=1.0, alpha=ALPHA * PINNED_SHARE) >= MAX_DROP


# ------------------------------------------------------------------------------------------------------- tables


def main(arguments: Sequence[str] | None = None) -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the draws")
    scale = 0.1 if parser.parse_args(arguments).quick else 1.0
    out = sys.stdout.write
    out("| refreshes | red, if the best is kept | red, if a difference needs a reason |\n| ---: | ---: | ---: |\n")
    for refreshes in (0, 5, 20, 100):
        shares = [
            red_after(refreshes, keeps_best=best, documents=1319, draws=round(4000 * scale), seed=refreshes) for best in (True, False)
        ]
        out(f"| {refreshes} | {shares[0]:.1%} | {shares[1]:.1%} |\n")
    out("\n| documents | points lost a time | gone when first red, --baseline alone | with --baseline-pinned |\n")
    out("| ---: | ---: | ---: | ---: |\n")
    for documents, draws in ((1319, 400), (14042, 200)):
        for step in (0.002, 0.004, 0.008):
            cells = [
                loss_when_seen(step, pinned=pinned, documents=documents, draws=round(draws * scale), seed=7) for pinned in (False, True)
            ]
            shown = " | ".join(f"{cell.median:.1f} (90 %: {cell.most:.1f})" for cell in cells)
            out(f"| {documents:,} | {100 * step:.1f} | {shown} |\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
