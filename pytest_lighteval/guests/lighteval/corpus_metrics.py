"""Stand-ins for Lighteval's `metrics/sample_preparator.py` and `metrics_corpus.py`: what documents contribute, and what becomes of it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pytest_lighteval.guests.lighteval.documents import as_list
from pytest_lighteval.guests.lighteval.metric_objects import Preparator
from pytest_lighteval.guests.lighteval.sample_metrics import Choices, texts_of


@dataclass
class GenerativeCorpusMetricInput:
    """What a document contributes: its golds and texts."""

    golds: list[str]
    preds: list[str]


@dataclass
class LogprobCorpusMetricInput:
    """What a document contributes: its golds and the likeliest choice, as indices."""

    golds: Any
    preds: int


@dataclass
class PerplexityCorpusMetricInput:
    """What a document contributes: a log-probability, and how many words or bytes it is of."""

    logprobs: float
    weights: int


class GenerativePreparator(Preparator):
    """Golds and texts."""

    def prepare(self, **given: Any) -> GenerativeCorpusMetricInput:  # type: ignore[override] # both dialects' keywords
        """Of one document."""
        return GenerativeCorpusMetricInput(*texts_of(given))


@dataclass
class LoglikelihoodPreparator(Preparator):
    """Golds and the likeliest choice."""

    is_single_token: bool = False

    def prepare(self, **given: Any) -> LogprobCorpusMetricInput:  # type: ignore[override] # both dialects' keywords
        """Of one document."""
        choices = Choices.of(given)
        golds = choices.golds[0] if self.is_single_token else choices.golds
        return LogprobCorpusMetricInput(golds=golds, preds=choices.logprobs.index(max(choices.logprobs)))


@dataclass
class PerplexityPreparator(Preparator):
    """A text's log-probability, and its words or bytes."""

    units_type: str

    def prepare(self, **given: Any) -> PerplexityCorpusMetricInput:  # type: ignore[override] # both dialects' keywords
        """Of one document."""
        if "model_response" in given:
            doc = given["doc"]
            logprobs, text = given["model_response"].logprobs, doc.original_query or doc.query
        else:
            logprobs, text = given["logprobs"], " ".join(given["reference_texts"])
        return PerplexityCorpusMetricInput(logprobs=math.fsum(logprobs), weights=_units(text, self.units_type))


@dataclass
class TargetPerplexityPreparator(Preparator):
    """The golds' log-probabilities, and their words or bytes."""

    units_type: str

    def prepare(self, **given: Any) -> PerplexityCorpusMetricInput:  # type: ignore[override] # both dialects' keywords
        """Of one document."""
        text = " ".join(given["doc"].get_golds() if "doc" in given else given["reference_texts"])
        logprobs = given["model_response"].logprobs if "model_response" in given else given["logprobs"]
        return PerplexityCorpusMetricInput(logprobs=math.fsum(logprobs), weights=_units(text, self.units_type))


def _units(text: str, kind: str) -> int:
    """Words are counted as by a split at white space, which counts an empty text before a leading space too."""
    return len(text.encode()) if kind == "bytes" else len(re.split(r"\s+", text))


@dataclass
class CorpusLevelPerplexityMetric:
    """Perplexity of all texts, or bits of each byte."""

    metric_type: str

    def compute_corpus(self, items: Sequence[PerplexityCorpusMetricInput]) -> float:
        """Of all documents."""
        logprobs = [item.logprobs for item in items]
        weights = sum(item.weights for item in items)
        if self.metric_type == "perplexity":
            return math.exp(-math.fsum(logprobs) / len(logprobs))
        if self.metric_type == "weighted_perplexity":
            return math.exp(-math.fsum(logprobs) / weights)
        return -math.fsum(logprobs) / weights / math.log(2)

    compute = compute_corpus


def matthews_corrcoef(items: Sequence[LogprobCorpusMetricInput]) -> float:
    """Matthews' correlation coefficient of the choices with the golds."""
    import sklearn.metrics

    golds = [as_list(item.golds)[0] for item in items]
    return float(sklearn.metrics.matthews_corrcoef(golds, [item.preds for item in items]))


class MatthewsCorrCoef:
    """Matthews' correlation coefficient, in newer Lighteval."""

    def compute_corpus(self, items: Sequence[LogprobCorpusMetricInput]) -> float:
        """Of all documents."""
        return matthews_corrcoef(items)


@dataclass
class CorpusLevelF1Score:
    """F1 of the choices as classes."""

    average: str | None
    num_classes: int = 2

    def compute_corpus(self, items: Sequence[LogprobCorpusMetricInput]) -> float:
        """Of all documents."""
        import sklearn.metrics

        golds, choices = [as_list(item.golds)[0] for item in items], [item.preds for item in items]
        if self.num_classes == 2:
            return float(sklearn.metrics.f1_score(golds, choices, average=self.average))
        scores = [
            sklearn.metrics.f1_score([gold == kind for gold in golds], [choice == kind for choice in choices])
            for kind in range(self.num_classes)
        ]
        return math.fsum(scores) / len(scores)

    compute = compute_corpus


@dataclass
class CorpusLevelTranslationMetric:
    """BLEU, chrF or TER of all texts, each with all of its golds."""

    metric_type: str
    lang: str = ""

    def compute_corpus(self, items: Sequence[GenerativeCorpusMetricInput]) -> float:
        """Of all documents."""
        import sacrebleu

        kinds = {
            "bleu": lambda: sacrebleu.BLEU(trg_lang=self.lang),
            "chrf": sacrebleu.CHRF,
            "chrf++": lambda: sacrebleu.CHRF(word_order=2),
            "ter": lambda: sacrebleu.TER(asian_support=self.lang != ""),
        }
        most = max(len(item.golds) for item in items)
        references = [[item.golds[number] if number < len(item.golds) else None for item in items] for number in range(most)]
        return float(kinds[self.metric_type]().corpus_score([as_list(item.preds)[0] for item in items], references).score)

    compute = compute_corpus
