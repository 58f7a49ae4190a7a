"""Things that share a label are one unit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_lighteval.common.units import linked, members


def test_a_label_links_things_directly_and_through_others() -> None:
    assert linked([["a"], ["b"], [], ["b", "c"], ["c", "a"], ["d"]]) == [0, 0, 1, 0, 0, 2]


def test_nothing_has_no_units() -> None:
    assert (linked([]), members([])) == ([], [])


def test_members_are_the_things_of_each_unit_in_order() -> None:
    assert members([0, 1, 0, 2, 1]) == [[0, 2], [1, 4], [3]]


@given(st.lists(st.sets(st.integers(0, 6), max_size=3), max_size=12))
def test_units_are_the_smallest_groups_without_a_common_label(labels: list[set[int]]) -> None:
    groups: list[set[int]] = []
    for own in labels:
        touching = [group for group in groups if group & own]
        groups = [group for group in groups if not group & own] + [set().union(own, *touching)]

    units = linked(labels)

    for first, one in enumerate(labels):
        for second, other in enumerate(labels):
            together = any(one <= group and other <= group for group in groups) if one and other else first == second
            assert (units[first] == units[second]) is together
    assert list(dict.fromkeys(units)) == list(range(len(set(units))))
