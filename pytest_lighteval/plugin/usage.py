"""What a session's processes used, put together: each says what it used so far. Knows no backend, but for how figures are named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def use_of_all(uses: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts are added up; of a `peak_...` the highest stands, of an `out_of_memory_...` (what a batch was shrunk to) the lowest.

    What is no number stands as the last one that said it has it.
    """
    together: dict[str, Any] = {}
    for use in uses:
        for name, figure in use.items():
            before = together.get(name)
            if not isinstance(before, int | float) or not isinstance(figure, int | float):
                together[name] = before if figure is None else figure
            elif name.startswith("peak_"):
                together[name] = max(before, figure)
            elif name.startswith("out_of_memory_"):
                together[name] = min(before, figure)
            else:
                together[name] = before + figure
    return together
