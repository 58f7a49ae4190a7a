"""Packed columns come back exactly, in as little text as documented; damage is noticed."""

from __future__ import annotations

import json
import math
import re
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_lighteval.baselines.packing import (
    PackingError,
    pack_column,
    pack_digests,
    pack_ids,
    unpack_column,
    unpack_digests,
    unpack_ids,
)

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([0.0, 1.0, -0.0, 0, 1, True, False, "1", "nan"])
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=5)


def exact(value: Any) -> Any:
    """A key in which 1, 1.0 and True differ, as 0.0 and -0.0 do, and not-a-number equals itself."""
    if isinstance(value, tuple):
        return tuple(exact(member) for member in value)
    if isinstance(value, float):
        return ("float", "nan" if math.isnan(value) else struct.pack("<d", value))
    return (type(value).__name__, value)


def through_json(packed: Any) -> Any:
    return json.loads(json.dumps(packed, allow_nan=False))


@settings(deadline=None)
@given(st.lists(values, max_size=30))
def test_any_column_comes_back_exactly(column: list[Any]) -> None:
    back = unpack_column(through_json(pack_column(column)), len(column))

    assert exact(tuple(back)) == exact(tuple(column))


@settings(deadline=None)
@given(st.integers(1, 4).flatmap(lambda width: st.lists(st.none() | st.tuples(*[scalars] * width), max_size=20)))
def test_tuples_of_equal_length_come_back_exactly(column: list[Any]) -> None:
    back = unpack_column(through_json(pack_column(column)), len(column))

    assert exact(tuple(back)) == exact(tuple(column))


@settings(deadline=None)
@given(st.lists(st.floats() | st.floats(0, 1, width=16), min_size=1, max_size=50))
def test_floats_come_back_bit_for_bit(column: list[float]) -> None:
    assert exact(tuple(unpack_column(through_json(pack_column(column)), len(column)))) == exact(tuple(column))


ids = st.builds(
    lambda split, row, part: f"{split}:{row}" + ("" if part is None else f":{part}"),
    st.text(min_size=1, max_size=6) | st.sampled_from(["test", "a:1", "validation"]),
    st.integers(0, 10**16),
    st.none() | st.integers(0, 99),
)


@settings(deadline=None)
@given(st.lists(ids, max_size=20) | st.lists(ids | st.text(max_size=8), max_size=20))
def test_any_ids_come_back(documents: list[str]) -> None:
    assert unpack_ids(through_json(pack_ids(documents)), len(documents)) == tuple(documents)


@settings(deadline=None)
@given(st.lists(st.binary(min_size=6, max_size=6).map(bytes.hex), max_size=20))
def test_digests_come_back(digests: list[str]) -> None:
    assert unpack_digests(pack_digests(digests), len(digests)) == tuple(digests)


def test_a_zero_one_score_takes_one_bit() -> None:
    assert pack_column([1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0]) == {"values": [0.0, 1.0], "packed": "nIA="}


def test_a_column_of_one_value_takes_no_room() -> None:
    assert pack_column([0] * 1000) == {"values": [0], "packed": ""}


def test_row_numbers_take_the_bits_of_the_largest() -> None:
    packed = pack_column(list(range(1000, 1100)))

    assert (packed["least"], packed["bits"]) == (1000, 7)


def test_graded_scores_that_all_differ_take_eight_bytes_each() -> None:
    column = [math.sqrt(number) for number in range(300)]

    assert list(pack_column(column)) == ["float64"]
    assert len(pack_column(column)["float64"]) == 300 * 8 * 4 // 3


def test_tuples_are_packed_by_their_places() -> None:
    packed = pack_column([(3, 1.5), (4, 1.5), None])

    assert packed == {
        "columns": [{"values": [3, 4, None], "packed": packed["columns"][0]["packed"]}, {"values": [1.5, None], "packed": "IA=="}]
    }


def test_a_number_that_is_not_finite_is_written_as_a_text() -> None:
    assert pack_column([math.inf] * 9) == {"values": [{"float": "inf"}], "packed": ""}


def test_numpys_numbers_are_kept_as_pythons() -> None:
    assert exact(tuple(unpack_column(pack_column([np.float64(0.25), np.int64(3), (np.bool_(True), 1)]), 3))) == exact((0.25, 3, (True, 1)))


def test_what_is_neither_number_nor_text_is_refused() -> None:
    with pytest.raises(TypeError, match="a dict cannot be kept in a baseline"):
        pack_column([{"a": 1}])


@pytest.mark.parametrize("digest", ["abc", "ABCDEF012345", "abcdef0123456789", "nothexdigits"], ids=["short", "upper", "long", "no hex"])
def test_what_is_no_digest_is_refused(digest: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # bytes.fromhex has its own words
        pack_digests([digest])


@pytest.mark.parametrize(
    ("packed", "problem"),
    [
        ({"values": [0.0, 1.0], "packed": "nI"}, "is not base64"),
        ({"values": [0.0, 1.0], "packed": "nIA="}, "holds 2 bytes where 1 are needed"),
        ({"values": [0, 1, 2], "packed": "//8="}, "a row has none of the 3 values"),
        ({"values": [], "packed": ""}, "a row has none of the 0 values"),
        ({"values": [{"float": "big"}], "packed": ""}, '{"float": "big"} is no value'),
        ({"least": 0, "bits": 99, "packed": ""}, "is no packed column"),
        ({"float64": "AAAA"}, "holds 3 bytes where 64 are needed"),
        ({"values": [0], "packed": "", "more": 1}, "is no packed column"),
        ([1, 2], "is no packed column"),
        (None, "is no packed column"),
    ],
    ids=["no base64", "too long", "index", "empty", "float", "bits", "short floats", "further field", "list", "null"],
)
def test_a_damaged_column_is_refused(packed: Any, problem: str) -> None:
    with pytest.raises(PackingError, match=re.escape(problem)):
        unpack_column(packed, 8)


def test_damaged_ids_are_refused() -> None:
    with pytest.raises(PackingError, match="holds 1 texts where 2 are needed"):
        unpack_ids({"texts": ["a"]}, 2)
    with pytest.raises(PackingError, match="holds no ids"):
        unpack_ids({"row": 1}, 2)
