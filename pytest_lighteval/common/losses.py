"""A loss as a user writes it (`0.02`, `2pt`), and what is wrong with one for a certain metric."""

from __future__ import annotations

import math
import re

from pytest_lighteval.types import CorpusMetric

_POINTS = re.compile(r"([0-9]*\.?[0-9]+) ?pt")
_PERCENT = re.compile(r"([0-9]*\.?[0-9]+) ?(?:%|percent)")
TWO_POINTS = "two points are 0.02 or 2pt"


class Points(float):
    """A loss that was written in points, hundredths of a score between 0 and 1: `2pt` is 0.02."""


def parse_loss(text: str) -> float:
    """The loss that a text means. Raises ValueError, which says what to write, for anything that is no finite number."""
    text = text.strip()
    if points := _POINTS.fullmatch(text):
        # divided, not multiplied: 3 * 0.01 is not 0.03
        return Points(float(points[1]) / 100)
    if percent := _PERCENT.fullmatch(text):
        number = float(percent[1])
        raise ValueError(
            f"{text} has two readings: {number:g} points of the score are written {number / 100:g} or {number:g}pt; "
            f"{number:g} % of the baseline's score are to be computed, {0.6 * number / 100:g} for a score of 0.6"
        )
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is no number, like 0.02")
    return number


def share_problem(loss: float) -> str | None:
    """What is wrong with a loss as a share, the unit of the options. None: nothing."""
    return None if loss < 1 else f"{loss:g} is {100 * loss:g} points, so that no loss would be red: {TWO_POINTS}"


def unit_problem(loss: float, metric: str, corpus: CorpusMetric) -> str | None:
    """What is wrong with a loss as that of a gate, in its metric's own unit. None: nothing."""
    if corpus.within_one:
        return share_problem(loss)
    if isinstance(loss, Points):
        return f"{100 * loss:g}pt is for scores between 0 and 1, and {metric} is not such a score: write the loss in its own unit"
    if corpus.range is not None and loss >= corpus.range[1] - corpus.range[0]:
        return f"{loss:g} is all that {metric} can lose ({corpus.range[0]:g} to {corpus.range[1]:g}), so that no loss would be red"
    return None
