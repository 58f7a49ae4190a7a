"""The 25 instructions of IFEval that a program can check (Zhou et al. 2023, arXiv:2311.07911, table 1).

Semantics follow the authors' published checks (google-research, instruction_following_eval), their peculiarities included, since they
define the score. Two differences: the language detector has a private seed, so that a text is always judged the same way; and a text that
repeats itself costs linear time, or is not judged where a regular expression of the data set takes too long.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from pytest_lighteval.metrics import regex_process
from pytest_lighteval.metrics.libraries import load, split_sentences, split_words

Arguments = Mapping[str, Any]
Check = Callable[[str, Arguments], bool]
"""Does this response follow the instruction with these arguments? 

Raises KeyError when an argument is missing, and NotJudgedError when a regular expression of the data set takes too long.
"""


def _number(given: Arguments, name: str) -> int:
    return int(given[name])


def _compare(count: int, relation: str, limit: int) -> bool:
    return count < limit if relation == "less than" else count >= limit


# ------------------------------------------------------------------------------------------------ keywords


def _existence(text: str, given: Arguments) -> bool:
    return all(regex_process.occurs(keyword, text, ignore_case=True) for keyword in given["keywords"])


def _frequency(text: str, given: Arguments) -> bool:
    return _compare(regex_process.count(given["keyword"], text, ignore_case=True), given["relation"], _number(given, "frequency"))


def _forbidden_words(text: str, given: Arguments) -> bool:
    return not any(regex_process.occurs(rf"\b{word}\b", text, ignore_case=True) for word in given["forbidden_words"])


def _letter_frequency(text: str, given: Arguments) -> bool:
    return _compare(text.lower().count(given["letter"].lower()), given["let_relation"], _number(given, "let_frequency"))


# ------------------------------------------------------------------------------------------------ language and case


@cache
def _language_profiles() -> Any:
    langdetect = load("langdetect")
    factory = langdetect.DetectorFactory()
    factory.seed = 0
    factory.load_profile(langdetect.PROFILES_DIRECTORY)
    return factory


def _is_in_language(text: str, language: str) -> bool:
    """A text in which no language can be found passes, as in the original."""
    failure = load("langdetect").LangDetectException
    detector = _language_profiles().create()
    try:
        detector.append(text)
        return bool(detector.detect() == language)
    except failure:
        return True


def _response_language(text: str, given: Arguments) -> bool:
    return _is_in_language(text, given["language"])


def _english_capital(text: str, _: Arguments) -> bool:
    return text.isupper() and _is_in_language(text, "en")


def _english_lowercase(text: str, _: Arguments) -> bool:
    return text.islower() and _is_in_language(text, "en")


def _capital_word_frequency(text: str, given: Arguments) -> bool:
    capitals = sum(word.isupper() for word in split_words(text))
    return _compare(capitals, given["capital_relation"], _number(given, "capital_frequency"))


# ------------------------------------------------------------------------------------------------ length


def _number_sentences(text: str, given: Arguments) -> bool:
    return _compare(len(split_sentences(text)), given["relation"], _number(given, "num_sentences"))


def _number_words(text: str, given: Arguments) -> bool:
    return _compare(len(re.findall(r"\w+", text)), given["relation"], _number(given, "num_words"))


def _number_paragraphs(text: str, given: Arguments) -> bool:
    """Paragraphs between `***`; only the outermost may be empty, and those do not count."""
    first, *inner = re.split(r"\s?\*\*\*\s?", text)
    last = [inner.pop()] if inner else []
    if not all(paragraph.strip() for paragraph in inner):
        return False
    return sum(bool(paragraph.strip()) for paragraph in (first, *inner, *last)) == _number(given, "num_paragraphs")


def _nth_paragraph_first_word(text: str, given: Arguments) -> bool:
    """Paragraphs between blank lines; empty ones do not count, but keep their place when the n-th is looked up."""
    paragraphs = text.split("\n\n")
    count = sum(bool(paragraph.strip()) for paragraph in paragraphs)
    if not 1 <= _number(given, "nth_paragraph") <= count:
        return False
    paragraph = paragraphs[_number(given, "nth_paragraph") - 1].strip()
    if not paragraph:
        return False
    word = re.split(r"[.,?!'\"]", paragraph.split()[0].lstrip("'").lstrip('"'))[0]
    return count == _number(given, "num_paragraphs") and word.lower() == str(given["first_word"]).lower()


# ------------------------------------------------------------------------------------------------ content and format


def _number_placeholders(text: str, given: Arguments) -> bool:
    r"""As many as `\[.*?\]` finds."""
    return sum(_count_brackets(line) for line in text.split("\n")) >= _number(given, "num_placeholders")


def _count_brackets(line: str) -> int:
    found = place = 0
    while (start := line.find("[", place)) >= 0 and (end := line.find("]", start)) >= 0:
        found, place = found + 1, end + 1
    return found


def _postscript(text: str, given: Arguments) -> bool:
    r"""Anywhere. What the original allows before the marker, `\s*`, and after it, `.*$`, is always there."""
    marker = given["postscript_marker"]
    known = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    if marker in known:
        return re.search(known[marker], text.lower()) is not None
    return regex_process.occurs(marker.lower(), text.lower())


def _number_bullet_lists(text: str, given: Arguments) -> bool:
    r"""Lines that begin with a star or a dash. The original's `^\s*` also crosses empty lines, but ends in the same marks."""
    stars = re.findall(r"^[^\S\n]*\*[^\*].*$", text, re.MULTILINE)
    dashes = re.findall(r"^[^\S\n]*-.*$", text, re.MULTILINE)
    return len(stars) + len(dashes) == _number(given, "num_bullets")


