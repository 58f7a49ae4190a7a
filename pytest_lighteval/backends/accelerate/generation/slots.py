"""Places for rows that come and go: which are taken, which is filled next, and how they are kept without gaps. Plain Python, no torch."""

from __future__ import annotations

from typing import Generic, TypeVar

Item = TypeVar("Item")


class Slots(Generic[Item]):
    """Rows by slot. A row leaves a gap, which the next one fills; gaps that nobody fills are closed from behind."""

    def __init__(self) -> None:
        self._slots: list[Item | None] = []

    def __len__(self) -> int:
        """How many rows there are."""
        return sum(one is not None for one in self._slots)

    @property
    def rows(self) -> list[Item]:
        """By slot; where there is a gap, those behind it are not at their slot's place."""
        return [one for one in self._slots if one is not None]

    def put(self, row: Item) -> int:
        """Into the first gap, else behind the last. Returns the slot."""
        for slot, one in enumerate(self._slots):
            if one is None:
                self._slots[slot] = row
                return slot
        self._slots.append(row)
        return len(self._slots) - 1

    def take_out(self, row: Item) -> None:
        """Leave a gap where the row is. Raises ValueError if it is not there."""
        self._slots[self._slots.index(row)] = None

    def close_gaps(self) -> list[tuple[int, int, Item]]:
        """Move rows from behind into the gaps; afterwards `rows` are by slot. Returns (from, to, row) in order."""
        moves: list[tuple[int, int, Item]] = []
        while None in self._slots:
            last = self._slots.pop()
            if last is not None:
                gap = self._slots.index(None)
                self._slots[gap] = last
                moves.append((len(self._slots), gap, last))
        return moves
