"""Soft scores: by how much a document was right or wrong. They move before an answer does, so fewer documents show a loss.

Every soft score is on a grid of 16 bits, the numbers of half precision (IEEE 754 binary16): a baseline keeps two bytes for each, and the
numbers of a run are rounded to the same grid before they are compared.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Collection, Sequence

LARGEST = 65504.0
"""The largest number of the grid. What is further from 0, infinities included, is this."""


def on_grid(value: float) -> float:
    """The nearest number of the grid. The rule is odd: minus a number becomes minus its value. Not-a-number becomes 0: no lead."""
    if math.isnan(value):
        return 0.0
    (rounded,) = struct.unpack("<e", struct.pack("<e", min(max(value, -LARGEST), LARGEST)))
    return float(rounded)


def soft_margin(numbers: Sequence[float], right: Collection[int], *, depth: int = 1) -> float:
    """By how much the best right choice leads the best wrong one, on the grid. `LARGEST` if no wrong choice can beat it.

    Args:
        numbers: of the choices, in the unit in which the metric compares them (nats, nats per character, ...).
        right: places of the right choices; one at least.
        depth: the metric counts a document as right if a right choice is among so many best ones. The lead is over that wrong choice.
    """
    best = max(numbers[place] for place in right)
    wrong = sorted((number for place, number in enumerate(numbers) if place not in right), reverse=True)
    return on_grid(best - wrong[depth - 1]) if len(wrong) >= depth else LARGEST
