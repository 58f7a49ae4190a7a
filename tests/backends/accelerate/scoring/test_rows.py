"""Rows that answer pairs, planned without torch."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_lighteval.backends.accelerate.scoring.rows import Row, plan_rows
from pytest_lighteval.backends.accelerate.scoring.scores import TargetTokens
from pytest_lighteval.backends.common.token_pairs import TokenPair

TOKENS = st.lists(st.integers(0, 3), min_size=1, max_size=6).map(tuple)


def test_one_token_choices_after_one_context_share_a_row() -> None:
    pairs = [TokenPair(context=(5, 6), continuation=(token,)) for token in (7, 8)] + [TokenPair(context=(5, 6), continuation=(7, 9))]

    assert plan_rows(pairs) == [
        Row(tokens=(5, 6, 7), targets=(TargetTokens(owner=2, first=1, tokens=(7, 9)),)),
        Row(tokens=(5, 6), targets=(TargetTokens(owner=0, first=1, tokens=(7,)), TargetTokens(owner=1, first=1, tokens=(8,)))),
    ]


@given(pairs=st.lists(st.builds(TokenPair, context=TOKENS, continuation=TOKENS), max_size=12))
def test_every_pair_is_scored_once_in_a_row_that_is_its_input(pairs: list[TokenPair]) -> None:
    rows = plan_rows(pairs)

    assert sorted(target.owner for row in rows for target in row.targets) == list(range(len(pairs)))
    assert len({row.tokens for row in rows}) == len(rows)
    assert [len(row.tokens) for row in rows] == sorted((len(row.tokens) for row in rows), reverse=True)
    for row in rows:
        for target in row.targets:
            pair = pairs[target.owner]
            assert row.tokens == pair.context + pair.continuation[:-1]
            assert (target.first, target.tokens) == (len(pair.context) - 1, pair.continuation)
        assert row.size == (len(row.tokens), len(row.tokens) - min(target.first for target in row.targets))
