"""Context and continuation in tokens, by Lighteval's rules."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from pytest_lighteval.backends.common.prompt_tokenizer import PromptTokenizer
from pytest_lighteval.backends.common.token_pairs import (
    SpecialTokens,
    TextPair,
    TokenPair,
    encode_pairs,
    encode_prompts,
    encode_rolling,
    find_special_tokens,
    rolling_windows,
    with_start_space,
)
from pytest_lighteval.types import Tokenization
from tests.backends.tiny import tiny_tokenizer

EOS, BOS = 2, 1
NONE = SpecialTokens(start=EOS, end=EOS, trailing=0, prefix=BOS)


def letters(texts: Sequence[str], add_special_tokens: bool) -> list[list[int]]:
    """A token a character, but `ab` is one token; adds nothing."""
    return [[ord(character) for character in text.replace("ab", "\x03")] for text in texts]


def letters_with_bos(texts: Sequence[str], add_special_tokens: bool) -> list[list[int]]:
    return [[BOS, *ids] if add_special_tokens else ids for ids in letters(texts, add_special_tokens)]


def letters_with_both(texts: Sequence[str], add_special_tokens: bool) -> list[list[int]]:
    return [[BOS, *ids, EOS] if add_special_tokens else ids for ids in letters(texts, add_special_tokens)]


def ids(text: str) -> tuple[int, ...]:
    return tuple(ord(character) for character in text)


def pair(context: str, continuation: str, *, rendered: bool = False) -> TextPair:
    return TextPair(context=context, continuation=continuation, rendered=rendered)


def test_the_continuation_is_what_follows_the_context() -> None:
    assert encode_pairs([pair("xy", " z")], letters, NONE) == [TokenPair(context=ids("xy"), continuation=ids(" z"))]


def test_spaces_at_the_end_of_the_context_move_to_the_continuation() -> None:
    assert encode_pairs([pair("xy \n", "z")], letters, NONE) == [TokenPair(context=ids("xy"), continuation=ids(" \nz"))]


def test_a_token_merged_over_the_border_is_the_continuation() -> None:
    assert encode_pairs([pair("xa", "b")], letters, NONE) == [TokenPair(context=ids("x"), continuation=(3,))]


def test_a_continuation_that_merges_and_goes_on_keeps_the_context_as_it_is_alone() -> None:
    # Lighteval's rule: the context's own encoding is fed, though the whole text has the merged token in its place
    assert encode_pairs([pair("xa", "bc")], letters, NONE) == [TokenPair(context=ids("xa"), continuation=ids("c"))]


def test_an_empty_context_is_the_start_token_before_the_continuation_with_special_tokens() -> None:
    assert encode_pairs([pair("", "z")], letters_with_bos, NONE) == [TokenPair(context=(EOS,), continuation=(BOS, ord("z")))]


def test_a_context_of_mere_spaces_is_not_empty() -> None:
    assert encode_pairs([pair(" ", "z"), pair(" ", "z")], letters_with_bos, NONE) == 2 * [TokenPair(context=(BOS,), continuation=ids(" z"))]
    assert encode_pairs([pair(" ", "z")], letters, NONE) == [TokenPair(context=(EOS,), continuation=ids(" z"))]


def test_a_plain_context_gets_special_tokens_and_a_rendered_chat_none() -> None:
    pairs = [pair("x", "y"), pair("x", "y", rendered=True)]

    assert encode_pairs(pairs, letters_with_bos, NONE) == [
        TokenPair(context=(BOS, ord("x")), continuation=ids("y")),
        TokenPair(context=ids("x"), continuation=ids("y")),
    ]
    assert encode_pairs(pairs[:1], letters_with_bos, NONE, add_special_tokens=False) == [TokenPair(context=ids("x"), continuation=ids("y"))]


def test_a_tokenizer_that_ends_every_text_does_not_shift_the_continuation() -> None:
    special = find_special_tokens(letters_with_both, eos=EOS, bos=BOS)

    assert special == SpecialTokens(start=EOS, end=EOS, trailing=1, prefix=BOS)
    assert encode_pairs([pair("x", "yz")], letters_with_both, special) == [TokenPair(context=(BOS, ord("x")), continuation=ids("yz"))]
    assert encode_rolling([("xy", "lighteval")], letters_with_both, special) == [(BOS, *ids("xy"))]


def test_pairwise_encodes_the_two_apart_and_takes_an_end_token_off_the_context() -> None:
    special = find_special_tokens(letters_with_both, eos=EOS, bos=BOS)

    assert encode_pairs([pair("xa", "b")], letters_with_both, special, pairwise=True) == [
        TokenPair(context=(BOS, *ids("xa")), continuation=ids("b"))
    ]


def theirs(context: str, continuation: str, *, rendered: bool = False) -> TextPair:
    return TextPair(context=context, continuation=continuation, rendered=rendered, tokenization="lm_eval")


def test_lm_eval_starts_an_empty_context_with_the_beginning_token_and_adds_none_to_the_continuation() -> None:
    special = find_special_tokens(letters_with_bos, eos=EOS, bos=BOS)

    assert encode_pairs([theirs("", "z")], letters_with_bos, special) == [TokenPair(context=(BOS,), continuation=ids("z"))]
    # a continuation that begins with that token has it as its context
    assert encode_pairs([theirs("", "\x01z")], letters_with_bos, special) == [TokenPair(context=(BOS,), continuation=ids("z"))]
    assert encode_rolling([("xy", "lm_eval")], letters_with_bos, special) == [(BOS, *ids("xy"))]
    assert special.start_of("lm_eval") == BOS
    assert find_special_tokens(letters, eos=EOS, bos=None).start_of("lm_eval") == EOS


def test_lm_eval_leaves_nothing_of_a_continuation_that_merged_into_the_context() -> None:
    assert encode_pairs([theirs("xa", "b")], letters, NONE) == [TokenPair(context=ids("xa"), continuation=())]
    assert encode_pairs([theirs("xy \n", "z")], letters, NONE) == [TokenPair(context=ids("xy"), continuation=ids(" \nz"))]


def test_lm_eval_adds_special_tokens_unless_the_text_begins_with_the_beginning_token() -> None:
    special = replace(find_special_tokens(letters_with_bos, eos=EOS, bos=BOS), prefix_text="<s>")
    pairs = [theirs("x", "y", rendered=True), theirs("<s>x", "y")]

    assert encode_pairs(pairs, letters_with_bos, special) == [
        TokenPair(context=(BOS, *ids("x")), continuation=ids("y")),
        TokenPair(context=ids("<s>x"), continuation=ids("y")),
    ]
    prompts: list[tuple[str, bool, Tokenization]] = [("x", True, "lm_eval"), ("<s>x", False, "lm_eval"), ("", False, "lm_eval")]
    assert encode_prompts(prompts, letters_with_bos, special) == [(BOS, *ids("x")), ids("<s>x"), (BOS,)]


def test_every_distinct_text_is_encoded_once() -> None:
    asked: list[str] = []

    def recording(texts: Sequence[str], add_special_tokens: bool) -> list[list[int]]:
        asked.extend(texts)
        return letters(texts, add_special_tokens)

    encode_pairs([pair("same", f" {letter}") for letter in "xyz"], recording, NONE)

    assert sorted(asked) == ["same", "same x", "same y", "same z"]


def test_the_start_token_is_the_end_token_or_the_beginning_one_or_an_error() -> None:
    assert find_special_tokens(letters, eos=EOS, bos=BOS).start == EOS
    assert find_special_tokens(letters, eos=None, bos=BOS) == SpecialTokens(start=BOS, end=None, trailing=0, prefix=BOS)
    with pytest.raises(ValueError, match="neither an end-of-sequence nor a beginning-of-sequence token"):
        find_special_tokens(letters, eos=None, bos=None)


def test_an_empty_prompt_is_the_start_token() -> None:
    prompts: list[tuple[str, bool, Tokenization]] = [("", False, "lighteval"), ("x", False, "lighteval"), ("x", True, "lighteval")]

    assert encode_prompts(prompts, letters_with_bos, NONE) == [(BOS,), (BOS, ord("x")), ids("x")]
    assert encode_prompts(prompts[:1], letters, NONE) == [(EOS,)]
    assert encode_rolling([("", "lighteval")], letters, NONE) == [()]
    assert encode_rolling([], letters, NONE) == []


@pytest.mark.parametrize(
    ("continuation", "start_space", "expected"),
    [
        pytest.param("A", None, "A", id="left alone"),
        pytest.param("A", True, " A", id="given"),
        pytest.param(" A", True, " A", id="not given twice"),
        pytest.param("  A", False, "A", id="taken"),
        pytest.param("\nA", False, "\nA", id="a line break is no space"),
    ],
)
def test_the_start_space(continuation: str, start_space: bool | None, expected: str) -> None:
    assert with_start_space(continuation, start_space) == expected


@given(tokens=st.lists(st.integers(0, 99), max_size=40), max_length=st.integers(1, 12))
def test_rolling_windows_score_every_token_once_with_as_much_context_as_fits(tokens: list[int], max_length: int) -> None:
    windows = rolling_windows(tokens, -1, max_length)

    assert [token for window in windows for token in window.continuation] == tokens
    fed = [-1, *tokens]
    end = 0
    for window in windows:
        end += len(window.continuation)
        inputs = [*window.context, *window.continuation[:-1]]
        assert inputs == fed[max(0, end - max_length) : end]
        assert window.context
    if tokens and len(tokens) <= max_length:
        assert windows == [TokenPair(context=(-1,), continuation=tuple(tokens))]


PARTS = st.sampled_from(
    ["The capital", " of", " France", "\n", "\n\n", " ", "  ", "'s", " 12", "345", "é", " 日本", ".", ",", " river", "\t", "</s>", "-"]
)


@given(
    front=st.lists(PARTS, min_size=30, max_size=60).map("".join),
    continuations=st.lists(st.lists(PARTS, min_size=1, max_size=4).map("".join), min_size=2, max_size=4),
    adds_bos=st.booleans(),
    adds_eos=st.booleans(),
)
def test_a_long_context_encoded_once_gives_the_same_tokens(front: str, continuations: list[str], adds_bos: bool, adds_eos: bool) -> None:
    texts = PromptTokenizer(_tokenizer(adds_bos, adds_eos), "x")
    context = "Question: who was the king of the river? " * 5 + front
    pairs = [TextPair(context=context, continuation=continuation) for continuation in continuations]

    found = texts.pairs(pairs)

    assert found == encode_pairs(pairs, texts._encode, texts.special)


def test_a_long_context_is_not_encoded_again_for_each_continuation() -> None:
    texts = PromptTokenizer(_tokenizer(False, False), "x")
    context = "Once upon a time there was a river. " * 40
    encoded: list[str] = []

    def encode(asked: Sequence[str], special: bool) -> list[list[int]]:
        encoded.extend(asked)
        return texts._encode(asked, special)

    encode_pairs(
        [TextPair(context=context, continuation=f"choice {n}") for n in range(4)],
        encode,
        texts.special,
        encode_prefixes=texts._encode_stable_prefixes,
    )

    assert len(encoded) == 5
    assert max(map(len, encoded)) < 60


def test_contexts_of_tokenizers_that_do_not_split_words_are_encoded_whole() -> None:
    whole = tiny_tokenizer()
    whole.backend_tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()

    assert not PromptTokenizer(whole, "x")._splits_words
    assert PromptTokenizer(_tokenizer(False, False), "x")._splits_words


@functools.cache
def _tokenizer(adds_bos: bool, adds_eos: bool) -> Any:
    return tiny_tokenizer(adds_bos=adds_bos, adds_eos=adds_eos)
