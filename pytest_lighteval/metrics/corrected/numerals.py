"""The number that a worked answer ends with: after its mark, within its box, after the word for "answer", or in its last line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fractions import Fraction

from pytest_lighteval.common.statistics import MEAN
from pytest_lighteval.metrics.corrected.boxes import last_box
from pytest_lighteval.metrics.corrected.canonical import canonical
from pytest_lighteval.types import Ask, Doc, GenerateResponse, Metric

Readings = frozenset[Fraction]
"""What one numeral may mean. Several: "1.000" in a language that writes decimals with a comma. Empty: there is no number."""

_CURRENCY = "$€£¥₹₽฿"
_SIGN = rf"(?<![\w)\]])-(?=[\\{_CURRENCY}]{{0,2}}\.?\d)"
_NUMERAL = re.compile(
    rf"(?P<sign>{_SIGN})?[\\{_CURRENCY}]{{0,2}}(?P<digits>\d+(?:[.,' ]\d{{3}}(?!\d))*(?:[.,]\d+)?|\.\d+)(?:\s?/\s?(?P<below>\d+))?"
)
_MARK = re.compile(r"####(.*)")
_RUN_ON = re.compile(r"(?<=\n)[ ]*(?:Question|Q|Problem)[ ]?\d*:|Question:")
_MOST_DIGITS = 400
_CLOSE = 15
"""Characters between the word for "answer" and its number: "is therefore $"."""

ANSWER_WORDS: Mapping[str, tuple[str, ...]] = {
    "bn": ("উত্তর",),
    "de": ("antwort",),
    "en": ("answer",),
    "es": ("respuesta",),
    "fr": ("réponse",),
    "ja": ("答え", "回答"),
    "ru": ("ответ",),
    "sw": ("jibu",),
    "te": ("సమాధానం", "జవాబు"),
    "th": ("คำตอบ",),
    "zh": ("答案",),
}
"""ISO 639-1 -> words that announce an answer, lower case: those of MGSM's own examples (Shi et al. 2022, arXiv:2210.03057) among them."""

_DECIMAL_COMMA = ("de", "es", "fr", "ru")


def answer_number(text: str, *, language: str = "en") -> Readings:
    """The number that the text answers with.

    In this order: behind the first `####`; in the last box; behind the last word for "answer"; the last one of the last line.
    A further question that the text goes on with, and its answer, do not count. Behind an equals sign stands the result.
    """
    plain = _RUN_ON.split(canonical(text), maxsplit=1)[0]
    places = (_marked(plain), last_box(plain), _announced(plain, ANSWER_WORDS[language]))
    for place in places:
        if place is not None and (numeral := _result(place)) is not None:
            return _readings(numeral, decimal_comma=language in _DECIMAL_COMMA)
    line = _last_line(plain)
    numerals = list(_NUMERAL.finditer(line))
    if not numerals or _begins_step(plain, line, numerals[-1]):
        return frozenset()
    return _readings(numerals[-1], decimal_comma=language in _DECIMAL_COMMA)


def _marked(text: str) -> str | None:
    found = _MARK.search(text)
    return found[1] if found else None


def _announced(text: str, words: Iterable[str]) -> str | None:
    """The number behind the last such word that a number follows, in its line or the next.

    If it does not follow closely, it is the last one of the sentence: "The answer is found by adding 5 and 6, which gives 11."
    """
    last = max((found.start() for found in _NUMERAL.finditer(text)), default=-1)
    ends = [found.end() for found in re.finditer("|".join(words), text, flags=re.IGNORECASE) if found.end() <= last]
    if not ends:
        return None
    line = text[ends[-1] :].lstrip(" :*\n").partition("\n")[0]
    first = _NUMERAL.search(line)
    if first is None or first.start() <= _CLOSE:
        return line
    return line[[found.start() for found in _NUMERAL.finditer(_sentence(line))][-1] :] if _NUMERAL.search(_sentence(line)) else line


def _sentence(text: str) -> str:
    return re.split(r"(?<=\D)\.(?:\s|$)|\.\s", text, maxsplit=1)[0]


def _last_line(text: str) -> str:
    return text.rstrip().rpartition("\n")[2]


def _begins_step(text: str, line: str, numeral: re.Match[str]) -> bool:
    """Whether a number at the end counts the next step of a text that was cut there, as the 4 of "3. Add them. 4."."""
    digits = numeral["digits"]
    if not digits.isdecimal() or len(digits) > 2 or line[numeral.end() : numeral.end() + 4].strip() not in (".", ")"):
        return False
    before = line[: numeral.start()].rstrip()
    return (not before or before[-1] in ".:!?") and re.search(rf"\b{int(digits) - 1}[.)]", text) is not None


def _result(place: str) -> re.Match[str] | None:
    """The first number; of an equation in the first sentence the side that is a number alone: 11 in "5 + 6 = 11" and in "11 = 5 + 6"."""
    sides = _sentence(place).split("=")
    if len(sides) > 1:
        numerals = {side: list(_NUMERAL.finditer(side)) for side in (sides[-1], sides[0])}
        for found in numerals.values():
            if len(found) == 1:
                return found[0]
        if numerals[sides[-1]]:
            return numerals[sides[-1]][0]
    return _NUMERAL.search(place)


def _readings(numeral: re.Match[str], *, decimal_comma: bool) -> Readings:
    digits = numeral["digits"]
    spellings = {_english(digits)}
    if decimal_comma:
        spellings.add(_english(digits.translate({ord("."): ",", ord(","): "."})))
    if len(numeral[0]) > _MOST_DIGITS:  # a model that loops; Python reads no number of thousands of digits
        return frozenset()
    below = int(numeral["below"] or 1)
    sign = -1 if numeral["sign"] else 1
    return frozenset(sign * Fraction(spelling) / below for spelling in spellings) if below else frozenset()


def _english(digits: str) -> str:
    """Without separators of thousands; a comma before other than three digits is a decimal one."""
    whole, point, part = digits.replace("'", "").replace(" ", "").partition(".")
    if not point and (found := re.fullmatch(r"(\d+),(\d{1,2}|\d{4,})", whole)):
        return f"{found[1]}.{found[2]}"
    return f"{whole.replace(',', '') or '0'}.{part.replace(',', '').replace('.', '') or '0'}" if point else whole.replace(",", "")


def number_match(name: str, reported: str, *, language: str = "en") -> Metric:
    """1 if the greedy text's number is that of a gold."""

    def sample(doc: Doc, response: GenerateResponse) -> dict[str, float]:
        given = answer_number(response.texts[0], language=language)
        return {reported: float(any(given & answer_number(gold, language=language) for gold in doc.golds))}

    return Metric(name=name, ask=Ask.GENERATION, sample=sample, corpus={reported: MEAN})


METRICS = (
    number_match("quasi_exact_match_gsm8k_corrected", "qem"),
    *(number_match(f"exact_match_number_{language}_corrected", "em", language=language) for language in ANSWER_WORDS),
)
