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
_HYPHEN = re.compile(r"(?<=[^\W_])-+(?=\w)")
_GLUED_SIGN = re.compile(r"(?<=[=(<>:;/\[{|,])(?=-[$€£¥₹]?\.?\d)")
"""Where a number with a sign begins within a token, as in "x=-5"."""
_NUMBER = re.compile(r"(-?)[$€£¥₹]?((?:\d{1,3}(?:[,']\d{3})+|\d+)(?:\.\d+)?|\.\d+)")
_UNARY_PLUS = re.compile(r"(?<!\S)\+(?=\.?\d)")
_OPERATORS = frozenset("+/^=<>%*")
_OPERATOR = re.compile(r"([+/^=<>%]|(?<=\w)\*(?=\w)|(?<= )\*(?= ))")
"""A sign that changes what a text means: "1/2" is not "12", and "C++" is not "C"."""
_MARKS = re.compile(r"[^\w\s]+|_+")
_BEFORE_NUMBERS = "".join(set(string.punctuation) - set("-.$"))
"""What may stand before a number without being a part of it."""
_AFTER_WORDS = "".join(set(string.punctuation) - set("#"))
_LONGEST_NUMBER = 400
_WORD_A_OR_I = re.compile(r"\W*[AaIi]\s+[a-z]")
_SEVERAL = re.compile(r"\W*[A-Za-z][)\]\"'*]*\s*(?:[,;/&+]|\bor\b|\band\b)\s*[(\[\"'*]*[A-Z](?![\w'])(?!(?<=[AI])[ ][a-z])")
"""A text that begins with several letters, as "A, B" and "A or B"."""

_GOES_ON = r"\w|[.,:;]\d|[-/^'*_]\w|\+|[ ]*(?:[/^=%]|[+*<>][ ]*\d)"
"""What continues a word or a number: "1/2", "1:30", "A-level" and "5 %" begin with no whole one."""


def words_of(text: str, *, articles: Sequence[str] = _ARTICLES) -> list[str]:
    """In lower case without punctuation and articles; a number is written as a fraction in lowest terms, with its sign.

    As HELM's quasi-exact match (Liang et al. 2022, arXiv:2211.09110), except that the text is made canonical first, any white space
    divides words, "3.14" is not "314" and "-5" is not "5". Operators, such as those in "1/2", "5%" and "C++", are words. An article
    alone, such as the letter "A", is a word, and in a text of punctuation alone every piece is one.
    """
    return [word for word, _ in _pieces(text, articles)]


def _pieces(text: str, articles: Sequence[str]) -> list[tuple[str, bool]]:
    """Each word, and whether a hyphen or an operator joins it to the one before."""
    plain = _GLUED_SIGN.sub(" ", _OPERATOR.sub(r" \1 ", _UNARY_PLUS.sub("", canonical(text).lower())))
    pieces: list[tuple[str, bool]] = []
    for token in re.split(r"\s+|--+", plain):
        parts = [word for part in _HYPHEN.split(token) if (word := _word(part))]
        pieces += [(word, index > 0 or word in _OPERATORS) for index, word in enumerate(parts)]
    if all(word in _OPERATORS for word, _ in pieces):
        return [(piece, False) for piece in canonical(text).split()]
    return [piece for piece in pieces if piece[0] not in articles] or pieces


def _word(token: str) -> str:
    if token in _OPERATORS:
        return token
    bare = token.rstrip(_AFTER_WORDS).lstrip(_BEFORE_NUMBERS)
    if len(bare) <= _LONGEST_NUMBER and (number := _NUMBER.fullmatch(bare)):
        return str(Fraction(number[1] + re.sub("[,']", "", number[2])))
    return _MARKS.sub(lambda found: _kept(bare, found), bare)


def _kept(text: str, marks: re.Match[str]) -> str:
    """What is left of a run of marks: all of it between digits, as in "10:30", and else no punctuation."""
    before, after = text[: marks.start()][-1:], text[marks.end() :][:1]
    if after.isdecimal() and (before.isdecimal() or (not before and marks[0] == "-")):
        return marks[0]
    if before.isalpha() and not after and marks[0] == "#":  # C#
        return marks[0]
    return "".join(mark for mark in marks[0] if mark not in string.punctuation and not unicodedata.category(mark).startswith("P"))


def is_quasi_match(gold: str, text: str) -> bool:
    """The same words; no words equal nothing."""
    right = words_of(gold)
    return bool(right) and right == words_of(text)


def _names_no_letter(right: Sequence[str], text: str) -> bool:
    """Whether the gold is a letter and the text begins with several, or with "A" or "I" as an article or a pronoun."""
    if len(right) != 1 or len(right[0]) != 1 or not right[0].isalpha():
        return False
    plain = canonical(text)
    return _SEVERAL.match(plain) is not None or (right[0].lower() in "ai" and _WORD_A_OR_I.match(plain) is not None)


def is_quasi_prefix(gold: str, text: str) -> bool:
    """The text begins with the gold's words, whole ones. The words "a" and "I" before another word are no letter."""
    right = words_of(gold)
    if _names_no_letter(right, text):
        return False
    given = _pieces(text, () if right == ["a"] else _ARTICLES)
    goes_on = any(joined for _, joined in given[len(right) : len(right) + 1])
    return bool(right) and right == [word for word, _ in given[: len(right)]] and not goes_on


def _is_word_prefix(gold: str, text: str) -> bool:
    """The text begins with the gold, and no word or number goes on behind it. "A" and "I" before another word are no letter."""
    right, given = canonical(gold).strip(), canonical(text).strip()
    if _names_no_letter([right], given):
        return False
    minus = r"|[ ]*-[ ]*\d" if right[-1:].isdecimal() else ""
    return bool(right) and re.match(rf"{re.escape(right)}(?!{_GOES_ON}{minus})", given) is not None


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
