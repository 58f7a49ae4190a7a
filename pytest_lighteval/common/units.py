"""Which of many things belong together: what shares a label, directly or through others, is one unit."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence


def linked(labels: Iterable[Iterable[Hashable]]) -> list[int]:
    """The unit of each thing, numbered from 0 in order of first appearance. `labels`: those of each thing; it may have none."""
    parents: list[int] = []
    holder: dict[Hashable, int] = {}
    for thing, own in enumerate(labels):
        parents.append(thing)
        for label in own:
            other = _root(parents, holder.setdefault(label, thing))
            mine = _root(parents, thing)
            # the first thing of a unit is its root
            parents[max(mine, other)] = min(mine, other)
    numbers: dict[int, int] = {}
    return [numbers.setdefault(_root(parents, thing), len(numbers)) for thing in range(len(parents))]


def _root(parents: list[int], thing: int) -> int:
    while parents[thing] != thing:
        parents[thing] = parents[parents[thing]]
        thing = parents[thing]
    return thing


def members(units: Sequence[int]) -> list[list[int]]:
    """The things of each unit, in order."""
    found: list[list[int]] = [[] for _ in range(max(units, default=-1) + 1)]
    for thing, unit in enumerate(units):
        found[unit].append(thing)
    return found
