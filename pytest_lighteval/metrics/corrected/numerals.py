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
_NO_EXPONENT = r"(?<![\d^_])(?<!\^-)(?<![\^_]\{)(?<!\^\{-)(?<!\bm)(?<!\b[cdkm]m)(?<!\bft)"
"""No exponent, index or unit, as the 2 of "m^2" and "cm2"."""
_SMALL = r"\{?-?\d{1,3}(?!\d)\}?"
_NUMERAL = re.compile(
    rf"(?P<sign>{_SIGN})?[\\{_CURRENCY}]{{0,2}}{_NO_EXPONENT}(?P<digits>\d+(?:[.,' ]\d{{3}}(?!\d))*(?:[.,]\d+)?|\.\d+)"
    r"(?:\s?/\s?(?P<below>\d+))?"
    rf"(?:\s?\^\s?(?P<power>{_SMALL})|[eE](?P<exponent>[+-]?\d{{1,3}})(?![\d.])|\s?(?:\\times|\\cdot|[×x*])\s?10\s?\^\s?(?P<ten>{_SMALL}))?"
)
_MARK = re.compile(r"####(.*)")
_RUN_ON = re.compile(r"(?<=\n)[ ]*(?:Question|Q|Problem)[ ]?\d*:|Question:")
_GOES_ON = re.compile(
    rf"[\u00b2\u00b3\u00b9\u00bc-\u00be\u2070-\u209f\u2150-\u215f]|:\d|[kxyzn]\b|[ ]?\\(?:pi|sqrt|[dt]?frac|[dt]?binom)\b"
    rf"|[ ]?(?:[-+*/^×÷x]|\\(?:times|cdot|div|pm)\b)[ ]?[\\({_CURRENCY}]{{0,2}}\.?\d|[ ]or[ ][\\{_CURRENCY}]{{0,2}}\d"
)
"""Behind a number that is only a part of what is said: "6-4", "2:30", "6 or 7", "2\\pi"."""
_GOES_BEFORE = re.compile(r"(?:\d[ ]?(?:[-+*/^:×÷x]|\\(?:times|cdot|div|pm))[ ]?|\\(?:sqrt|[dt]?frac|[dt]?binom|log|ln)[ ]*\{?|\}\{)$")
_THIN = re.compile(r"(?<=\d)(?:,?\\[,!:; ]|\{,\})(?=\d{3}(?!\d))")
_FRACTION = re.compile(r"(?<![\d/.,])(?:(\d{1,9})[ ]?)?\\[dt]?frac[ ]?(?:\{[ ]?(\d{1,9})[ ]?\}\{[ ]?(\d{1,9})[ ]?\}|(\d)(\d))")
_MIXED = re.compile(r"(?<![\d/.,])(\d{1,9})[ ](\d{1,9})/(\d{1,9})(?!\d)")
_MODULUS = re.compile(r"\\pmod[ ]*(?:\{[^{}]*\}|\d+)|\((?:\\?mod|\\bmod)\b[^()]*\)")
_ASIDE = re.compile(r"(?<!\\)\((?=[^()\\]*[A-Za-z])[^()\\]*\)")
_NOT = r"(?:n't|\bnot\b|\bnever\b|\bcannot\b|不是|\bno es\b|n'est pas|\bist nicht\b|\bне\b)"
_NEGATED = re.compile(rf"[*_]*(?:\s+[A-Za-z—]+){{0,2}}?\s*{_NOT}", re.IGNORECASE)
_NOT_BEFORE = re.compile(rf"{_NOT}(?:\s+be)?\s+[\\{_CURRENCY}*(]{{0,4}}$", re.IGNORECASE)
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
    A number that is only a part of what is said there, as in "6-4" and "2:30", is none, and so is one that the text denies.
    """
    plain = _plain(_RUN_ON.split(canonical(text), maxsplit=1)[0])
    places = (_marked(plain), last_box(plain), _announced(plain, ANSWER_WORDS[language]))
    for place in places:
        if place is not None and (numeral := _result(place)) is not None:
            if _is_part(numeral):
                return frozenset()
            return _readings(numeral, decimal_comma=language in _DECIMAL_COMMA)
    line = _last_line(plain)
    bare = _ASIDE.sub("", line)
    line = bare if _NUMERAL.search(bare) else line
    numerals = [found for found in _NUMERAL.finditer(line) if not _NOT_BEFORE.search(line, max(0, found.start() - 24), found.start())]
    if not numerals or _is_part(numerals[-1]) or _begins_step(plain, line, numerals[-1]):
        return frozenset()
    return _readings(numerals[-1], decimal_comma=language in _DECIMAL_COMMA)


def _plain(text: str) -> str:
    r"""With "1/2" for `\frac{1}{2}`, "5/2" for "2 1/2", "1234" for `1{,}234`, and without `\pmod{1000}`."""

    def fraction(found: re.Match[str]) -> str:
        whole, above, below = int(found[1] or 0), int(found[2] or found[4]), int(found[3] or found[5])
        return f"{whole * below + above}/{below}"

    def mixed(found: re.Match[str]) -> str:
        return f"{int(found[1]) * int(found[3]) + int(found[2])}/{found[3]}"

    return _MIXED.sub(mixed, _FRACTION.sub(fraction, _MODULUS.sub("", _THIN.sub("", text))))


def _is_part(numeral: re.Match[str]) -> bool:
    """Whether a number is only a part of an expression, a time or a range."""
    before = numeral.string[max(0, numeral.start() - 12) : numeral.start()]
    return _GOES_ON.match(numeral.string, numeral.end()) is not None or _GOES_BEFORE.search(before) is not None


def _marked(text: str) -> str | None:
    found = _MARK.search(text)
    return found[1] if found else None


def _announced(text: str, words: Iterable[str]) -> str | None:
    """The number behind the last such word that a number follows, in its line or the next.

    If it does not follow closely, it is the last one of the sentence: "The answer is found by adding 5 and 6, which gives 11."
    """
    last = max((found.start() for found in _NUMERAL.finditer(text)), default=-1)
    said = re.finditer("|".join(words), text, flags=re.IGNORECASE)
    ends = [found.end() for found in said if found.end() <= last and not _NEGATED.match(text, found.end())]
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
    power = int((numeral["power"] or "1").strip("{}"))
    ten = int((numeral["exponent"] or numeral["ten"] or "0").strip("{}"))
    values = {Fraction(spelling) for spelling in spellings}
    if not below or (numeral["power"] and numeral["below"]) or (power < 0 and Fraction(0) in values):
        return frozenset()
    return frozenset(sign * value**power * Fraction(10) ** ten / below for value in values)


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
