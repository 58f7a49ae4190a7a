"""What a judge's reply says: a value, nothing that can be read, or that it refuses. The last verdict in a text counts.

`read_*` are this project's parsers. `lighteval_*` and `benchmark_*` do what Lighteval v0.9.2 and the benchmarks' own scripts do with
a reply, for `--judge-parity`: with the zeros that they give for what they cannot read.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One reply of a judge."""

    value: float | str | None = None
    """A number on the judge's scale, or a class such as `A`. None: there is none."""
    confidence: float | None = None
    """What the candidate said of its own answer, from 0 to 1, where a judge is asked for it. None: nothing, or it is not asked."""
    refused: bool = False
    """The judge said that it will not judge."""

    @property
    def status(self) -> Literal["value", "unparsed", "refused"]:
        """In a word."""
        if self.value is not None:
            return "value"
        return "refused" if self.refused else "unparsed"


UNPARSED = Verdict()
REFUSED = Verdict(refused=True)
Read = Callable[[str], Verdict]

_NUMBER = r"([+-]?\d+(?:[.,\u066b]\d+)?|[+-]?[.]\d+)"
_REFUSAL = re.compile(
    r"^\W*(?:(?:i'?m|i am) (?:very |so |really )?(?:sorry|afraid)|sorry|i apologi[sz]e|unfortunately,? i|as an ai\b|"
    r"i (?:can(?:no|')t|can not|am (?:not able|unable)|won't|will not|must decline|decline)\b)"
    r"|\bi (?:can(?:no|')t|can not|am (?:not able|unable) to|won't|will not|must decline to|decline to) "
    r"(?:help|assist|comply|judge|grade|rate|evaluate|score|provide|engage|answer|do)\b",
    re.IGNORECASE,
)


def unread(text: str) -> Verdict:
    """What a reply without a verdict is: refused, if it says so, else unparsed."""
    return REFUSED if _REFUSAL.search(plain_quotes(text)) else UNPARSED


def plain_quotes(text: str) -> str:
    """The text with typographic apostrophes as `'`."""
    return text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")


def number_of(text: str) -> float:
    """A number as judges write it: digits of any script, a point or a comma before decimals. NaN if it is none."""
    digits = "".join(str(unicodedata.decimal(letter, letter)) for letter in text.strip())
    try:
        return float(digits.replace(",", ".").replace("\N{ARABIC DECIMAL SEPARATOR}", "."))
    except ValueError:
        return math.nan


def on_scale(text: str, low: float, high: float) -> Verdict | None:
    """The number as a verdict. None: it is none, or not on the scale."""
    value = number_of(text)
    return Verdict(value=value) if low <= value <= high else None


def _last_number(text: str, pattern: re.Pattern[str], low: float, high: float) -> Verdict | None:
    """The last match of a pattern whose groups are a number and, perhaps, the number that it is out of.

    None: no match, or the last one is not on the scale: an earlier one is then not meant.
    """
    found = [*pattern.finditer(unicodedata.normalize("NFKC", text))]
    if not found:
        return None
    out_of = found[-1][2] if pattern.groups > 1 else None
    if out_of is not None and number_of(out_of) != high:
        return None
    return on_scale(found[-1][1], low, high)


def read_brackets(low: float, high: float) -> Read:
    """A number in `[[ ]]`; if no such mark is there, in `[ ]`, or after the words rating or score."""
    out_of = rf"\s*(?:/\s*{_NUMBER}\s*)?"
    patterns = (
        re.compile(rf"\[\[\s*(?:rating:?\s*)?{_NUMBER}{out_of}\]\]", re.IGNORECASE),
        re.compile(rf"\[\s*(?:rating:?\s*)?{_NUMBER}{out_of}\]", re.IGNORECASE),
        re.compile(rf"\b(?:rating|score)\W{{0,6}}(?:is\W{{1,4}})?{_NUMBER}{out_of}(?![\w/]|[.,]\d)", re.IGNORECASE),
    )

    def read(text: str) -> Verdict:
        for pattern in patterns:
            if pattern.search(unicodedata.normalize("NFKC", text)):
                return _last_number(text, pattern, low, high) or unread(text)
        return unread(text)

    return read


def read_tags(low: float, high: float) -> Read:
    """A number within `<score>` tags, with any white space around it; an end tag that is cut short counts."""
    pattern = re.compile(rf"<score>\s*{_NUMBER}\s*(?:/\s*{_NUMBER}\s*)?</score", re.IGNORECASE)
    return lambda text: _last_number(text, pattern, low, high) or unread(text)


def read_number(low: float, high: float) -> Read:
    """The last number of a reply that should be nothing but a number: `8`, `8/10`, `8 of 10`."""
    pattern = re.compile(rf"(?<![\w.,])({_NUMBER[1:-1]})(?:\s*(?:/|of|out of|من)\s*({_NUMBER[1:-1]}))?(?![\w/]|[.,]\d)")
    return lambda text: _last_number(text, pattern, low, high) or unread(text)


def read_json(low: float, high: float) -> Read:
    """The number `score` (or `rating`, `value`) of the last JSON object."""

    def read(text: str) -> Verdict:
        for found in reversed(_objects(text)):
            for name in ("score", "rating", "value"):
                value = found.get(name)
                if isinstance(value, int | float | str) and not isinstance(value, bool):
                    return on_scale(str(value), low, high) or unread(text)
        return unread(text)

    return read


def read_regex(pattern: str, low: float, high: float) -> Read:
    """The first group of the last match of a pattern of the user's own."""
    compiled = re.compile(pattern)

    def read(text: str) -> Verdict:
        found = [*compiled.finditer(text)]
        return (on_scale(found[-1][1] or "", low, high) if found else None) or unread(text)

    return read


