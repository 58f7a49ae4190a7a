"""The letter of multiple choice that a text answers with, only where the text says that it is its answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from pytest_lighteval.metrics.corrected.canonical import canonical
from pytest_lighteval.metrics.extraction import IsRight, extractive_match
from pytest_lighteval.metrics.languages import ENGLISH, LANGUAGES, Language
from pytest_lighteval.metrics.sampling import pass_at_k
from pytest_lighteval.types import Doc

# all of these take what they can and give nothing back: no text takes more than linear time
_OPENERS = r"(?:[\s$*_(\[{<\"']|\\(?:boxed|fbox|textbf|textit|textrm|text|mathrm|mathbf|mathsf|[(\[])){0,16}+"
_CLOSERS = r"[$*_)\]}>\"']{0,16}+(?:\\[)\]])?+"
_BE = "is|was|be|would be|should be|must be|est|es|è|é|ist|lautet|là|adalah|ni|هي|هو|是|为|為|は|은|는|है|হল"
_FILLERS = (
    "therefore|thus|hence|then|clearly|definitely|probably|likely|most likely|the|correct|right|best|final|option|choice|letter|answer"
)
_KINDS = "correcta?|correcte|corretta|correta|final|finale|choice|option|letter|key|الصحيحة"
"""Words between that for "answer" and "is"."""
_ALSO = {"jpn": "答え|正解", "zho": "正确选项", "deu": "lösung"}
"""Further words for "answer", by language."""
_REASONS = "because|since|as|due|for|with|which|where|though|but|while"
"""Words that may follow a letter that is an answer: "A because", but not "A hydrogen atom"."""


@lru_cache(maxsize=256)
def _patterns(count: int, language: Language) -> tuple[re.Pattern[str], ...]:
    """What announces a letter; the letter is in the group."""
    upper = "|".join(re.escape(one) for one in language.letters[:count])
    either = upper + "|" + "|".join(re.escape(one.lower()) for one in language.letters[:count])
    # no letter of a word, and no list of letters
    latin = language.letters[0].isascii()
    apart = r"(?![A-Za-z0-9\u00c0-\u024f]|['’]\w)" if latin else r"(?![^\W\d_]|['’]\w)"
    others = rf"(?!\s*(?:,|/|&|\bor\b|\band\b)\s*{_OPENERS}(?:{upper})\b)(?!\s*\?)"
    end = rf"(?=\s*[.,;:!。，]*\s*(?:\n|$|[.;!。，,(\-]|\s(?:{_REASONS})\b))"
    strict = rf"(?P<letter>(?:{either}){apart})(?={_CLOSERS}{end})"
    # an upper-case letter before a word is the answer unless it may be the word "A" or "I"
    loose = rf"(?P<letter>(?:{upper}){apart}(?![ ]+(?<=[AI] )[a-z])|(?:{either}){apart}(?={_CLOSERS}{end}))"
    word = rf"(?i:(?:{_ALSO.get(language.code, language.answer)}|{language.answer})(?:\s+(?:{_KINDS})\b)?+)"
    be = rf"(?>\s*(?:(?:{_BE})(?![^\W\d_])|[:=\-])\s*)" if language.has_spaces else rf"(?>\s*(?:{_BE}|[:=\-])\s*)"
    fillers = rf"(?>\s*\b(?:{_FILLERS})\b\s*:?\s*){{0,6}}+"
    marks = r"[*_\"'>\])]{0,4}+"
    announced = [
        rf"{word}{marks}(?i:{be}{{1,3}}+{fillers}{be}?+){_OPENERS}{loose}{others}",
        rf"{word}\s+{_OPENERS}{strict}{others}",
        rf"\\f?boxed\s*\{{{_OPENERS}(?P<letter>(?:{either}){apart}){_CLOSERS}[.):]?",
    ]
    if language.code == "zho":
        announced.append(rf"选(?:择|项)?{be}?+{_OPENERS}{strict}{others}")
    if language is ENGLISH:
        best = r"(?i:\s+(?:is|must be|would be)\s+(?:the\s+)?(?:correct|right|best)\b)"
        announced += [
            rf"(?i:<answer>){_OPENERS}(?P<letter>(?:{either}){apart}){_CLOSERS}[.):]?",
            rf"(?i:\b(?:option|choice|letter)\b{marks}{be}{{1,3}}+{fillers}{be}?+){_OPENERS}{strict}{others}",
            rf"(?i:\b(?:therefore|thus|hence|so|conclusion|finally)\b[,:]?\s*{fillers}{be}?+){_OPENERS}{strict}{others}",
            rf"(?i:\b(?:choose|pick|select|go with|going with|opt for)\s+{fillers}){_OPENERS}{strict}{others}",
            rf"\b(?P<letter>(?:{upper}){apart}){_CLOSERS}{best}",
            rf"(?i:\b(?:option|choice)\s+){_OPENERS}(?P<letter>(?:{upper}){apart}){_CLOSERS}{best}",
        ]
    return tuple(re.compile(pattern) for pattern in announced)


@lru_cache(maxsize=256)
def _alone(count: int, language: Language) -> re.Pattern[str]:
    """A line that is a letter."""
    letters = "|".join(re.escape(form) for one in language.letters[:count] for form in (one, one.lower()))
    return re.compile(rf"{_OPENERS}(?P<letter>{letters})[.):]?{_CLOSERS}[.!]?")


def _option(lines: Sequence[str], count: int, language: Language) -> re.Match[str] | None:
    """The last line if it is an option with its letter, "B) 42 m", and no other line is one."""
    letters = "|".join(map(re.escape, language.letters[:count]))
    options = [match for line in lines if (match := re.match(rf"[*\[(]{{0,4}}(?P<letter>{letters})\)", line))]
    return options[0] if len(options) == 1 and options[0].string is lines[-1] else None


def announced_letter(text: str, count: int, language: Language = ENGLISH) -> str | None:
    r"""The letter that the text says is its answer, of the first `count`. The last such statement counts.

    Statements are `Answer: B`, "the answer is (B)", `\boxed{B}`, "B is correct", "therefore: B", and a last line that is the letter alone,
    or an option with its letter where no other line is one.
    Brackets, quotes, dollar signs and fonts around it do not matter. None: the text says no letter, or several.
    """
    lines = [line for raw in canonical(text).splitlines() if (line := " ".join(raw.split()))]
    if not lines:
        return None
    plain = "\n".join(lines)
    alone = _alone(count, language).fullmatch(lines[-1]) or _option(lines, count, language)
    found = [alone] if alone else [match for pattern in _patterns(count, language) for match in pattern.finditer(plain)]
    if not found:
        return None
    letter = max(found, key=lambda match: match.start("letter"))["letter"]
    return next((one for one in language.letters[:count] if one.lower() == letter.lower()), None)


def announced_letter_equality(language: Language = ENGLISH) -> IsRight:
    """The announced letter is a gold's; there are as many letters as choices."""

    def is_right(doc: Doc, text: str) -> bool:
        given = announced_letter(text, len(doc.choices), language)
        return given is not None and given in (gold.strip() for gold in doc.golds)

    return is_right


METRICS = (
    extractive_match("gpqa_instruct_metric_corrected", announced_letter_equality()),
    *(
        pass_at_k(f"gpqa_instruct_pass_at_1_{n}n_corrected", f"gpqa_pass@1:{n}_samples", announced_letter_equality(), k=1, samples=n)
        for n in (1, 4, 8)
    ),
    *(
        extractive_match(f"extractive_match_indices_{name}_corrected", announced_letter_equality(language))
        for name, language in LANGUAGES.items()
    ),
)
