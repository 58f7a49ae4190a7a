"""The tokens of an echo spell the text that was sent, in every way that honest servers write tokens, and in no other."""

from __future__ import annotations

import pytest

from pytest_lighteval.backends.openai.spelling import Spelling, same_token

PLAIN = Spelling(prefix="", in_lower_case=False)
BEGUN = Spelling(prefix="<s>", in_lower_case=False)
SPACED = Spelling(prefix=" ", in_lower_case=False)
SILENT = Spelling(prefix="\ufffd", in_lower_case=False)
LOWER = Spelling(prefix="", in_lower_case=True)


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (("The", " fox"), PLAIN),
        (("<s>", "The", " fox"), BEGUN),
        (("", "The", " fox"), SILENT),
        ((" The", " fox"), SPACED),
        (("the", " fox"), LOWER),
        (("The", " fo"), None),
        (("The", " fox", "</s>"), None),
        (("The", "fox"), None),
    ],
)
def test_how_a_server_writes_is_learnt_from_a_known_text(tokens: tuple[str, ...], expected: Spelling | None) -> None:
    assert Spelling.learn(tokens, "The fox") == expected


@pytest.mark.parametrize(
    ("spelling", "tokens", "text"),
    [
        pytest.param(PLAIN, ("a", " b"), "a b", id="as it is"),
        pytest.param(BEGUN, ("<s>", "a", " b"), "a b", id="a beginning token"),
        pytest.param(BEGUN, ("<s>", "a", " b"), "<s>a b", id="one that the text has itself"),
        pytest.param(BEGUN, ("<s>", "<s>", "a"), "<s>a", id="one twice"),
        pytest.param(SPACED, (" a", " b"), "a b", id="a space in front"),
        pytest.param(SPACED, ("\n", "a"), "\na", id="no space in front of another one"),
        pytest.param(SILENT, ("", "a"), "a", id="a beginning token of no text"),
        pytest.param(SILENT, ("", "a"), "<s>a", id="the text's beginning token as nothing"),
        pytest.param(LOWER, ("a", " b"), "A B", id="no capitals"),
        pytest.param(PLAIN, ("a", "\ufffd", "\ufffd", "\ufffd", "\ufffd", "b"), "a😀b", id="pieces of a character"),
        pytest.param(PLAIN, ("a", "", "", "b"), "a😀b", id="pieces as nothing"),
        pytest.param(PLAIN, ("", "", "", "😀", "b"), "😀b", id="a whole character at its last piece"),
        pytest.param(PLAIN, ("\ufffd", "\ufffd\ufffd", "\ufffd京"), "東京", id="pieces beside characters"),
        pytest.param(PLAIN, ("", "user", "\n", "Hi", "", "\n"), "<|im_start|>user\nHi<|im_end|>\n", id="special tokens as nothing"),
        pytest.param(PLAIN, ("fi", "n"), "\N{LATIN SMALL LIGATURE FI}n", id="a tokenizer that normalizes"),
    ],
)
def test_tokens_that_spell_the_text_fit(spelling: Spelling, tokens: tuple[str, ...], text: str) -> None:
    assert spelling.fits(tokens, text)


@pytest.mark.parametrize(
    ("spelling", "tokens", "text"),
    [
        pytest.param(PLAIN, ("a", " b"), "a b c", id="less"),
        pytest.param(PLAIN, (" b", " c"), "a b c", id="less on the left"),
        pytest.param(PLAIN, ("a", " b", " c"), "a b", id="more"),
        pytest.param(PLAIN, ("a", " c"), "a b", id="others"),
        pytest.param(PLAIN, ("A", " b"), "a b", id="other capitals"),
        pytest.param(PLAIN, ("a", "b"), "a b", id="no space"),
        pytest.param(PLAIN, ("<s>", "a"), "a", id="a beginning token that was not there before"),
        pytest.param(BEGUN, ("a", " b"), "a b", id="no beginning token"),
        pytest.param(PLAIN, ("a", "\ufffd"), "ab", id="a piece of a letter"),
        pytest.param(PLAIN, ("", "", ""), "a b", id="nothing"),
        pytest.param(PLAIN, ("\ufffd",), "東京", id="more characters than pieces"),
        pytest.param(PLAIN, ("a",), "<s>a", id="no special token"),
    ],
)
def test_tokens_of_another_text_do_not_fit(spelling: Spelling, tokens: tuple[str, ...], text: str) -> None:
    assert not spelling.fits(tokens, text)


def test_a_first_token_that_is_not_echoed_may_be_the_texts_own() -> None:
    assert PLAIN.fits(("a",), "<s>a", hides_first=True)
    assert not PLAIN.fits(("a",), "b a", hides_first=True)


@pytest.mark.parametrize(
    ("written", "expected", "is_special", "same"),
    [
        (" a", " a", False, True),
        ("a", " a", False, True),
        ("b", " a", False, False),
        ("", "</s>", True, True),
        ("", " a", False, False),
        ("", "\ufffd", False, True),
        ("😀", "\ufffd", False, True),
        ("\ufffd", "\ufffd", False, True),
        ("x", "\ufffd", False, False),
        ("\n", " ", False, True),
    ],
)
def test_a_token_is_compared_with_the_tokenizers_text_of_it(written: str, expected: str, is_special: bool, same: bool) -> None:
    assert same_token(written, expected, is_special=is_special) is same
