"""The words of a short answer: what quasi-exact match compares, with numbers as what they are worth."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

from pytest_lighteval.metrics.corrected.canonical import canonical
from pytest_lighteval.metrics.matches import best_over_golds

_ARTICLES = ("a", "an", "the")
_SEPARATOR = re.compile(r"\s+|(?<=[^\W_])-+(?=\w)|--+")
_GLUED_SIGN = re.compile(r"(?<=[=(<>:;/\[{|,])(?=-[$€£¥₹]?\.?\d)")
"""Where a number with a sign begins within a token, as in "x=-5"."""
_NUMBER = re.compile(r"(-?)[$€£¥₹]?((?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)%?")
_BEFORE_NUMBERS = "".join(set(string.punctuation) - set("-.$"))
"""What may stand before a number without being a part of it."""
_LONGEST_NUMBER = 400
_WORD_A_OR_I = re.compile(r"\W*[AaIi]\s+[a-z]")


def words_of(text: str, *, articles: Sequence[str] = _ARTICLES) -> list[str]:
    """In lower case without punctuation and articles; a number is written as a fraction in lowest terms, with its sign.

    As HELM's quasi-exact match (Liang et al. 2022, arXiv:2211.09110), except that the text is made canonical first, any white space
    divides words, "3.14" is not "314" and "-5" is not "5". An article alone, such as the letter "A", is a word, and in a text of
    punctuation alone every piece is one.
    """
    plain = _GLUED_SIGN.sub(" ", canonical(text).lower())
    tokens = [word for token in _SEPARATOR.split(plain) if (word := _word(token))]
    return [token for token in tokens if token not in articles] or tokens or canonical(text).split()


def _word(token: str) -> str:
    bare = token.rstrip(string.punctuation).lstrip(_BEFORE_NUMBERS)
    if len(bare) <= _LONGEST_NUMBER and (number := _NUMBER.fullmatch(bare)):
        return str(Fraction((number[1] + number[2]).replace(",", "")))
    return "".join(letter for index, letter in enumerate(bare) if not _is_mark(bare, index))


def _is_mark(text: str, index: int) -> bool:
    """Whether a character is punctuation; a point or comma between digits is part of a number."""
    letter = text[index]
    if letter in ".," and 0 < index < len(text) - 1 and text[index - 1].isdigit() and text[index + 1].isdigit():
        return False
    if letter == "-" and index == 0 and text[1:2].isdigit():
        return False
    return letter in string.punctuation or unicodedata.category(letter).startswith("P")


def is_quasi_match(gold: str, text: str) -> bool:
    """The same words; no words equal nothing."""
    right = words_of(gold)
    return bool(right) and right == words_of(text)


def _is_word_a_or_i(text: str) -> bool:
    """Whether the text begins with "A" or "I" before another word, as an article or a pronoun."""
    return _WORD_A_OR_I.match(canonical(text)) is not None


def is_quasi_prefix(gold: str, text: str) -> bool:
    """The text begins with the gold's words, whole ones. The words "a" and "I" before another word are no letter."""
    right = words_of(gold)
    if right in (["a"], ["i"]) and _is_word_a_or_i(text):
        return False
    given = words_of(text, articles=() if right == ["a"] else _ARTICLES)
    return bool(right) and right == given[: len(right)]


def _is_word_prefix(gold: str, text: str) -> bool:
    """The text begins with the gold, and no word or number goes on behind it. "A" and "I" before another word are no letter."""
    right, given = canonical(gold).strip(), canonical(text).strip()
    if right in ("A", "I", "a", "i") and _is_word_a_or_i(given):
        return False
    return bool(right) and re.match(rf"{re.escape(right)}(?!\w|[.,]\d)", given) is not None


def _is_same_text(gold: str, text: str) -> bool:
    """The same canonical text, white space apart."""
    right = canonical(gold).split()
    return bool(right) and right == canonical(text).split()


def word_f1(gold: str, text: str) -> float:
    """F1 of the words with their numbers of times, as in SQuAD (Rajpurkar et al. 2016, arXiv:1606.05250)."""
    right, given = words_of(gold), words_of(text)
    common = sum((Counter(right) & Counter(given)).values())
    return 2 * common / (len(right) + len(given)) if common else 0.0


METRICS = (
    best_over_golds("exact_match_corrected", "em", _is_same_text),
    best_over_golds("quasi_exact_match_corrected", "qem", is_quasi_match),
    best_over_golds("prefix_exact_match_corrected", "pem", _is_word_prefix),
    best_over_golds("prefix_quasi_exact_match_corrected", "pqem", is_quasi_prefix),
    best_over_golds("f1_score_quasi_corrected", "f1_score_quasi", word_f1),
)
