"""Batches within limits, planned without torch."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from pytest_lighteval.backends.accelerate.batches import UNLIMITED, BatchLimits, BatchResult, TooBig, run_in_batches


def up_to(most: int) -> st.SearchStrategy[int]:
    """A limit, or none."""
    return st.just(UNLIMITED) | st.integers(1, most)


@given(
    lengths=st.lists(st.integers(1, 20), max_size=30),
    limits=st.builds(BatchLimits, rows=up_to(5), tokens=up_to(60), logits=up_to(60)),
    room=st.integers(1, 80),
)
def test_every_item_runs_once_within_the_limits_with_any_amount_of_memory(lengths: list[int], limits: BatchLimits, room: int) -> None:
    items = sorted(enumerate(lengths), key=lambda item: -item[1])
    sizes = []

    def run(batch: Sequence[tuple[int, int]]) -> list[int] | None:
        padded = len(batch) * max(length for _, length in batch)
        if padded > room:
            return None
        sizes.append(len(batch))
        assert len(batch) == 1 or limits.allow(rows=len(batch), tokens=padded, logits=len(batch))
        return [index for index, _ in batch]

    done = list(run_in_batches(items, lambda item: (item[1], 1), limits, run))

    ran = [item for batch in done if isinstance(batch, BatchResult) for item in batch.items]
    refused = [item for batch in done if isinstance(batch, TooBig) for item in batch.items]
    assert sorted(ran + refused) == sorted(items)
    assert all(length > room for _, length in refused)
    assert [index for batch in done if isinstance(batch, BatchResult) for index in batch.result] == [index for index, _ in ran]


def test_a_batch_that_did_not_fit_runs_again_in_halves_and_later_ones_are_no_bigger() -> None:
    batches: list[list[int]] = []
    shrunk: list[int] = []

    def run(batch: Sequence[int]) -> list[int] | None:
        batches.append(list(batch))
        return None if len(batch) > 2 else list(batch)

    done = list(run_in_batches(list(range(10)), lambda item: (4, 1), BatchLimits(tokens=32), run, shrunk.append))

    assert batches == [list(range(8)), [0, 1, 2, 3], [0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    assert shrunk == [4, 2]
    assert [item for batch in done if isinstance(batch, BatchResult) for item in batch.items] == list(range(10))
