"""Requests as pairs of ids that fit, and answers out of the pairs' scores; the texts' tokens are their characters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_lighteval.backends.common.scoring_requests import (
    PairScore,
    TokenizedRequest,
    gather_request_scores,
    loglikelihood_response,
    pairs_of,
    tokenize_choices,
    tokenize_texts,
)
from pytest_lighteval.backends.common.token_pairs import TextPair, TokenPair
from pytest_lighteval.types import LoglikelihoodRequest, PerplexityRequest, Prompt, Tokenization


class Characters:
    """A tokenizer with a token for each character."""

    def text(self, prompt: Prompt) -> tuple[str, bool]:
        assert isinstance(prompt, str)
        return prompt, False

    def pairs(self, pairs: Sequence[TextPair]) -> list[TokenPair]:
        return [TokenPair(context=ids(pair.context), continuation=ids(pair.continuation)) for pair in pairs]

    def rolling(self, requests: Sequence[PerplexityRequest]) -> list[tuple[int, tuple[int, ...]]]:
        return [(0, ids(request.text)) for request in requests]

    def tokenization(self, request: LoglikelihoodRequest) -> Tokenization:
        return request.tokenization or "lighteval"


def ids(text: str) -> tuple[int, ...]:
    return tuple(map(ord, text))


def ask(prompt: str, *choices: str, max_input_tokens: int, unconditioned: str | None = None) -> TokenizedRequest:
    request = LoglikelihoodRequest(prompt=prompt, choices=choices, unconditioned_prompt=unconditioned)
    (asked,) = tokenize_choices([request], Characters(), start_space=None, max_input_tokens=max_input_tokens)
    return asked


def score(number: float) -> PairScore:
    return PairScore(logprob=-number, greedy=False)


def test_a_long_context_is_cut_on_the_left() -> None:
    whole = TokenPair(context=ids("abcd"), continuation=ids("ef"))

    assert ask("abcd", "ef", max_input_tokens=5) == TokenizedRequest(pairs=(whole,), truncated_tokens=(0,))
    assert ask("abcd", "ef", max_input_tokens=3) == TokenizedRequest(
        pairs=(TokenPair(context=ids("cd"), continuation=ids("ef")),), truncated_tokens=(2,)
    )


def test_truncated_tokens_are_those_of_the_pair_that_lost_most() -> None:
    asked = ask("abcd", "e", "efg", "ef", max_input_tokens=4)

    assert ["".join(map(chr, pair.context)) for pair in asked.pairs] == ["abcd", "cd", "bcd"]
    assert asked.truncated_tokens == (0, 2, 1)
    assert loglikelihood_response(asked, [score(1)] * 3, 3).truncated_tokens == 2


def test_a_choice_that_fits_only_without_any_context_is_an_error() -> None:
    assert ask("ab", "efg", max_input_tokens=3) == TokenizedRequest(
        pairs=(TokenPair(context=ids("b"), continuation=ids("efg")),), truncated_tokens=(1,)
    )
    assert ask("ab", "x", "efg", max_input_tokens=2) == TokenizedRequest(
        error="choice 1: a choice of 3 tokens does not fit into the model's 2"
    )


def test_the_choices_follow_the_unconditioned_prompt_too() -> None:
    asked = ask("ab", "c", "d", unconditioned="z", max_input_tokens=9)

    assert [(pair.context, pair.continuation) for pair in asked.pairs] == [
        (ids("ab"), ids("c")), (ids("ab"), ids("d")), (ids("z"), ids("c")), (ids("z"), ids("d"))
    ]  # fmt: skip
    answer = loglikelihood_response(asked, [score(number) for number in range(4)], 2)
    assert (answer.logprobs, answer.unconditioned_logprobs) == ((-0.0, -1.0), (-2.0, -3.0))


def test_a_text_without_tokens_is_an_error() -> None:
    found = tokenize_texts([PerplexityRequest(text=""), PerplexityRequest(text="ab")], Characters(), max_input_tokens=4)

    assert [one.error for one in found] == ["the text has no tokens", None]


ASKED = st.lists(st.integers(0, 4), max_size=8).map(
    lambda sizes: [
        TokenizedRequest(pairs=(TokenPair(context=(1,), continuation=(2,)),) * size) if size else TokenizedRequest(error="it has no pairs")
        for size in sizes
    ]
)


@given(asked=ASKED, data=st.data())
def test_every_request_comes_once_with_its_own_scores_in_order_or_with_an_error(asked: list[TokenizedRequest], data: st.DataObject) -> None:
    count = len(pairs_of(asked))
    order = data.draw(st.permutations(range(count)))
    bad = data.draw(st.sets(st.sampled_from(range(count)))) if count else set()

    found = list(gather_request_scores(asked, [(place, "memory ran out") if place in bad else (place, score(place)) for place in order]))

    assert sorted(index for index, _ in found) == list(range(len(asked)))
    first = 0
    for index, scores in sorted(found, key=lambda item: item[0]):
        places = range(first, first + len(asked[index].pairs))
        first = places.stop
        if bad & set(places):
            assert scores == "memory ran out"
        else:
            assert scores == (asked[index].error or [score(place) for place in places])


def test_a_request_is_handed_out_as_soon_as_its_last_score_is_there() -> None:
    asked = [TokenizedRequest(pairs=(TokenPair(context=(1,), continuation=(2,)),) * 2) for _ in range(2)]
    given_out = []

    def scored() -> Iterator[tuple[int, PairScore | str]]:
        for place in (2, 0, 3, 1):
            given_out.append(place)
            yield place, score(place)

    assert [(index, list(given_out)) for index, _ in gather_request_scores(asked, scored())] == [(1, [2, 0, 3]), (0, [2, 0, 3, 1])]


@pytest.mark.parametrize("choices", [(), ("a", "")], ids=["none", "empty"])
def test_what_has_nothing_to_score_is_an_error(choices: tuple[str, ...]) -> None:
    wanted = "choice 1 ('') is empty: it has no tokens to score" if choices else "the request has no choices"

    assert ask("ab", *choices, max_input_tokens=9) == TokenizedRequest(error=wanted)
