"""The letter of multiple choice that a text answers with, only where the text says that it is its answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from pytest_lighteval.metrics.corrected.canonical import canonical
from pytest_lighteval.metrics.extraction import Extract, IsRight, extractive_match
from pytest_lighteval.metrics.languages import ENGLISH, LANGUAGES, Language
from pytest_lighteval.metrics.sampling import pass_at_k
from pytest_lighteval.types import Doc

# all of these take what they can and give nothing back: no text takes more than linear time
_OPENERS = r"(?:[\s$*_(\[{<\"']|\\(?:boxed|fbox|textbf|textit|textrm|text|mathrm|mathbf|mathsf|[(\[])){0,16}+"
_CLOSERS = r"[$*_)\]}>\"']{0,16}+(?:\\[)\]])?+"
_BE = "is|was|be|would be|should be|must be|est|es|è|é|ist|lautet|là|adalah|ni|هي|هو|是|为|為|は|은|는|है|হল"
_FILLERS = (
    "therefore|thus|hence|then|clearly|definitely|probably|likely|most likely|the|correct|right|best|final|option|choice|letter|answer"
    r"|la|le|el|il|die|der|das|l'(?:option|lettre)|lettre|lettera|letra|opción|opção|alternativa|buchstabe|(?-i:a)(?=\s+[B-H]\b)"
)
_KINDS = "correcta?|correcte|corretta|correta|final|finale|choice|option|letter|key|الصحيحة"
"""Words between that for "answer" and "is"."""
_ALSO = {"jpn": "答え|正解", "zho": "正确选项", "deu": "lösung"}
"""Further words for "answer", by language."""
_REASONS = "because|since|as|due|for|with|which|where|though|but|while"
"""Words that may follow a letter that is an answer: "A because", but not "A hydrogen atom"."""

_CONTINUES = (
    f"{_REASONS}|is|was|would|must|seems|looks|and|if|when|from|in|by|based|among|has|will|hence|thus|therefore|so|that|according|given"
)
_RUN_ON = re.compile(r"\n[ *]*(?:Question|Q|Problem)[ ]?\d*:")
_PLACEHOLDER = re.compile(r"\$?\bLETTER\b\$?:?\s+(?=[$*(\[]{0,4}[A-Z]\b)")
_PART_OF_WORD = re.compile(r"[-=]\w|\.[A-Z]\b|[+^_]\w")
"""Behind the first letter of "D-glucose", "C=O" and "D.C."."""
_DENIED = re.compile(
    rf"{_CLOSERS}\s+(?:(?:is|was|are|seems|looks|can|could|would|must|be|clearly|definitely|certainly|also|therefore)\s+){{0,3}}"
    r"(?:not\b|incorrect|wrong|false\b|impossible|excluded|eliminated|ruled out|cannot\b|(?:is|was|are|ca|could|would)n't\b)"
)
_DENIES = re.compile(
    r"\b(?:not|never|neither|nor|cannot|if|whether|suppose|assume|assuming|unless)\b|n't\b|(?<!no )(?<!without )\bdoubt\b"
    r"|不|没|\b(?:ne|pas|nicht|kein|keine|não|non|не)\b|\bno\s(?:es|creo|pienso)\b|\b(?:wrong|incorrect)\s*$",
    re.IGNORECASE,
)
_CLAUSE_END = re.compile(r"[.!?\n;:,。，；]|\b(?:so|but|therefore|hence|thus|then|and|since)\b", re.IGNORECASE)
_OR = r"(?:[,;/&+、]|\bor\b|\band\b|\bou\b|\boder\b|\bund\b|\bo\b|\by\b|\be\b|\bили\b|\bи\b|或|和|与|または|か|와|또는)"


@lru_cache(maxsize=256)
def _beside(count: int, language: Language) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Another letter behind a letter, and one before it, which make it one of several."""
    upper = "|".join(re.escape(one) for one in language.letters[:count])
    ends = r"(?![A-Za-z0-9])(?!(?<=[AI])[ ][a-z])"
    wrapped = r"(?:\\(?:text|textbf|mathrm|quad|[,; ])\s*\{?)?"
    behind = rf"[\s$*_)\]}}>\"'\\]{{0,8}}{wrapped}\s*{_OR}\s*\}}?{_OPENERS}(?:{upper}){ends}"
    before = rf"(?<![A-Za-z])(?:{upper})[$*_)\]}}\"']{{0,4}}\s*(?:[/&]|\b(?:or|nor|and)\b|或|和)\s*[$*_(\[{{\"']{{0,4}}$"
    return re.compile(behind), re.compile(before)


