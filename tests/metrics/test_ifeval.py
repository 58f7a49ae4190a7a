"""IFEval's instructions where the recordings have none or where the original's behaviour is easily lost."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

import pytest

from pytest_lighteval.common.statistics import aggregate
from pytest_lighteval.errors import DataError, NotJudgedError
from pytest_lighteval.metrics import metric, regex_process
from pytest_lighteval.metrics.ifeval import loose_variants
from pytest_lighteval.metrics.instructions import INSTRUCTIONS
from pytest_lighteval.types import Doc, GenerateResponse

ENGLISH = "The weather is lovely today, and we are going to walk along the river with our friends."
GERMAN = "Das Wetter ist heute schön, und wir gehen mit unseren Freunden am Fluss spazieren."


def test_there_are_the_papers_twenty_five() -> None:
    assert len(INSTRUCTIONS) == 25


CASES: list[tuple[str, str, dict[str, Any], bool]] = [
    ("language:response_language", GERMAN, {"language": "de"}, True),
    ("language:response_language", ENGLISH, {"language": "de"}, False),
    ("language:response_language", "12345", {"language": "de"}, True),
    ("change_case:english_capital", ENGLISH.upper(), {}, True),
    ("change_case:english_capital", ENGLISH, {}, False),
    ("change_case:english_lowercase", ENGLISH.lower(), {}, True),
    ("change_case:english_lowercase", GERMAN.lower(), {}, False),
    ("change_case:capital_word_frequency", "NASA sent A probe.", {"capital_relation": "at least", "capital_frequency": 2}, True),
    ("keywords:existence", "The KITTEN sleeps", {"keywords": ["kitten", "sleep"]}, True),
    ("keywords:existence", "The kitten", {"keywords": ["kitten", "sleep"]}, False),
    ("keywords:frequency", "a cat, a Cat and a dog", {"keyword": "cat", "relation": "less than", "frequency": 2}, False),
    ("keywords:forbidden_words", "concatenate", {"forbidden_words": ["cat"]}, True),
    ("keywords:forbidden_words", "a Cat.", {"forbidden_words": ["cat"]}, False),
    ("keywords:letter_frequency", "Eel", {"letter": "E", "let_relation": "at least", "let_frequency": 2}, True),
    ("length_constraints:number_sentences", "Dr. Smith left. He was late.", {"relation": "less than", "num_sentences": 3}, True),
    ("length_constraints:number_words", "it's two", {"relation": "at least", "num_words": 3}, True),
    ("length_constraints:number_paragraphs", "one\n***\ntwo\n***\n", {"num_paragraphs": 2}, True),
    ("length_constraints:number_paragraphs", "one ******* two", {"num_paragraphs": 2}, False),
    (
        "length_constraints:nth_paragraph_first_word",
        'one\n\n"Well, two',
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "WELL"},
        True,
    ),
    (
        "length_constraints:nth_paragraph_first_word",
        "one\n\n\n\ntwo",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "two"},
        False,
    ),
    ("detectable_content:number_placeholders", "[name], [street]", {"num_placeholders": 2}, True),
    ("detectable_content:postscript", "Bye.\nP. S. more", {"postscript_marker": "P.S."}, True),
    ("detectable_format:number_bullet_lists", "* one\n- two\n** no", {"num_bullets": 2}, True),
    ("detectable_format:constrained_response", "Hm. My answer is maybe. Bye", {}, True),
    ("detectable_format:constrained_response", "my answer is yes.", {}, False),
    ("detectable_format:number_highlighted_sections", "*one* and **two**", {"num_highlights": 3}, False),
    ("detectable_format:number_highlighted_sections", "*one* and *two*", {"num_highlights": 2}, True),
    ("detectable_format:multiple_sections", "Section 1 a Section 2 b", {"section_spliter": "Section", "num_sections": 2}, True),
    ("detectable_format:json_format", '```json\n{"a": 1}\n```', {}, True),
    ("detectable_format:json_format", "{a: 1}", {}, False),
    ("detectable_format:title", "<<A poem>>\nRoses", {}, True),
    ("detectable_format:title", "<<  >>", {}, False),
    ("combination:two_responses", "one\n******\ntwo", {}, True),
    ("combination:two_responses", "one\n******\none", {}, False),
    ("combination:repeat_prompt", " SAY hello. Hello!", {"prompt_to_repeat": "Say hello."}, True),
    ("startend:end_checker", 'Is that "all"?"', {"end_phrase": 'all"?'}, True),
    ("startend:quotation", '"so it is"\n', {}, True),
    ("startend:quotation", '"', {}, False),
    ("punctuation:no_comma", "one, two", {}, False),
]


@pytest.mark.parametrize(("instruction", "text", "arguments", "expected"), CASES, ids=[f"{case[0]}-{n}" for n, case in enumerate(CASES)])
def test_an_instruction_is_checked_as_its_authors_do(instruction: str, text: str, arguments: dict[str, Any], expected: bool) -> None:
    assert INSTRUCTIONS[instruction](text, arguments) is expected


def test_the_language_of_a_text_is_always_the_same() -> None:
    mixed = "Hello, das ist ein Test of the maison bleue"
    assert len({INSTRUCTIONS["language:response_language"](mixed, {"language": "de"}) for _ in range(20)}) == 1


def test_a_loose_response_lacks_first_and_last_lines_and_stars() -> None:
    assert loose_variants("Sure!\n*yes*\nBye") == (
        "Sure!\n*yes*\nBye",
        "*yes*\nBye",
        "Sure!\n*yes*",
        "*yes*",
        "Sure!\nyes\nBye",
        "yes\nBye",
        "Sure!\nyes",
        "yes",
    )


def scored(text: str, *instructions: str, **arguments: Any) -> Any:
    doc = Doc(
        id="train:7",
        query="",
        choices=("",),
        gold=(0,),
        specific={"instructions_id_list": list(instructions), "kwargs": [arguments] * len(instructions)},
    )
    return metric("ifeval_metric").sample(doc, GenerateResponse(texts=(text,), finish_reasons=("stop",)))


def test_prompts_and_instructions_are_counted_apart() -> None:
    values = scored("Sure, here it is:\n<<one>>", "punctuation:no_comma", "detectable_format:title")

    assert values == {
        "prompt_level_strict_acc": 0.0,
        "inst_level_strict_acc": (1, 2),
        "prompt_level_loose_acc": 1.0,
        "inst_level_loose_acc": (2, 2),
    }


def test_the_instruction_level_pools_instructions_not_documents() -> None:
    assert aggregate([(1, 1), (0, 3)], metric("ifeval_metric").corpus["inst_level_strict_acc"]) == 0.25


def test_an_empty_response_follows_nothing() -> None:
    assert scored(" \n", "punctuation:no_comma")["prompt_level_loose_acc"] == 0.0


def test_unknown_instructions_and_missing_arguments_name_the_document() -> None:
    with pytest.raises(DataError, match="train:7: instruction 'punctuation:no_dot' is none of IFEval's 25"):
        scored("x", "punctuation:no_dot")
    with pytest.raises(DataError, match="train:7: instruction 'keywords:existence' has no argument 'keywords'"):
        scored("x", "keywords:existence", keywords=None)


PUBLISHED: list[tuple[str, dict[str, Any], str, Callable[[str], bool]]] = [
    (
        "detectable_content:number_placeholders",
        {"num_placeholders": 2},
        "[]\n a",
        lambda text: len(re.findall(r"\[.*?\]", text)) >= 2,
    ),
    (
        "detectable_content:postscript",
        {"postscript_marker": "P.P.S"},
        "pPsS.. ",
        lambda text: re.search(r"\s*p\.\s?p\.\s?s.*$", text.lower(), re.MULTILINE) is not None,
    ),
    (
        "detectable_content:postscript",
        {"postscript_marker": "P.S."},
        "pS.. \n",
        lambda text: re.search(r"\s*p\.\s?s\..*$", text.lower(), re.MULTILINE) is not None,
    ),
    (
        "detectable_content:postscript",
        {"postscript_marker": "N.b"},
        "nbx. \n",
        lambda text: re.search(r"\s*n.b.*$", text.lower(), re.MULTILINE) is not None,
    ),
    (
        "detectable_format:number_bullet_lists",
        {"num_bullets": 2},
        "*-a \n\t\r\x0b\u2028",
        lambda text: len(re.findall(r"^\s*\*[^\*].*$", text, re.MULTILINE)) + len(re.findall(r"^\s*-.*$", text, re.MULTILINE)) == 2,
    ),
    (
        "detectable_format:title",
        {},
        "<<>> a\n",
        lambda text: any(title.lstrip("<").rstrip(">").strip() for title in re.findall(r"<<[^\n]+>>", text)),
    ),
]
"""Instructions whose published expressions take quadratic time, with the letters of texts to try them on."""


@pytest.mark.parametrize(("instruction", "arguments", "letters", "published"), PUBLISHED, ids=[case[0] for case in PUBLISHED])
def test_an_instruction_in_linear_time_is_the_published_one(
    instruction: str, arguments: dict[str, Any], letters: str, published: Callable[[str], bool]
) -> None:
    stream = random.Random(5)
    texts = ["".join(stream.choices(letters, k=stream.randrange(0, 14))) for _ in range(3000)]
    judged = [INSTRUCTIONS[instruction](text, arguments) for text in texts]

    assert judged == [published(text) for text in texts]
    assert 10 < sum(judged) < 2990


def test_keywords_are_regular_expressions() -> None:
    check = INSTRUCTIONS["keywords:existence"]

    assert check("The Kittens sleep", {"keywords": ["kitt(en|y)s?", "sle+p", r"\bthe\b"]})
    assert not check("The kitten", {"keywords": ["^kitten"]})
    assert INSTRUCTIONS["keywords:frequency"]("cat cot cut", {"keyword": "c[ao]t", "relation": "at least", "frequency": 2})
    assert not INSTRUCTIONS["keywords:frequency"]("cat cot cut", {"keyword": "c[ao]t", "relation": "at least", "frequency": 3})
    assert not INSTRUCTIONS["keywords:forbidden_words"]("a cot", {"forbidden_words": ["c[ao]t"]})
    assert INSTRUCTIONS["detectable_format:multiple_sections"]("Part 1, PART 2", {"section_spliter": "(?:Part|PART)", "num_sections": 2})


def test_a_keyword_that_takes_too_long_is_not_judged_and_the_next_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regex_process, "CPU_SECONDS", 0)

    with pytest.raises(NotJudgedError, match=r"the regular expression '\(a\+\)\+\$' takes over 0 s in a text of 101 characters"):
        scored("a" * 100 + "b", "keywords:existence", keywords=["(a+)+$"])
    assert scored("aa", "keywords:existence", keywords=["(a+)+$"])["prompt_level_strict_acc"] == 1.0


@pytest.mark.parametrize("keyword", ["(", "*", "(" * 3000, "a{99999999999}"])
def test_a_keyword_that_is_no_regular_expression_names_the_document(keyword: str) -> None:
    with pytest.raises(DataError, match=r"train:7: instruction 'keywords:existence': .* is not a regular expression"):
        scored("x", "keywords:existence", keywords=[keyword])
