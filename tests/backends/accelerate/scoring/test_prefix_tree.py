"""The plan of a prefix tree, compared with brute force: what every token sees, what is scored where, and in which order it runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_lighteval.backends.accelerate.batches import UNLIMITED, BatchLimits, BatchResult, TooBig
from pytest_lighteval.backends.accelerate.scoring.prefix_tree import Piece, TreePlan, plan_tree, run_plan
from pytest_lighteval.backends.common.token_pairs import TokenPair

TOKENS = st.lists(st.integers(0, 2), min_size=1, max_size=7).map(tuple)
PAIRS = st.lists(st.builds(TokenPair, context=TOKENS, continuation=TOKENS), max_size=14)
WASTE = st.integers(0, 6)
AMPLE = BatchLimits(tokens=1000, logits=1000, kept=1000)


def model_input(pair: TokenPair) -> tuple[int, ...]:
    return pair.context + pair.continuation[:-1]


def seen_by(plan: TreePlan, piece: Piece, place: int) -> tuple[int, ...]:
    """The sequence that the token at a place sees, itself included, in the order of positions."""
    front = [token for stem in piece.stems for token in plan.pieces[stem].tokens]
    within = [(piece.depths[j], piece.tokens[j]) for j in range(place + 1) if place < piece.ends[j]]

    assert [depth for depth, _ in within] == list(range(piece.start, piece.start + len(within)))
    assert len(front) == piece.start
    return (*front, *(token for _, token in within))


@given(pairs=PAIRS, waste=WASTE, most=st.integers(1, 12))
def test_every_token_of_the_tree_is_planned_once_and_sees_its_own_prefix(pairs: list[TokenPair], waste: int, most: int) -> None:
    plan = plan_tree(pairs, tolerated_waste=waste, most_tokens=most)

    prefixes = {model_input(pair)[: length + 1] for pair in pairs for length in range(len(model_input(pair)))}
    seen = Counter(seen_by(plan, piece, place) for piece in plan.pieces for place in range(len(piece.tokens)))
    assert seen == Counter(prefixes)
    assert sum(len(piece.tokens) for piece in plan.pieces) == len(prefixes)
    assert all(len(piece.tokens) <= most for piece in plan.pieces)


@given(pairs=PAIRS, waste=WASTE, most=st.integers(1, 12))
def test_every_target_is_scored_once_after_exactly_what_precedes_it(pairs: list[TokenPair], waste: int, most: int) -> None:
    plan = plan_tree(pairs, tolerated_waste=waste, most_tokens=most)

    scored = Counter(
        (target.owner, token, seen_by(plan, piece, place))
        for piece in plan.pieces
        for target in piece.targets
        for place, token in zip(target.places, target.tokens, strict=True)
    )
    assert scored == Counter(
        (owner, token, pair.context + pair.continuation[:step])
        for owner, pair in enumerate(pairs)
        for step, token in enumerate(pair.continuation)
    )


@given(pairs=PAIRS, waste=WASTE, most=st.integers(1, 12))
def test_only_stems_have_pieces_after_them_and_pieces_know_their_shape(pairs: list[TokenPair], waste: int, most: int) -> None:
    plan = plan_tree(pairs, tolerated_waste=waste, most_tokens=most)

    for number, piece in enumerate(plan.pieces):
        assert piece.is_stem == bool(plan.children[number])
        assert piece.is_chain == all(end == len(piece.tokens) for end in piece.ends)
        assert not piece.is_stem or piece.is_chain
        assert all(plan.pieces[child].stems == (*piece.stems, number) for child in plan.children[number])
        assert piece.scored_places == sorted({place for target in piece.targets for place in target.places})
    assert sorted([*plan.roots, *(child for children in plan.children for child in children)]) == list(range(len(plan.pieces)))


def test_few_shots_become_a_stem_and_a_document_with_its_choices_one_piece() -> None:
    shots = tuple(range(100, 400))
    pairs = [
        TokenPair(context=(*shots, document, document), continuation=continuation)
        for document in range(80)
        for continuation in ((7, 8, 9), (7, 8, 5), (6, 1), (2,), (3,))
    ]

    plan = plan_tree(pairs)

    stem, *documents = plan.pieces
    assert (stem.tokens, stem.is_stem, stem.targets) == (shots, True, ())
    assert len(documents) == 80
    # two of the document, then `6` of one choice, and `7 8` of the two that share it
    assert {(len(piece.tokens), piece.stems, piece.start) for piece in documents} == {(5, (0,), 300)}
    assert documents[0].tokens == (0, 0, 6, 7, 8)
    assert documents[0].depths == (300, 301, 302, 302, 303)
    assert documents[0].ends == (5, 5, 3, 5, 5)


def test_a_single_document_is_not_cut() -> None:
    pairs = [TokenPair(context=tuple(range(500)), continuation=(1, 2, choice, 3)) for choice in range(4)]

    assert len(plan_tree(pairs).pieces) == 1


def test_no_pairs_are_no_pieces() -> None:
    plan = plan_tree([])

    assert (plan, list(run_plan(plan, AMPLE, list))) == (TreePlan(pieces=(), children=(), roots=()), [])


@given(
    pairs=PAIRS,
    limits=st.builds(
        BatchLimits,
        tokens=st.integers(1, 30),
        logits=st.integers(1, 30),
        kept=st.integers(1, 30),
        rows=st.just(UNLIMITED) | st.integers(1, 4),
    ),
    room=st.integers(1, 40),
)
def test_every_piece_runs_once_after_its_stems_with_any_amount_of_memory(pairs: list[TokenPair], limits: BatchLimits, room: int) -> None:
    plan = plan_tree(pairs, tolerated_waste=0)
    kept: set[int] = set()

    def tokens_of(numbers: Iterable[int]) -> int:
        return sum(len(plan.pieces[number].tokens) for number in numbers)

    def run(numbers: Sequence[int]) -> list[int] | None:
        assert all(stem in kept for number in numbers for stem in plan.pieces[number].stems)
        if tokens_of(numbers) > room:
            return None
        if len(numbers) > 1:
            assert tokens_of(numbers) <= limits.tokens
            assert len(numbers) <= limits.rows
            assert sum(len(plan.pieces[number].scored_places) for number in numbers) <= limits.logits
        kept.update(number for number in numbers if plan.pieces[number].is_stem)
        return list(numbers)

    def release(stems: Iterable[int]) -> None:
        kept.difference_update(stems)

    done = list(run_plan(plan, limits, run, release))

    ran = [number for batch in done if isinstance(batch, BatchResult) for number in batch.items]
    refused = [number for batch in done if isinstance(batch, TooBig) for number in batch.items]
    assert sorted(ran + refused) == list(range(len(plan.pieces)))
    assert all(any(len(plan.pieces[front].tokens) > room for front in (number, *plan.pieces[number].stems)) for number in refused)
    assert not kept


def test_a_batch_that_did_not_fit_runs_again_in_halves_and_later_ones_are_no_bigger() -> None:
    plan = plan_tree([TokenPair(context=(first, 1, 1, 1), continuation=(1,)) for first in range(6)], tolerated_waste=0)
    batches: list[int] = []
    shrunk: list[int] = []

    def run(numbers: Sequence[int]) -> list[int] | None:
        batches.append(len(numbers))
        return None if len(numbers) > 2 else list(numbers)

    done = list(run_plan(plan, AMPLE, run, on_shrink=shrunk.append))

    assert batches == [6, 3, 1, 1, 1, 1, 1, 1]
    assert shrunk == [12, 4]
    assert [batch.items for batch in done] == [(number,) for number in range(6)]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_pieces_run_longest_first(count: int) -> None:
    pairs = [TokenPair(context=(first, *range(first)), continuation=(1,)) for first in range(1, 6)]
    plan = plan_tree(pairs, tolerated_waste=0)

    batches = list(run_plan(plan, BatchLimits(tokens=1000, logits=1000, kept=1000, rows=count), list))

    lengths = [len(plan.pieces[number].tokens) for batch in batches for number in batch.items]
    assert lengths == [6, 5, 4, 3, 2]
