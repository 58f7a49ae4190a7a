"""Where a chosen letter is looked for in a text."""

from __future__ import annotations

import pytest

from pytest_lighteval.metrics import metric
from pytest_lighteval.metrics.languages import LANGUAGES
from pytest_lighteval.metrics.letters import find_letter
from pytest_lighteval.types import Doc, GenerateResponse


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("A is wrong. The final answer is B. I hope it helps. Answer: C", "B"),
        ("Answer: B, though A was near", "B"),
        ("A first guess. The answer would be C.", "C"),
        ("B. The second, not C", "B"),
        ("It is C, not D", "D"),
        (r"\boxed{C}", "C"),
        ("e f g", None),
        ("", None),
    ],
)
def test_a_more_telling_phrase_beats_a_later_letter(text: str, letter: str | None) -> None:
    assert find_letter(text, 4) == letter


def test_letters_beyond_the_choices_are_not_looked_for() -> None:
    assert find_letter("it is E", 4) is None
    assert find_letter("it is E", 5) == "E"


@pytest.mark.parametrize(("name", "text"), [("bengali", "উত্তর: খ"), ("korean", "정답은 B")])
def test_languages_that_the_reference_has_no_words_for_are_understood(name: str, text: str) -> None:
    choices = LANGUAGES[name].letters[:4]
    doc = Doc(id="test:0", query="", choices=choices, gold=(1,))
    values = metric(f"extractive_match_indices_{name}").sample(doc, GenerateResponse(texts=(text,), finish_reasons=("stop",)))
    assert values == {"extractive_match": 1.0}


@pytest.mark.parametrize(
    ("name", "text"),
    [("french", "La réponse est 18, et non 20 ou 30"), ("chinese", "答案：18。不是20"), ("hindi", "उत्तर 18। 20 नहीं")],
)
def test_a_number_after_the_languages_answer_word_beats_a_later_one(name: str, text: str) -> None:
    doc = Doc(id="test:0", query="", choices=("18",), gold=(0,))
    values = metric(f"extractive_match_expr_{name}").sample(doc, GenerateResponse(texts=(text,), finish_reasons=("stop",)))
    assert values == {"extractive_match": 1.0}
