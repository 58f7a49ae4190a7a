"""Places for rows that come and go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_lighteval.backends.accelerate.generation.slots import Slots


@given(st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(0, 9), max_size=4)), max_size=12))
def test_what_lies_in_a_slot_is_its_rows_however_rows_come_and_go(rounds: list[tuple[int, list[int]]]) -> None:
    slots = Slots[str]()
    memory: dict[int, str] = {}
    present: list[str] = []
    for number, (come, go) in enumerate(rounds):
        for place in go:
            if present:
                slots.take_out(present.pop(place % len(present)))
        for new in range(come):
            name = f"{number}.{new}"
            memory[slots.put(name)] = name
            present.append(name)
        for source, target, row in slots.close_gaps():
            assert memory[source] == row
            memory[target] = memory[source]

        assert sorted(slots.rows) == sorted(present)
        assert len(slots) == len(present)
        assert [memory[slot] for slot in range(len(slots))] == slots.rows


def test_a_new_row_takes_the_first_gap_and_nobody_moves() -> None:
    slots = Slots[str]()
    for row in "abcd":
        slots.put(row)
    slots.take_out("b")
    slots.take_out("d")

    assert slots.put("e") == 1
    assert slots.close_gaps() == []
    assert slots.rows == ["a", "e", "c"]


def test_the_last_row_closes_a_gap_that_nobody_fills() -> None:
    slots = Slots[str]()
    for row in "abcde":
        slots.put(row)
    slots.take_out("a")
    slots.take_out("d")

    assert slots.close_gaps() == [(4, 0, "e")]
    assert slots.rows == ["e", "b", "c"]


def test_a_row_that_is_not_there_cannot_leave() -> None:
    with pytest.raises(ValueError, match="is not in list"):
        Slots[str]().take_out("a")
