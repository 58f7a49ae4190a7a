"""Rows and batches, planned without torch."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from pytest_lighteval.backends.accelerate.scoring.row_batches import Ask, Batch, Limits, Row, TooBig, plan_rows, run_in_batches
from pytest_lighteval.backends.common.token_pairs import TokenPair

TOKENS = st.lists(st.integers(0, 3), min_size=1, max_size=6).map(tuple)


def test_one_token_choices_behind_one_context_share_a_row() -> None:
    pairs = [TokenPair(context=(5, 6), continuation=(token,)) for token in (7, 8)] + [TokenPair(context=(5, 6), continuation=(7, 9))]

    assert plan_rows(pairs) == [
        Row(tokens=(5, 6, 7), asks=(Ask(owner=2, first=1, targets=(7, 9)),)),
        Row(tokens=(5, 6), asks=(Ask(owner=0, first=1, targets=(7,)), Ask(owner=1, first=1, targets=(8,)))),
    ]


@given(pairs=st.lists(st.builds(TokenPair, context=TOKENS, continuation=TOKENS), max_size=12))
def test_every_pair_is_asked_once_of_a_row_that_feeds_it(pairs: list[TokenPair]) -> None:
    rows = plan_rows(pairs)

    assert sorted(ask.owner for row in rows for ask in row.asks) == list(range(len(pairs)))
    assert len({row.tokens for row in rows}) == len(rows)
    assert [len(row.tokens) for row in rows] == sorted((len(row.tokens) for row in rows), reverse=True)
    for row in rows:
        for ask in row.asks:
            pair = pairs[ask.owner]
            assert row.tokens == pair.context + pair.continuation[:-1]
            assert (ask.first, ask.targets) == (len(pair.context) - 1, pair.continuation)
        assert row.asked_from == min(ask.first for ask in row.asks)


@given(
    lengths=st.lists(st.integers(1, 20), max_size=30),
    limits=st.builds(
        Limits, rows=st.none() | st.integers(1, 5), tokens=st.none() | st.integers(1, 60), logits=st.none() | st.integers(1, 60)
    ),
    room=st.integers(1, 80),
)
def test_every_item_runs_once_within_the_limits_whatever_memory_there_is(lengths: list[int], limits: Limits, room: int) -> None:
    items = sorted(enumerate(lengths), key=lambda item: -item[1])
    sizes = []

    def run(batch: Sequence[tuple[int, int]]) -> list[int] | None:
        padded = len(batch) * max(length for _, length in batch)
        if padded > room:
            return None
        sizes.append(len(batch))
        assert len(batch) == 1 or limits.allow(len(batch), max(length for _, length in batch), 1)
        return [index for index, _ in batch]

    done = list(run_in_batches(items, lambda item: (item[1], 1), limits, run))

    ran = [item for batch in done if isinstance(batch, Batch) for item in batch.items]
    refused = [batch.item for batch in done if isinstance(batch, TooBig)]
    assert sorted(ran + refused) == sorted(items)
    assert all(length > room for _, length in refused)
    assert [index for batch in done if isinstance(batch, Batch) for index in batch.results] == [index for index, _ in ran]


def test_a_batch_that_did_not_fit_runs_again_in_halves_and_later_ones_are_no_bigger() -> None:
    batches: list[list[int]] = []
    shrunk: list[int] = []

    def run(batch: Sequence[int]) -> list[int] | None:
        batches.append(list(batch))
        return None if len(batch) > 2 else list(batch)

    done = list(run_in_batches(list(range(10)), lambda item: (4, 1), Limits(tokens=32), run, shrunk.append))

    assert batches == [list(range(8)), [0, 1, 2, 3], [0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    assert shrunk == [4, 2]
    assert [item for batch in done if isinstance(batch, Batch) for item in batch.items] == list(range(10))
