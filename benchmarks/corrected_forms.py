"""The answers that the corrected tasks are measured with: published ones in the forms that models write, and wrong ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pytest_lighteval.metrics.corrected.boxes import are_same, boxed_answer
from pytest_lighteval.metrics.corrected.trivia import normalize
from pytest_lighteval.metrics.corrected.words import is_quasi_match
from pytest_lighteval.types import Doc

Texts = str | tuple[str, ...] | None
"""One greedy text, or sampled ones. None: the document has no such answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One kind of answer to the documents of a task."""

    name: str
    is_right: bool
    make: Callable[[Doc, Doc], Texts]
    """From the corrected document and another one of the same task."""
    value: str | None = None
    """The reported number that tells whether it is right, `before/after` if the names differ. None: the pair's."""


def _published(doc: Doc, _: Doc) -> str:
    return doc.golds[0]


def _number(doc: Doc) -> str:
    return doc.golds[0].rpartition("#### ")[2].strip()


def _steps(doc: Doc) -> str:
    return doc.golds[0].rpartition("#### ")[0]


def _more(doc: Doc) -> str:
    return str(int(_number(doc).replace(",", "")) + 1)


def _another_box(doc: Doc, other: Doc) -> str | None:
    own, wrong = boxed_answer(doc.golds[0]), boxed_answer(other.golds[0])
    return None if own is None or wrong is None or are_same(own, wrong) else other.golds[0].replace("\n", " ")


def _lone_vote(doc: Doc, _: Doc) -> tuple[str, ...]:
    return "I do not know.", "", rf"It is \boxed{{{boxed_answer(doc.golds[0])}}}.", "No idea."


def _another_alias(doc: Doc, other: Doc) -> str | None:
    wrong = normalize(other.golds[0])
    return None if wrong in map(normalize, doc.golds) else other.golds[0]


def _span_list(doc: Doc) -> list[str] | None:
    spans: list[str] = doc.specific["spans"][0]
    return spans if len(spans) > 1 else None


def _one_span(doc: Doc, _: Doc) -> str | None:
    spans = _span_list(doc)
    return None if spans is None or any(is_quasi_match(gold, spans[0]) for gold in doc.golds) else spans[0]


def _reversed_spans(doc: Doc, _: Doc) -> str | None:
    spans = _span_list(doc)
    return None if spans is None else ", ".join(spans[:-1][::-1]) and f"{spans[-1]} and {', '.join(spans[:-1][::-1])}"


def _decimal(doc: Doc, _: Doc) -> str | None:
    return next((gold for gold in doc.golds if re.fullmatch(r"\s*\d+\.\d+", gold)), None)


def _whole_part(doc: Doc, _: Doc) -> str | None:
    decimal = _decimal(doc, doc)
    rounded = None if decimal is None else decimal.partition(".")[0]
    return None if rounded is None or any(is_quasi_match(gold, rounded) for gold in doc.golds) else rounded


def _other_sign(doc: Doc, _: Doc) -> str | None:
    value = doc.golds[0].strip()
    return None if value == "0" else value.removeprefix("-") if value.startswith("-") else f"-{value}"


def _other_gold(doc: Doc, other: Doc) -> str | None:
    return None if other.golds[0].split() == doc.golds[0].split() else other.golds[0]


def _other_answer(doc: Doc, other: Doc) -> str | None:
    return None if other.golds[0] in doc.golds else other.golds[0]


def _other_words(doc: Doc, other: Doc) -> str | None:
    return None if is_quasi_match(doc.golds[0], other.golds[0]) else other.golds[0]


