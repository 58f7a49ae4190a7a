"""Rows of ETHICS (https://arxiv.org/abs/2008.02275)."""

from __future__ import annotations

import random
from typing import Any


def order_scenarios(row: dict[str, Any]) -> dict[str, Any]:
    """`first` and `second`, the two scenarios in an order drawn from the text of the better one, and `gold`, 1 if that is the first.

    The order is that of the EleutherAI evaluation harness (v0.3), which Lighteval took over.
    """
    scenarios = [row["activity"], row["baseline"]]
    order = [0, 1]
    random.Random(row["activity"]).shuffle(order)
    first, second = (scenarios[place] for place in order)
    return {**row, "first": first, "second": second, "gold": int(order[0] == 0)}
