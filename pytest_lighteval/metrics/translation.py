"""BLEU, chrF and TER over a corpus, by sacrebleu. A document's value is its counts, which add up; the texts themselves are not kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_lighteval.common.statistics import resampled_sums
from pytest_lighteval.metrics.libraries import load
from pytest_lighteval.types import Ask, CorpusMetric, Doc, GenerateResponse, Metric

Counts = tuple[float, ...]
BLEU_ORDER = 4


@cache
def _scorer(name: str) -> Any:
    metrics = load("sacrebleu.metrics", "sacrebleu")
    # effective_order only silences sacrebleu's advice for single sentences; the counts are the same without it
    return metrics.BLEU(effective_order=True) if name == "BLEU" else getattr(metrics, name)()


def _count_bleu(text: str, golds: Sequence[str]) -> Counts:
    score = _scorer("BLEU").sentence_score(text, golds)
    return (*score.counts, *score.totals, score.sys_len, score.ref_len)


def _bleu(sums: Sequence[float]) -> float:
    counts = [round(number) for number in sums]
    score = _scorer("BLEU").compute_bleu(
        counts[:BLEU_ORDER], counts[BLEU_ORDER : 2 * BLEU_ORDER], counts[-2], counts[-1], smooth_method="exp"
    )
    return float(score.score)


def _count_chrf(text: str, golds: Sequence[str]) -> Counts:
    # sacrebleu shows no counts of chrF, only the score
    return tuple(_scorer("CHRF")._extract_corpus_statistics([text], [[gold] for gold in golds])[0])


def _chrf(sums: Sequence[float]) -> float:
    return float(_scorer("CHRF")._compute_score_from_stats([round(number) for number in sums]).score)


def _count_ter(text: str, golds: Sequence[str]) -> Counts:
    score = _scorer("TER").sentence_score(text, golds)
    return (score.num_edits, score.ref_length)


def _ter(sums: Sequence[float]) -> float:
    """Edits per word of the references. Edits of empty references are one whole error, as sacrebleu has it."""
    edits, length = sums
    return 100 * (edits / length if length > 0 else float(edits > 0))


def _translation(
    name: str, count: Callable[[str, Sequence[str]], Counts], score: Callable[[Sequence[float]], float], *, higher_is_better: bool = True
) -> Metric:
    def sample(doc: Doc, response: GenerateResponse) -> dict[str, Counts]:
        return {name: count(response.texts[0], doc.golds)}

    def aggregate(values: Sequence[Counts]) -> float:
        return score(np.asarray(values, dtype=np.float64).sum(axis=0).tolist())

    def bootstrap(values: Sequence[Counts], indices: Any) -> npt.NDArray[np.float64]:
        return np.asarray([score(sums) for sums in resampled_sums(values, indices).tolist()])

    corpus = CorpusMetric(aggregate=aggregate, higher_is_better=higher_is_better, is_mean=False, bootstrap=bootstrap)
    return Metric(name=name, ask=Ask.GENERATION, sample=sample, corpus={name: corpus})


METRICS = (
    _translation("bleu", _count_bleu, _bleu),
    _translation("chrf", _count_chrf, _chrf),
    _translation("ter", _count_ter, _ter, higher_is_better=False),
)
