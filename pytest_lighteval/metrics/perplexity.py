"""Perplexities: of a whole text in its own units, and of a gold continuation."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_lighteval.common.statistics import resampled_sums
from pytest_lighteval.types import Ask, CorpusMetric, Doc, LoglikelihoodResponse, Metric, PerplexityResponse

Measured = tuple[float, int]
"""Log-probability of a document's text, and its length in units."""

FromSums = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]
"""`[..., 3]` sums of log-probability, units and documents -> the corpus value. Infinite where it overflows or nothing was measured."""


def count_words(text: str) -> int:
    r"""Pieces between runs of white space. Outer white space makes an empty piece on its side, which counts, as in the harness."""
    return len(re.split(r"\s+", text))


def count_bytes(text: str) -> int:
    """Length in UTF-8."""
    return len(text.encode("utf-8"))


def _per_unit(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    result: npt.NDArray[np.float64] = np.exp(-sums[..., 0] / sums[..., 1])
    return result


def _bits_per_unit(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return -sums[..., 0] / sums[..., 1] / math.log(2)


def _per_document(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    result: npt.NDArray[np.float64] = np.exp(-sums[..., 0] / sums[..., 2])
    return result


def _corpus(from_sums: FromSums) -> CorpusMetric:
    def table(values: Sequence[Measured]) -> npt.NDArray[np.float64]:
        return np.column_stack([np.asarray(values, dtype=np.float64), np.ones(len(values))])

    def aggregate(values: Sequence[Measured]) -> float:
        with np.errstate(all="ignore"):
            return float(from_sums(table(values).sum(axis=0)))

    def bootstrap(values: Sequence[Measured], indices: Any) -> npt.NDArray[np.float64]:
        return from_sums(resampled_sums(table(values), indices))

    return CorpusMetric(aggregate=aggregate, higher_is_better=False, is_mean=False, bootstrap=bootstrap)


def _text_perplexity(name: str, count: Callable[[str], int], from_sums: FromSums) -> Metric:
    def sample(doc: Doc, response: PerplexityResponse) -> Mapping[str, Measured]:
        if response.logprob is None:
            raise ValueError("a response without an answer cannot be scored")
        text = doc.query if doc.original_query is None else doc.original_query
        return {name: (response.logprob, count(text))}

    return Metric(name=name, ask=Ask.TEXT, sample=sample, corpus={name: _corpus(from_sums)})


def _target(doc: Doc, response: LoglikelihoodResponse) -> Mapping[str, Measured]:
    return {"ppl": (math.fsum(response.logprobs), sum(count_words(gold) for gold in doc.golds))}


METRICS = (
    _text_perplexity("word_perplexity", count_words, _per_unit),
    _text_perplexity("byte_perplexity", count_bytes, _per_unit),
    _text_perplexity("bits_per_byte", count_bytes, _bits_per_unit),
    # exp of the mean over documents, not over words: the harness's definition for LAMBADA
    Metric(name="target_perplexity", ask=Ask.GOLDS, sample=_target, corpus={"ppl": _corpus(_per_document)}),
)
