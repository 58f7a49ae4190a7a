"""What two sequences both start with, compared with counting item by item."""

from __future__ import annotations

from itertools import takewhile

from hypothesis import given
from hypothesis import strategies as st

from pytest_lighteval.backends.common.prefixes import common_prefix

TOKENS = st.lists(st.integers(0, 1), max_size=12).map(tuple)


@given(one=TOKENS, other=TOKENS, shared=TOKENS)
def test_the_common_prefix_is_as_long_as_items_are_equal(one: tuple[int, ...], other: tuple[int, ...], shared: tuple[int, ...]) -> None:
    one, other = shared + one, shared + other

    expected = sum(1 for _ in takewhile(lambda items: items[0] == items[1], zip(one, other, strict=False)))
    assert common_prefix(one, other) == expected
    assert common_prefix(bytes(one), bytes(other)) == expected
