"""The place and the problem are read from msgspec's own messages, whose form is not documented."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pytest_lighteval.common.msgspec_errors import place_and_problem


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    number: int = 0

    def __post_init__(self) -> None:
        if self.number < 0:
            raise ValueError("below zero - at `$.last`")


class Outer(msgspec.Struct):
    entries: list[Inner] = []
    named: dict[str, Inner] = {}
    counts: dict[int, int] = {}


@pytest.mark.parametrize(
    ("value", "place", "problem"),
    [
        (3, "", "Expected `object`, got `int`"),
        ({"entries": [{"number": "a"}]}, "entries[0].number", "Expected `int`, got `str`"),
        ({"entries": [{"nmber": 1}]}, "entries[0]", "Object contains unknown field `nmber`"),
        ({"named": {"a": {"number": "a"}}}, "named[...].number", "Expected `int`, got `str`"),
        ({"counts": {"a": 1}}, "counts", "Expected `int`, got `str` as a key"),
        ({"entries": [{"number": -1}]}, "entries[0]", "below zero - at `$.last`"),
    ],
    ids=["whole", "field", "unknown", "in a mapping", "key", "own check"],
)
def test_a_message_is_taken_apart(value: Any, place: str, problem: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(value, Outer)

    assert place_and_problem(caught.value) == (place, problem)
