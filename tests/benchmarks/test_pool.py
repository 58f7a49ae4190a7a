"""The benchmark of the pool runs in a small form, and its page has a place for the table."""

from __future__ import annotations

import pytest

from benchmarks import pool


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> pool.Options:
    monkeypatch.setattr(pool, "SECONDS_A_REQUEST", 0.001)
    monkeypatch.setattr(pool, "SIMULATED", 4)
    return pool.Options(model="", data_home=None, documents=1, requests=200, killed_documents=4000, seconds_between_kills=1.0)


@pytest.mark.parametrize("part", ["many", "killed"])
def test_engines_that_sleep_are_measured(small: pool.Options, part: str) -> None:
    rows = list(pool.PARTS[part](small))

    assert [len(row) for row in rows] == [3] * {"many": 1, "killed": 3}[part]


def test_the_page_has_a_place_for_the_table() -> None:
    text = pool.DOCUMENT.read_text("utf-8")

    assert (text.count(pool.BEGIN), text.count(pool.END)) == (1, 1)
