"""DROP with several spans in an answer, as its official evaluation scores them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pytest_lighteval.common.statistics import MEAN
from pytest_lighteval.metrics.corrected.canonical import canonical
from pytest_lighteval.metrics.corrected.words import words_of
from pytest_lighteval.metrics.libraries import load
from pytest_lighteval.types import Ask, Doc, GenerateResponse, Metric

_BETWEEN = r"\s*(?:[,;\n]|\s&\s)\s*(?:and\s+|or\s+)?"
_BETWEEN_OR_AND = rf"{_BETWEEN}|\s+and\s+"
_NUMBER = re.compile(r"-?\d+(?:/\d+)?")
_ANNOUNCED = re.compile(r"\banswers?\s*(?:is|are|:)\s*:?\s*", re.IGNORECASE)
_MOST_SPANS = 100
"""Of a text; an alignment takes time with the cube of their number."""


def span_scores(gold: Sequence[str], given: Sequence[str]) -> tuple[float, float]:
    """Exact match and F1 (two digits) of an answer's spans with the text's.

    Exact: the same spans, in any order. F1: spans are aligned one to one for the highest sum of their F1 over sets of words, divided by
    the larger number of spans. Two spans with a number in the gold match only if they share one.
    After the description and the evaluation of Dua et al. 2019 (arXiv:1903.00161, section 5;
    https://github.com/allenai/allennlp-reading-comprehension/blob/master/allennlp_rc/eval/drop_eval.py). Differences: words and numbers
    are those of `words_of`, so a sign counts, "$12.5" and "12.5%" are 12.5, and a line end divides words.
    """
    right, said = ([[word for word in words_of(span) if word != "%"] for span in spans] for spans in (gold, given))
    exact = sorted(right) == sorted(said) and any(right)
    matrix = [[_bag_f1(set(one), set(other)) for other in said] for one in right]
    rows, columns = load("scipy.optimize", "scipy", extra="metrics").linear_sum_assignment(matrix, maximize=True)
    total = sum(matrix[row][column] for row, column in zip(rows, columns, strict=True))
    return float(exact), round(total / max(len(right), len(said)), 2)


def _bag_f1(gold: set[str], given: set[str]) -> float:
    numbers = {word for word in gold if _NUMBER.fullmatch(word)}
    if numbers and not numbers & given:
        return 0.0
    common = len(gold & given)
    return 2 * common / (len(gold) + len(given)) if common else 0.0


def readings(text: str, gold: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The spans that a text may mean: itself, divided at commas, semicolons and lines, and divided at "and" too.

    A span of the gold that holds such a mark itself ("Baltimore, Maryland") is not divided.
    """
    plain = canonical(text).strip()
    if found := list(_ANNOUNCED.finditer(plain)):
        plain = plain[found[-1].end() :]
    yield (plain,)
    whole = sorted((canonical(span).strip() for span in gold), key=len, reverse=True)
    kept = "|".join(re.escape(span) for span in whole if re.search(_BETWEEN_OR_AND, span))
    for between in (_BETWEEN, _BETWEEN_OR_AND):
        yield tuple(_divided(plain, between, kept))[:_MOST_SPANS] or ("",)


def _divided(text: str, between: str, kept: str) -> Iterator[str]:
    start = 0
    for found in re.finditer(f"(?P<kept>{kept})|{between}" if kept else between, text, flags=re.IGNORECASE):
        if kept and found["kept"] is not None:
            continue
        if span := text[start : found.start()].strip():
            # thousands: "1,000" is one span
            if found[0] == "," and span[-1].isdigit() and re.match(r"\d{3}(?!\d)", text[found.end() :]):
                continue
            yield span
        start = found.end()
    if span := text[start:].strip():
        yield span


def _sample(doc: Doc, response: GenerateResponse) -> dict[str, float]:
    """The best of the accepted answers and of the readings of the text."""
    answers = [answer for answer in doc.specific["spans"] if any(span.strip() for span in answer)]
    scores = [span_scores(answer, spans) for answer in answers for spans in readings(response.texts[0], answer)]
    return {"em": max((exact for exact, _ in scores), default=0.0), "f1": max((f1 for _, f1 in scores), default=0.0)}


METRICS = (Metric(name="drop_corrected", ask=Ask.GENERATION, sample=_sample, corpus={"em": MEAN, "f1": MEAN}),)
