"""BLEU, chrF and TER over a corpus as in sacrebleu. A document's value is its counts, which add up; the texts are not kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_lighteval.common.statistics import resampled_sums
from pytest_lighteval.errors import NotJudgedError
from pytest_lighteval.metrics.libraries import load
from pytest_lighteval.types import Ask, CorpusMetric, Doc, GenerateResponse, Metric

Counts = tuple[float, ...]
BLEU_ORDER = 4
CHRF_ORDER, CHRF_BETA_SQUARED = 6, 4

_LONG = 10_000

MOST_TER_STEPS = 20_000_000
"""For one gold: some ten seconds. A text and a gold of 200 words each take at most half of them."""


@cache
def _scorer(name: str) -> Any:
    metrics = load("sacrebleu.metrics", "sacrebleu")
    # effective_order only silences sacrebleu's advice for single sentences; the counts are the same without it
    return metrics.BLEU(effective_order=True) if name == "BLEU" else getattr(metrics, name)()


def _forget_long(texts: Sequence[str], tokenizer: Any) -> None:
    """The last 65,536 texts that sacrebleu split stay in its memory. Long ones are not to fill it."""
    if any(len(text) > _LONG for text in texts):
        for cached in (tokenizer, getattr(tokenizer, "_post_tokenizer", None)):
            forget = getattr(type(cached).__call__, "cache_clear", None)
            if forget is not None:
                forget()


def _count_bleu(text: str, golds: Sequence[str]) -> Counts:
    score = _scorer("BLEU").sentence_score(text, golds)
    _forget_long((text, *golds), _scorer("BLEU").tokenizer)
    return (*score.counts, *score.totals, score.sys_len, score.ref_len)


def _bleu(sums: Sequence[float]) -> float:
    counts = [round(number) for number in sums]
    score = _scorer("BLEU").compute_bleu(
        counts[:BLEU_ORDER], counts[BLEU_ORDER : 2 * BLEU_ORDER], counts[-2], counts[-1], smooth_method="exp"
    )
    return float(score.score)


def _count_chrf(text: str, golds: Sequence[str]) -> Counts:
    """For each n: the text's n-grams, the gold's and those in common; of several golds the one with the highest score.

    sacrebleu computes the same, but its public functions return scores only.
    """
    given = _ngrams(text)
    return max((_count_common(given, _ngrams(gold)) for gold in golds), key=_chrf)


def _ngrams(text: str) -> list[Counter[str]]:
    """The n-grams of characters for each n, white space left out."""
    letters = "".join(text.split())
    return [Counter(letters[start : start + n] for start in range(len(letters) - n + 1)) for n in range(1, CHRF_ORDER + 1)]


def _count_common(given: Sequence[Counter[str]], gold: Sequence[Counter[str]]) -> Counts:
    counts: list[int] = []
    for one, other in zip(given, gold, strict=True):
        common = sum(min(count, other[ngram]) for ngram, count in one.items() if ngram in other)
        counts += [one.total() if other else 0, other.total(), common]
    return tuple(counts)


def _chrf(sums: Sequence[float]) -> float:
    """The F-score of mean precision and mean recall over every n that both sides have (Popović 2015)."""
    orders = [sums[start : start + 3] for start in range(0, 3 * CHRF_ORDER, 3)]
    shares = [(common / given, common / gold) for given, gold, common in orders if given > 0 and gold > 0]
    if not any(precision for precision, _ in shares):
        return 0.0
    precision, recall = sum(share for share, _ in shares) / len(shares), sum(share for _, share in shares) / len(shares)
    return 100 * ((1 + CHRF_BETA_SQUARED) * precision * recall / (CHRF_BETA_SQUARED * precision + recall))


def _count_ter(text: str, golds: Sequence[str]) -> Counts:
    """As `TER._compute_segment_statistics` of sacrebleu, with a limit on the work."""
    scorer = _scorer("TER")
    given, *right = (scorer._preprocess_segment(one).split() for one in (text, *golds))
    _forget_long((text, *golds), scorer.tokenizer)
    edits = min(_ter_edits(given, gold) for gold in right)
    return (edits, sum(map(len, right)) / len(right))


def _ter_edits(given: list[str], gold: list[str]) -> int:
    """`translation_edit_rate` of sacrebleu, which tries up to 1,000 shifts and computes an edit distance for each."""
    library, distance_class = load("sacrebleu.metrics.lib_ter", "sacrebleu"), _limited_edit_distance()
    if not gold:
        return len(given)
    distance, shifts, tried, gain = distance_class(gold), 0, 0, 1
    while True:
        distance.count_steps(len(given) * len(gold))
        gain, shifted, tried = library._shift(given, gold, distance, tried)
        if tried >= library._MAX_SHIFT_CANDIDATES or gain <= 0:
            return shifts + int(distance(given)[0])
        shifts, given = shifts + 1, shifted


@cache
def _limited_edit_distance() -> Any:
    library = load("sacrebleu.metrics.lib_ter", "sacrebleu")
    beam = 2 * library._BEAM_WIDTH

    class LimitedEditDistance(library.BeamEditDistance):  # type: ignore[misc,name-defined]
        """Counts the steps of all distances to one gold. Raises NotJudgedError when they are too many."""

        def __init__(self, gold: list[str]) -> None:
            super().__init__(gold)
            self._steps = 0

        def count_steps(self, steps: int) -> None:
            """Some more."""
            self._steps += steps
            if self._steps > MOST_TER_STEPS:
                gold = f"a gold of {self._n_words_ref:,} words"
                raise NotJudgedError(f"ter takes over {MOST_TER_STEPS:,} steps with {gold}, as when a text repeats itself")

        def _edit_distance(self, words: list[str], start: int, rows: list[Any]) -> Any:
            self.count_steps(len(words) + (len(words) - start) * min(self._n_words_ref, beam))
            return super()._edit_distance(words, start, rows)

    return LimitedEditDistance


def _ter(sums: Sequence[float]) -> float:
    """Edits per word of the references. Edits of empty references are one whole error, as sacrebleu has it."""
    edits, length = sums
    return 100 * (edits / length if length > 0 else float(edits > 0))


def _translation(
    name: str,
    count: Callable[[str, Sequence[str]], Counts],
    score: Callable[[Sequence[float]], float],
    *,
    higher_is_better: bool = True,
    range: tuple[float, float] | None = (0.0, 100.0),
) -> Metric:
    def sample(doc: Doc, response: GenerateResponse) -> dict[str, Counts]:
        return {name: count(response.texts[0], doc.golds)}

    def aggregate(values: Sequence[Counts]) -> float:
        return score(np.asarray(values, dtype=np.float64).sum(axis=0).tolist())

    def bootstrap(values: Sequence[Counts], indices: Any) -> npt.NDArray[np.float64]:
        return np.asarray([score(sums) for sums in resampled_sums(values, indices).tolist()])

    corpus = CorpusMetric(aggregate=aggregate, higher_is_better=higher_is_better, range=range, is_mean=False, bootstrap=bootstrap)
    return Metric(name=name, ask=Ask.GENERATION, sample=sample, corpus={name: corpus})


METRICS = (
    _translation("bleu", _count_bleu, _bleu),
    _translation("chrf", _count_chrf, _chrf),
    _translation("ter", _count_ter, _ter, higher_is_better=False, range=None),
)