_GRADES = {"CORRECT": "A", "INCORRECT": "B", "NOT ATTEMPTED": "C", "NOT_ATTEMPTED": "C", "A": "A", "B": "B", "C": "C"}
_WORD = r"NOT[_ ]ATTEMPTED|INCORRECT|CORRECT"
_GRADE_LINE = re.compile(rf"^\W*(?:([ABC])(?:\W{{1,4}}(?:{_WORD}))?|({_WORD}))\W*$", re.MULTILINE)
_GRADE = re.compile(
    rf"\b(?:grade|verdict|answer|letter)\b(?:\s+is)?\W{{1,6}}([ABC])\b|[\"'(\[*]([ABC])[\"')\]*]|\b({_WORD})\b"
)  # fmt: skip


def read_grade(text: str) -> Verdict:
    """`A`, `B` or `C`, or the words that they stand for in SimpleQA: correct, incorrect, not attempted.

    The last line that is nothing but a grade counts; without one, the last grade that is written as such within a sentence. The letter A
    alone is a word of English, and no grade within a sentence.
    """
    plain = unicodedata.normalize("NFKC", text)
    for pattern in (_GRADE_LINE, _GRADE):
        found = [*pattern.finditer(plain)]
        if found:
            written = next(group for group in found[-1].groups() if group is not None)
            return Verdict(value=_GRADES[written])
    return unread(text)


_PAIR = re.compile(r"\[\[\s*([ABC]|tie)\s*\]\]", re.IGNORECASE)
_PAIR_LINE = re.compile(r"^\W*(?:(?:final )?verdict\W{1,4})?([ABC])\W*$", re.MULTILINE | re.IGNORECASE)


def read_pair(text: str) -> Verdict:
    """Which of two answers is better: `A`, `B`, or `C` for a tie."""
    plain = unicodedata.normalize("NFKC", text)
    found = [*_PAIR.finditer(plain)] or [*_PAIR_LINE.finditer(plain)]
    if not found:
        return unread(text)
    winner = found[-1][1].upper()
    return Verdict(value="C" if winner == "TIE" else winner)


_CORRECT_LINE = re.compile(r"^\W*correct\W{1,5}(yes|no)\b", re.IGNORECASE | re.MULTILINE)
_CONFIDENCE_LINE = re.compile(r"^\W*confidence\W{1,5}\|?(\d+(?:\.\d+)?)", re.IGNORECASE | re.MULTILINE)


def read_hle(text: str) -> Verdict:
    """Whether the answer is right (1 or 0), and the candidate's confidence; from a JSON object, or lines `correct: yes`."""
    for found in reversed(_objects(text)):
        if str(found.get("correct")).lower() in ("yes", "no", "true", "false"):
            is_right = str(found["correct"]).lower() in ("yes", "true")
            return Verdict(value=float(is_right), confidence=_share(found.get("confidence")))
    lines = [*_CORRECT_LINE.finditer(plain_quotes(text))]
    if not lines:
        return unread(text)
    confidences = [*_CONFIDENCE_LINE.finditer(text)]
    return Verdict(value=float(lines[-1][1].lower() == "yes"), confidence=_share(confidences[-1][1]) if confidences else None)


def _share(value: Any) -> float | None:
    """A confidence in percent as a share. None: it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    number = number_of(str(value).strip().rstrip("%"))
    return number / 100 if 0 <= number <= 100 else None


def _objects(text: str) -> list[dict[str, Any]]:
    """The JSON objects in a text, in order; those within another one are not looked for."""
    decoder, found, place = json.JSONDecoder(), [], 0
    while (place := text.find("{", place)) >= 0:
        try:
            value, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            place += 1
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


# --------------------------------------------------------------------------------------- as the reference reads replies


def lighteval_tags(text: str) -> float:
    """Of Flow-Judge's replies: one digit with one white-space character on both sides, the first match; else 0."""
    found = re.search(r"<score>\s(\d)\s</score>", text)
    return float(int(found[1])) if found else 0.0


def lighteval_freeform(text: str) -> float:
    """Of MixEval's judge of free answers: three characters in `[[ ]]` whose middle one may be any; else 0."""
    found = re.search(r"\[\[(\d.\d)\]\]", text)
    try:
        return float(found[1]) if found else 0.0
    except ValueError:
        return 0.0


def lighteval_multichoice(text: str) -> float:
    """Of MixEval's judge of options: `[[0]]` or `[[1]]`, the first match; else 0."""
    found = re.search(r"\[\[([01])\]\]", text)
    return float(int(found[1])) if found else 0.0


def lighteval_grade(text: str) -> str:
    """Of SimpleQA's judge: the whole reply is the letter; anything else counts as not right."""
    return text if text in ("A", "B", "C") else "B"


def lighteval_number(text: str) -> float:
    """Of alrage_qa's judge: the first word between white space that is digits with at most one point, out of 10; else 0."""
    word = next((word for word in text.split() if word.replace(".", "", 1).isdigit()), None)
    try:
        return 0.0 if word is None else max(0.0, min(float(word) / 10, 1.0))
    except ValueError:
        return 0.0


def benchmark_rating(text: str) -> float | None:
    """Of MT-Bench's own script: the first number in `[[ ]]`, else in `[ ]`; None (its -1) is left out of every mean."""
    found = re.search(r"\[\[(\d+\.?\d*)\]\]", text) or re.search(r"\[(\d+\.?\d*)\]", text)
    return float(found[1]) if found else None


def benchmark_grade(text: str) -> str:
    """Of SimpleQA's own script: the first of the letters A, B and C anywhere in the reply; C if there is none."""
    found = re.search(r"(A|B|C)", text)
    return found[1] if found else "C"
