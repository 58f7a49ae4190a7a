"""Programs a second are measured for each kind of sandbox that is here."""

from __future__ import annotations

from benchmarks import sandbox


def test_every_row_has_both_workloads_and_the_page_has_a_place_for_them() -> None:
    header, plain, *kinds = sandbox.measure(2)

    assert len(header) == len(plain) == 3
    assert kinds[-1][0] == "`none`"
    assert sandbox.PAGE.read_text("utf-8").count(sandbox.BEGIN) == 1
