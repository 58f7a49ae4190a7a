"""Rows that come back exactly as they were, or not at all."""

from __future__ import annotations

import datetime
import decimal
import os
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.data.row_cache import RowCache

ROWS: list[tuple[int, dict[str, Any]]] = [
    (0, {"text": "Ünï\u2028code \x00", "number": 3, "share": 0.1 + 0.2, "is": True, "none": None, "raw": b"\xff\x00"}),
    (7, {"text": "", "number": -(2**63), "share": float("inf"), "nested": {"choices": [["a", 1], []]}, "large": 2**64 - 1}),
]


def row_cache(folder: Path, limit_bytes: int = 10**6) -> RowCache:
    return RowCache(folder, limit_bytes=limit_bytes)


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_rows_come_back_as_they_were_under_their_identity_alone(tmp_path: Path) -> None:
    row_cache(tmp_path).save(("files", 1, None), ROWS)

    found = row_cache(tmp_path).load(("files", 1, None))
    assert found == ROWS
    assert repr(found) == repr(ROWS)
    assert row_cache(tmp_path).load(("files", "1", None)) is None


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(datetime.date(2020, 1, 2), id="date"),
        pytest.param(datetime.datetime(2020, 1, 2, 3), id="datetime"),
        pytest.param(decimal.Decimal("1.10"), id="decimal"),
        pytest.param((1, 2), id="tuple"),
        pytest.param({1: "a"}, id="key-of-another-type"),
        pytest.param(2**64, id="large-number"),
        pytest.param("\ud800", id="half-a-surrogate-pair"),
    ],
)
def test_what_would_come_back_different_is_not_kept(tmp_path: Path, value: Any) -> None:
    row_cache(tmp_path).save(("it",), [(0, {"column": ["plain", value]})])

    assert row_cache(tmp_path).load(("it",)) is None


@pytest.mark.parametrize("damage", [lambda content: content[:-3], lambda content: content[:40] + b"x" + content[41:], lambda content: b""])
def test_a_damaged_file_is_as_good_as_none_and_is_replaced(tmp_path: Path, damage: Any) -> None:
    row_cache(tmp_path).save(("it",), ROWS)
    path = only_file(tmp_path)
    path.write_bytes(damage(path.read_bytes()))

    assert row_cache(tmp_path).load(("it",)) is None
    row_cache(tmp_path).save(("it",), ROWS)
    assert row_cache(tmp_path).load(("it",)) == ROWS


def test_a_folder_that_cannot_be_made_costs_only_time(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    row_cache(tmp_path / "file" / "data").save(("it",), ROWS)

    assert row_cache(tmp_path / "file" / "data").load(("it",)) is None


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    rows = [(0, {"text": "x" * 1000})]
    for name, used in (("old", 1_000), ("older, but used", 500), ("newer", 2_000)):
        before = set(tmp_path.glob("*.rows"))
        row_cache(tmp_path).save((name,), rows)
        (path,) = set(tmp_path.glob("*.rows")) - before
        os.utime(path, (used, used))
    assert row_cache(tmp_path).load(("older, but used",)) == rows

    row_cache(tmp_path, limit_bytes=3_300).save(("newest",), rows)

    kept = [name for name in ("old", "older, but used", "newer", "newest") if row_cache(tmp_path).load((name,)) is not None]
    assert kept == ["older, but used", "newer", "newest"]


def test_rows_larger_than_the_limit_are_not_kept(tmp_path: Path) -> None:
    row_cache(tmp_path, limit_bytes=100).save(("it",), [(0, {"text": "x" * 1000})])

    assert not list(tmp_path.iterdir())
