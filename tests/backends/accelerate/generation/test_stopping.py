"""When a text is done, compared with decoding all of it after every token."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_lighteval.backends.accelerate.generation.rows import PromptRow
from pytest_lighteval.backends.accelerate.generation.stopping import StopRule
from pytest_lighteval.backends.common.prompt_tokenizer import PromptTokenizer
from tests.backends.tiny import VOCABULARY, tiny_tokenizer

TOKENIZER = PromptTokenizer(tiny_tokenizer(), "tiny")
END = 2


def row(*stops: str, limit: int = 1000, stop_ids: frozenset[int] = frozenset()) -> PromptRow:
    """A row with these limits."""
    return PromptRow(owner=0, prompt=(5,), max_new_tokens=limit, stop_sequence=stops, stop_ids=stop_ids)


def done_after(rule: StopRule, tokens: list[int]) -> int | None:
    """The number of tokens after which the rule first says that the text is done."""
    return next((length for length in range(1, len(tokens) + 1) if rule.is_done(tokens[:length])), None)


@given(st.lists(st.integers(3, VOCABULARY - 1), min_size=1, max_size=40), st.data())
def test_a_stop_sequence_is_found_as_soon_as_the_text_holds_it(tokens: list[int], data: st.DataObject) -> None:
    texts = [TOKENIZER.decode(tokens[:length]) for length in range(1, len(tokens) + 1)]
    start = data.draw(st.integers(0, len(texts[-1])))
    stops = [texts[-1][start : start + data.draw(st.integers(1, 6))], "\n\n"]
    stops = [stop for stop in stops if stop]

    found = done_after(StopRule(row(*stops), TOKENIZER, {END}), tokens)

    expected = next((length for length, text in enumerate(texts, 1) if any(stop in text for stop in stops)), None)
    assert found == expected


@given(st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=20), st.integers(1, 20))
def test_an_end_token_or_the_limit_ends_any_text(tokens: list[int], limit: int) -> None:
    rule = StopRule(row(limit=limit, stop_ids=frozenset({3})), TOKENIZER, {END})

    ends = [place for place, token in enumerate(tokens, 1) if token in (END, 3)]
    assert done_after(rule, tokens) == min([*ends, *([limit] if limit <= len(tokens) else [])], default=None)


@pytest.mark.parametrize("text", ["One, two, three", "naïve – 東京 🙂 text"])
def test_a_text_is_cut_before_the_first_of_its_stops(text: str) -> None:
    tokens = TOKENIZER.tokenizer(text).input_ids
    whole = TOKENIZER.decode(tokens)

    for start in range(len(whole)):
        for stop in (whole[start : start + 1], whole[start : start + 3]):
            answer = StopRule(row("never met", stop), TOKENIZER, {END}).finish(tokens)

            assert answer.text == whole[: whole.index(stop)]
            assert answer.token_ids == tuple(tokens)
            assert answer.finish_reason == "stop"


def test_what_comes_after_the_end_token_is_dropped() -> None:
    tokens = [*TOKENIZER.tokenizer("One, two").input_ids, END, 90, 91]

    answer = StopRule(row(), TOKENIZER, {END}).finish(tokens)

    assert answer.token_ids == tuple(tokens[:-2])
    assert (answer.text, answer.finish_reason) == ("One, two", "stop")


def test_a_text_that_only_its_limit_ends_says_so() -> None:
    answer = StopRule(row("never met", limit=2), TOKENIZER, {END}).finish([90, 91, 92])

    assert (answer.token_ids, answer.finish_reason) == ((90, 91), "length")
