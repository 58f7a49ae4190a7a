"""What a metric tells as the answer that it found is what it scores."""

from __future__ import annotations

import pytest

from pytest_lighteval.metrics import metric as metric_of
from pytest_lighteval.types import Doc, GenerateResponse

NUMBER = Doc(id="test:0", query="", choices=("#### 1,234",), gold=(0,))
BOX = Doc(id="test:0", query="", choices=("$\\frac{1}{2}$",), gold=(0,))
BOXED = Doc(id="test:0", query="", choices=("\\boxed{7}",), gold=(0,))
LETTERS = Doc(id="test:0", query="", choices=("A", "B", "C", "D"), gold=(2,))
OPTIONS = Doc(id="test:0", query="", choices=("a cat", "a dog"), gold=(1,))


@pytest.mark.parametrize(
    ("metric", "doc", "text", "found"),
    [
        ("quasi_exact_match_gsm8k", NUMBER, "6 * 2 = 12, so\n#### 1,234", "1234"),
        ("quasi_exact_match_gsm8k", NUMBER, "The answer is 1234.", None),
        ("quasi_exact_match_math", BOXED, "Thus \\boxed{7}.", "7"),
        ("quasi_exact_match_math", BOXED, "Thus 7.", None),
        ("latex_gold_metric", BOX, "We get $\\boxed{0.5}$.", "\\frac{1}{2}"),
        ("latex_gold_metric", BOX, "I cannot tell.", None),
        ("gpqa_instruct_metric", LETTERS, "The answer is C.", "C"),
        ("gpqa_instruct_metric", LETTERS, "No idea", None),
        ("gpqa_instruct_metric_corrected", LETTERS, "Answer: C", "C"),
        ("option_letter", OPTIONS, "It is a dog.", "a dog"),
        ("option_letter", OPTIONS, "a cat or a dog", None),
    ],
)
def test_the_answer_in_a_text(metric: str, doc: Doc, text: str, found: str | None) -> None:
    entry = metric_of(metric)
    assert entry.extract is not None

    assert entry.extract(doc, text) == found
    (value,) = entry.sample(doc, GenerateResponse(texts=(text,), finish_reasons=("stop",))).values()
    assert value == float(found is not None)


def test_a_metric_of_whole_texts_extracts_nothing() -> None:
    assert metric_of("exact_match").extract is None
    assert metric_of("quasi_exact_match").extract is None
