"""What an echo says: which of its tokens are the continuation, and what they score."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_lighteval.backends.openai.echo import Echo
from pytest_lighteval.backends.openai.errors import UnansweredError


def echo_of(tokens: tuple[str, ...], *, first: int = 0) -> Echo:
    """An echo of tokens whose offsets begin at `first`."""
    ends = [first + sum(map(len, tokens[: count + 1])) for count in range(len(tokens))]
    offsets = (first, *ends[:-1])
    known = (None, *([-1.0] * (len(tokens) - 1)))
    return Echo(tokens=tokens, logprobs=known, best=known, own=known, offsets=offsets, end=ends[-1], prompt_tokens=len(tokens))


@pytest.mark.parametrize(
    ("tokens", "text", "border", "expected"),
    [
        pytest.param(("a", " b", " c"), "a b c", 3, 1, id="on a border of tokens"),
        pytest.param(("a", " b", " c"), "a b c", 1, 2, id="two tokens"),
        pytest.param(("a", " bc", "d"), "a bcd", 3, 1, id="a token that spans the border is context"),
        pytest.param(("a", " bcd"), "a bcd", 3, None, id="all merged into one token"),
        pytest.param(("<s>", "a", " b"), "a b", 1, 1, id="a token that the text does not have"),
        pytest.param(("a", "�", "�", "b"), "a😀b", 2, 1, id="pieces of a character in the context"),
        pytest.param(("a", "b", "�", "�"), "ab😀", 2, None, id="pieces of a character in the continuation"),
        pytest.param(("a", "", "b"), "ab", 1, None, id="a token of no text at the border"),
    ],
)
def test_the_continuation_is_the_tokens_that_start_after_the_context(
    tokens: tuple[str, ...], text: str, border: int, expected: int | None
) -> None:
    assert echo_of(tokens).count_after(text, border) == expected


def test_offsets_that_hide_a_token_of_the_continuation_are_not_believed() -> None:
    echo = echo_of(("a", " b", " c"))

    assert echo.count_after("a b c", 1) == 2
    assert replace(echo, offsets=(0, 0, 3)).count_after("a b c", 1) is None


@pytest.mark.parametrize(
    ("tokens", "characters", "expected"),
    [(("a", " b", " c"), 2, 1), (("a", " b", " c"), 3, 2), (("a", "", " c"), 3, None), (("a", "\ufffd"), 1, None), (("a",), 2, None)],
)
def test_the_tokens_of_the_last_characters_are_counted(tokens: tuple[str, ...], characters: int, expected: int | None) -> None:
    assert echo_of(tokens).count_covering(characters) == expected


@pytest.mark.parametrize(
    ("logprobs", "count", "message"),
    [
        ((None, -1.0, -1.0), 3, "no log-probability of the first token"),
        ((None, -1.0, float("nan")), 1, "no finite log-probability of a token"),
        ((None, -1.0, float("-inf")), 2, "no finite log-probability of a token"),
        ((None, -1.0, -1.0), 4, "the server's echo has 3 tokens, and the last 4 were to be scored"),
        ((None, -1.0, -1.0), 0, "the last 0 were to be scored"),
    ],
)
def test_what_has_no_score_is_an_error_and_never_a_number(logprobs: tuple[float | None, ...], count: int, message: str) -> None:
    with pytest.raises(UnansweredError, match=message):
        replace(echo_of(("a", "b", "c")), logprobs=logprobs).score_last(count)


def test_a_token_of_which_nobody_knows_the_likeliest_is_not_said_to_be_another() -> None:
    with pytest.raises(UnansweredError, match="does not say which token is the likeliest"):
        replace(echo_of(("a", "b", "c")), best=(None, -0.5, None)).score_last(1)


def test_a_score_is_the_sum_of_the_last_tokens_and_greedy_only_if_each_is_the_likeliest() -> None:
    echo = replace(echo_of(("a", "b", "c")), logprobs=(None, -2.0, -1.0), best=(None, -0.5, -1.0))

    assert echo.score_last(2) == (-3.0, False)
    assert echo.score_last(1) == (-1.0, True)