SPACED = Form(name="the published answer behind a space", is_right=True, make=lambda doc, _: f" {doc.golds[0]}")
PUBLISHED = Form(name="the published answer", is_right=True, make=_published)
LETTERS = (
    PUBLISHED,
    Form(name="`The`", is_right=False, make=lambda _doc, _other: "The"),
    Form(name="`Sorry.`, by pqem", is_right=False, make=lambda _doc, _other: "Sorry.", value="pqem"),
)
_LETTER_TASKS = ("mmlu", "commonsenseqa", "hellaswag", "openbookqa", "siqa", "pubmedqa", "med_mcqa", "med_qa", "lsat_qa", "bbq", "piqa")
FORMS: Mapping[str, tuple[str | None, Sequence[Form]]] = {
    **dict.fromkeys(
        ("leaderboard|gsm8k", "lighteval|gsm8k"),
        (
            None,
            (
                PUBLISHED,
                Form(name="with a closing period", is_right=True, make=lambda doc, _: f"{doc.golds[0]}."),
                Form(name="`#### $69`", is_right=True, make=lambda doc, _: f"{_steps(doc)}#### ${_number(doc)}"),
                Form(name="`#### **69**`", is_right=True, make=lambda doc, _: f"{_steps(doc)}#### **{_number(doc)}**"),
                Form(name="`The answer is 69.`", is_right=True, make=lambda doc, _: f"{_steps(doc)}The answer is {_number(doc)}."),
                Form(name="`\\boxed{69}`", is_right=True, make=lambda doc, _: rf"{_steps(doc)}So it is $\boxed{{{_number(doc)}}}$."),
                Form(
                    name="and another problem with its answer",
                    is_right=True,
                    make=lambda doc, _: f"{doc.golds[0]}\n\nQ: Ann has 3 apples. How many?\nA: She has 3.\n#### 3",
                ),
                Form(name="one more than the answer", is_right=False, make=lambda doc, _: f"{_steps(doc)}#### {_more(doc)}"),
                Form(
                    name="another number behind ####, the answer in the last line",
                    is_right=False,
                    make=lambda doc, _: f"#### {_more(doc)}\nIt was near {_number(doc)}",
                ),
            ),
        ),
    ),
    **dict.fromkeys(
        ("lighteval|math", "lighteval|math_cot"),
        (
            "qem",
            (
                PUBLISHED,
                Form(name="one vote for the answer, three texts without one", is_right=True, make=_lone_vote, value="maj@4"),
                Form(name="another problem's solution in one line", is_right=False, make=_another_box),
            ),
        ),
    ),
    "lighteval|drop": (
        None,
        (
            Form(
                name="the published answer, of several spans", is_right=True, make=lambda doc, _: doc.golds[0] if _span_list(doc) else None
            ),
            Form(name="the published answer, of one", is_right=True, make=lambda doc, _: None if _span_list(doc) else doc.golds[0]),
            Form(name="the published answer, a decimal number", is_right=True, make=_decimal),
            Form(name='several spans in another order, with "and"', is_right=True, make=_reversed_spans),
            Form(name="the whole part of a decimal number", is_right=False, make=_whole_part),
            Form(name="one span of several", is_right=False, make=_one_span),
        ),
    ),
    "lighteval|triviaqa": (
        "qem",
        (
            PUBLISHED,
            Form(name="the longest published alias", is_right=True, make=lambda doc, _: max(doc.golds, key=len)),
            Form(name="another question's answer", is_right=False, make=_another_alias),
        ),
    ),
    **{f"helm|{name}": ("qem", LETTERS) for name in _LETTER_TASKS},
    "harness|bbh": ("qem", LETTERS),
    "harness|bbh:multistep_arithmetic_two": (
        "qem",
        (
            PUBLISHED,
            Form(name="the opposite number", is_right=False, make=_other_sign),
        ),
    ),
    "harness|bbh:dyck_languages": ("qem", (PUBLISHED, Form(name="another question's brackets", is_right=False, make=_other_gold))),
    "bigbench|hindi_question_answering": ("rouge1", (PUBLISHED,)),
    "bigbench|conlang_translation": (
        "perfect_em/em",
        (PUBLISHED, Form(name="another question's answer", is_right=False, make=_other_gold)),
    ),
    "bigbench|word_sorting": ("perfect_em/em", (PUBLISHED, SPACED)),
    "bigbench|color": ("rouge1", (PUBLISHED, Form(name="another question's answer", is_right=False, make=_other_answer))),
    "lighteval|unscramble": (
        "perfect_em/em",
        (
            PUBLISHED,
            Form(name="the published answer without its space", is_right=True, make=lambda doc, _: doc.golds[0].strip()),
            Form(name="another question's answer", is_right=False, make=_other_gold),
        ),
    ),
    "lighteval|coqa": (
        "perfect_em/qem",
        (
            Form(name="the published answer", is_right=True, make=lambda doc, _: doc.golds[0].strip()),
            Form(name="the published answer as a sentence", is_right=True, make=lambda doc, _: f" {doc.golds[0].strip().capitalize()}."),
            Form(name="another question's answer", is_right=False, make=_other_words),
        ),
    ),
}
"""Task or superset -> the reported number that tells (None: the first), and the forms of answers."""
