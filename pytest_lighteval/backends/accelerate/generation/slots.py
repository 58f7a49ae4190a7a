"""Slots for rows that come and go: which are taken, which is filled next, and how gaps are closed. Plain Python, without torch."""

from __future__ import annotations

from typing import Generic, TypeVar

Item = TypeVar("Item")


class Slots(Generic[Item]):
    """Rows by slot. A row leaves a gap, which the next row fills. If there is no next row, the last row moves into the gap."""

    def __init__(self) -> None:
        self._slots: list[Item | None] = []

    def __len__(self) -> int:
        """How many rows there are."""
        return sum(one is not None for one in self._slots)

    @property
    def rows(self) -> list[Item]:
        """In the order of the slots. Only without gaps is a row's index here its slot."""
        return [one for one in self._slots if one is not None]

    def put(self, row: Item) -> int:
        """Put the row into the first gap, or after the last row. Returns the slot."""
        for slot, one in enumerate(self._slots):
            if one is None:
                self._slots[slot] = row
                return slot
        self._slots.append(row)
        return len(self._slots) - 1

    def take_out(self, row: Item) -> None:
        """Take the row out, which leaves a gap. Raises ValueError if it is not there."""
        self._slots[self._slots.index(row)] = None

    def close_gaps(self) -> list[tuple[int, int, Item]]:
        """Move the last rows into the gaps, so that the index in `rows` is the slot. Returns the moves in order: (from, to, row)."""
        moves: list[tuple[int, int, Item]] = []
        while None in self._slots:
            last = self._slots.pop()
            if last is not None:
                gap = self._slots.index(None)
                self._slots[gap] = last
                moves.append((len(self._slots), gap, last))
        return moves