def _is_said(match: re.Match[str], count: int, language: Language) -> bool:
    """Whether the letter is a single one, is no letter of a word, and is not denied."""
    text, start, end = match.string, match.start("letter"), match.end("letter")
    behind, before = _beside(count, language)
    if behind.match(text, end) or before.search(text[max(0, start - 24) : start]):
        return False
    if _PART_OF_WORD.match(text, end) or _DENIED.match(text, end):
        return False
    word = re.match(r"[ ]+([a-z]+)", text[end : end + 24])
    if language is ENGLISH and word and not re.fullmatch(_CONTINUES, word[1]):
        return False
    clause = _CLAUSE_END.split(text[max(0, match.start() - 80) : match.start()])[-1]
    return _DENIES.search(clause) is None


@lru_cache(maxsize=256)
def _patterns(count: int, language: Language) -> tuple[re.Pattern[str], ...]:
    """What announces a letter; the letter is in the group."""
    upper = "|".join(re.escape(one) for one in language.letters[:count])
    either = upper + "|" + "|".join(re.escape(one.lower()) for one in language.letters[:count])
    # no letter of a word
    latin = language.letters[0].isascii()
    apart = r"(?![A-Za-z0-9\u00c0-\u024f]|['’]\w)" if latin else r"(?![^\W\d_]|['’]\w)"
    others = r"(?!\s*\?)"
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
        single = rf"(?P<letter>(?:{upper}){apart})(?={_CLOSERS}{end})"
        best = r"(?i:\s+(?:is|must be|would be)\s+(?:the\s+)?(?:correct|right|best)\b)"
        announced += [
            rf"(?i:<answer>){_OPENERS}(?P<letter>(?:{either}){apart}){_CLOSERS}[.):]?",
            rf"(?i:\b(?:option|choice|letter)\b{marks}{be}{{1,3}}+{fillers}{be}?+){_OPENERS}{strict}{others}",
            rf"(?i:\b(?:therefore|thus|hence|so|conclusion|finally)\b[,:]?\s*{fillers}{be}?+){_OPENERS}{strict}{others}",
            rf"(?i:\b(?:choose|pick|select|go with|going with|opt for)\s+{fillers}){_OPENERS}{strict}{others}",
            rf"(?i:\b(?:it's|it is|it must be|that's|that is)\s+{fillers}){_OPENERS}{single}{others}",
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
    """The last line if it is an option with its letter, "B) 42 m" or "B. 42 m", and no other line is one."""
    letters = "|".join(map(re.escape, language.letters[:count]))
    options = [match for line in lines if (match := re.match(rf"[*\[(]{{0,4}}(?P<letter>{letters})(?:\)|\.\s+\S)", line))]
    return options[0] if len(options) == 1 and options[0].string is lines[-1] else None


def announced_letter(text: str, count: int, language: Language = ENGLISH) -> str | None:
    r"""The letter that the text says is its answer, of the first `count`. The last such statement counts.

    Statements are `Answer: B`, "the answer is (B)", `\boxed{B}`, "B is correct", "it's B", "therefore: B", and a last line that is the
    letter alone, or an option with its letter where no other line is one.
    Brackets, quotes, dollar signs and fonts around it do not matter. A further question that the text goes on with does not count.
    None: the text says no letter, or several, or denies it.
    """
    own = _PLACEHOLDER.sub("", _RUN_ON.split(canonical(text), maxsplit=1)[0])
    lines = [line for raw in own.splitlines() if (line := " ".join(raw.split()))]
    if not lines:
        return None
    plain = "\n".join(lines)
    alone = _alone(count, language).fullmatch(lines[-1]) or _option(lines, count, language)
    found = [alone] if alone else [match for pattern in _patterns(count, language) for match in pattern.finditer(plain)]
    found = [match for match in found if _is_said(match, count, language)]
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


def _announced(language: Language = ENGLISH) -> Extract:
    return lambda doc, text: announced_letter(text, len(doc.choices), language)


METRICS = (
    extractive_match("gpqa_instruct_metric_corrected", announced_letter_equality(), _announced()),
    *(
        pass_at_k(f"gpqa_instruct_pass_at_1_{n}n_corrected", f"gpqa_pass@1:{n}_samples", announced_letter_equality(), k=1, samples=n)
        for n in (1, 4, 8)
    ),
    *(
        extractive_match(f"extractive_match_indices_{name}_corrected", announced_letter_equality(language), _announced(language))
        for name, language in LANGUAGES.items()
    ),
)