def _constrained_response(text: str, _: Arguments) -> bool:
    return any(f"My answer is {answer}." in text for answer in ("yes", "no", "maybe"))


def _number_highlighted_sections(text: str, given: Arguments) -> bool:
    """Each `*section*` counts, and each `**section**` once more on its own."""
    single = sum(bool(section.strip("*").strip()) for section in re.findall(r"\*[^\n\*]*\*", text))
    double = sum(bool(section[2:-2].strip()) for section in re.findall(r"\*\*[^\n\*]*\*\*", text))
    return single + double >= _number(given, "num_highlights")


def _multiple_sections(text: str, given: Arguments) -> bool:
    return regex_process.count(given["section_spliter"], text, around=(r"\s?", r"\s?\d+\s?")) >= _number(given, "num_sections")


def _json_format(text: str, _: Arguments) -> bool:
    bare = text.strip()
    for fence in ("```json", "```Json", "```JSON", "```"):
        bare = bare.removeprefix(fence)
    try:
        json.loads(bare.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def _title(text: str, _: Arguments) -> bool:
    r"""A line with `<<`, text and `>>`: of the original's `<<[^\n]+>>`, which takes as much as it can, a line has at most one."""
    for line in text.split("\n"):
        start, end = line.find("<<"), line.rfind(">>")
        if 0 <= start < end - 2 and line[start : end + 2].lstrip("<").rstrip(">").strip():
            return True
    return False


# ------------------------------------------------------------------------------------------------ combination, start and end


def _two_responses(text: str, _: Arguments) -> bool:
    """Two different ones between six stars; only the outermost pieces may be empty."""
    pieces = [piece.strip() for piece in text.split("******")]
    if not all(pieces[1:-1]):
        return False
    responses = [piece for piece in pieces if piece]
    return len(responses) == 2 and responses[0] != responses[1]


def _repeat_prompt(text: str, given: Arguments) -> bool:
    return text.strip().lower().startswith(str(given["prompt_to_repeat"]).strip().lower())


def _end_checker(text: str, given: Arguments) -> bool:
    return text.strip().strip('"').lower().endswith(str(given["end_phrase"]).strip().lower())


def _quotation(text: str, _: Arguments) -> bool:
    bare = text.strip()
    return len(bare) > 1 and bare[0] == bare[-1] == '"'


def _no_comma(text: str, _: Arguments) -> bool:
    return "," not in text


INSTRUCTIONS: Mapping[str, Check] = {
    "keywords:existence": _existence,
    "keywords:frequency": _frequency,
    "keywords:forbidden_words": _forbidden_words,
    "keywords:letter_frequency": _letter_frequency,
    "language:response_language": _response_language,
    "length_constraints:number_sentences": _number_sentences,
    "length_constraints:number_paragraphs": _number_paragraphs,
    "length_constraints:number_words": _number_words,
    "length_constraints:nth_paragraph_first_word": _nth_paragraph_first_word,
    "detectable_content:number_placeholders": _number_placeholders,
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": _number_bullet_lists,
    "detectable_format:constrained_response": _constrained_response,
    "detectable_format:number_highlighted_sections": _number_highlighted_sections,
    "detectable_format:multiple_sections": _multiple_sections,
    "detectable_format:json_format": _json_format,
    "detectable_format:title": _title,
    "combination:two_responses": _two_responses,
    "combination:repeat_prompt": _repeat_prompt,
    "startend:end_checker": _end_checker,
    "startend:quotation": _quotation,
    "change_case:capital_word_frequency": _capital_word_frequency,
    "change_case:english_capital": _english_capital,
    "change_case:english_lowercase": _english_lowercase,
    "punctuation:no_comma": _no_comma,
}
"""By the id in the data set, grouped as in the paper."""
