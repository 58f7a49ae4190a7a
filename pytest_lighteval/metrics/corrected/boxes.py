r"""Answers of the MATH benchmark: the content of the last box, compared as text and then as mathematics."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pytest_lighteval.common.statistics import MEAN
from pytest_lighteval.metrics import math_process, normalizers
from pytest_lighteval.metrics.corrected.canonical import canonical
from pytest_lighteval.types import Ask, Doc, GenerateResponse, Metric

_BOX = re.compile(r"\\f?box(?:ed)?(?:\s+(?![\s{])([^\s$]+)|\s*(\{))")
_ANNOUNCED = re.compile(r"\banswer\s*(?:is|:)\s*:?\s*(.+)", re.IGNORECASE)
_WRAPPED = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mbox)\s*\{([^{}]*)\}")
_FUNCTIONS = frozenset({"sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "log", "exp", "sqrt", "frac", "mod"})
_UNIT = re.compile(r"(?<=[\d}])(?:\s|\\[,;: ])+[A-Za-z]{2,}[A-Za-z .]*$")
_THOUSANDS = re.compile(r"(?<=\d)(?:,|\{,\}|\\,|\\!)+(?=\d{3}(?!\d))")


def last_box(text: str) -> str | None:
    r"""The content of the last closed `\boxed{...}` or `\fbox{...}`; that of `\boxed 5` is its next token. None: there is none."""
    ends = _closing_braces(text)
    for found in reversed(list(_BOX.finditer(text))):
        if found[2] is None:
            return found[1]
        if (end := ends.get(found.end() - 1)) is not None:
            return text[found.end() : end]
    return None


def _closing_braces(text: str) -> dict[int, int]:
    """The place of each opening brace -> that of its closing one."""
    ends: dict[int, int] = {}
    opened: list[int] = []
    for found in re.finditer(r"\\.|[{}]", text):
        if found[0] == "{":
            opened.append(found.start())
        elif found[0] == "}" and opened:
            ends[opened.pop()] = found.start()
    return ends


def boxed_answer(text: str) -> str | None:
    r"""The answer of a worked solution: its last box, otherwise what follows the last "answer is" or "Answer:" up to the line's end."""
    plain = canonical(text)
    box = last_box(plain)
    if box is not None:
        return box.strip() or None
    announced = _ANNOUNCED.findall(plain)
    return announced[-1].strip().rstrip(".").strip("$* ") or None if announced else None


def normal_form(answer: str) -> str:
    """The benchmark's own normal form (Hendrycks et al. 2021, arXiv:2103.03874) without separators of thousands, fonts and units.

    Separators of thousands are those of groups of three digits; a unit is a word behind a number. Words are in lower case.
    """
    bare = _WRAPPED.sub(r" \1", _THOUSANDS.sub("", answer).strip(" $.")).strip()
    bare = _UNIT.sub("", bare)
    bare = bare.lower() if _has_words(bare) else bare
    normal = normalizers.math(rf"\boxed{{{bare}}}") or ""
    return re.sub(r"^\((\w)\)$", r"\1", normal)


def are_same(one: str, other: str) -> bool:
    """Whether two answers without their boxes are equal: in normal form, or by math-verify."""
    forms = normal_form(one), normal_form(other)
    if not all(forms):
        return False
    if forms[0] == forms[1] or any(map(_has_words, (one, other))):
        return forms[0] == forms[1]
    golds, text = (rf"\boxed{{{_with_braces(one)}}}",), rf"\boxed{{{_with_braces(other)}}}"
    targets: tuple[math_process.Target, ...] = ("latex_boxed_first",)
    return math_process.compare(golds, text, gold_targets=targets, text_targets=targets, precision=5).equal


def _has_words(answer: str) -> bool:
    """Whether there are words in it, which math-verify would read as products of their letters."""
    return any(word not in _FUNCTIONS for word in re.findall(r"(?<![\\A-Za-z])[A-Za-z]{3,}", answer))


def _with_braces(answer: str) -> str:
    r"""`\sqrt(2)`, which math-verify takes for a root of nothing, as `\sqrt{2}`."""
    return re.sub(r"\\sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}", _THOUSANDS.sub("", answer))


def is_right(golds: Sequence[str], answer: str | None) -> bool:
    """Whether an answer is that of one of the worked golds; None is not."""
    return answer is not None and any((right := boxed_answer(gold)) is not None and are_same(right, answer) for gold in golds)


def _sample(doc: Doc, response: GenerateResponse) -> dict[str, float]:
    return {"qem": float(is_right(doc.golds, boxed_answer(response.texts[0])))}


METRICS = (Metric(name="quasi_exact_match_math_corrected", ask=Ask.GENERATION, sample=_sample, corpus={"qem": MEAN}),)
