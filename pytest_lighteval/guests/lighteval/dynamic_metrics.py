"""Stand-ins for Lighteval's `metrics/dynamic_metrics.py` and the extraction targets: metrics made by a language or a normalization."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from pytest_lighteval.common.statistics import mean
from pytest_lighteval.guests.lighteval import sample_metrics as samples
from pytest_lighteval.guests.lighteval.documents import LightevalDoc, as_list
from pytest_lighteval.guests.lighteval.known_metrics import KnownMetric, known_metric
from pytest_lighteval.guests.lighteval.metric_objects import MetricCategory, MetricObject, SampleLevelComputation, SampleLevelMetric
from pytest_lighteval.metrics.extraction import IsRight, extractive_match, letter_equality, math_equality
from pytest_lighteval.metrics.languages import LANGUAGES
from pytest_lighteval.metrics.math_process import Target
from pytest_lighteval.types import Doc

_MAXIMA = ("max", "amax")
"""Names of Python's and numpy's own function, the default of each metric that aggregates over golds."""


@dataclass(frozen=True)
class ExprExtractionConfig:
    """Answers are plain expressions, such as numbers."""

    try_extract_without_anchor: bool = True


@dataclass(frozen=True)
class LatexExtractionConfig:
    """Answers are LaTeX; a priority of 0 looks into boxes first."""

    try_extract_without_anchor: bool = True
    boxed_match_priority: int = 55
    normalization_config: Any = field(default=None, compare=False)


@dataclass(frozen=True)
class IndicesExtractionConfig:
    """Answers are the letters of choices."""

    prefix_for_extraction: str = "NativeLetters"
    try_extract_without_anchor: bool = True


def _is_max(function: Any) -> bool:
    return function is None or getattr(function, "__name__", "") in _MAXIMA


def _kind(normalization: samples.Normalization) -> str:
    if isinstance(normalization, samples.LogProbCharNorm):
        return "char_nospace" if normalization.ignore_first_space else "char"
    return {samples.LogProbTokenNorm: "token", samples.LogProbPMINorm: "pmi"}.get(type(normalization), "none")


def loglikelihood_acc_metric(normalization: samples.Normalization = None) -> KnownMetric:
    """Accuracy under a normalization."""
    return known_metric(f"loglikelihood_acc_{_kind(normalization)}")


def normalized_multi_choice_prob_metric(
    normalization: samples.Normalization = None, aggregation_function: Callable[[Any], float] = max
) -> MetricObject:
    """The golds' share of the choices' probability."""
    kind = _kind(normalization)
    if _is_max(aggregation_function):
        return known_metric(f"normalized_mc_prob_{kind}")
    return SampleLevelMetric(
        metric_name=f"normalized_mc_prob_{kind}",
        higher_is_better=True,
        category=MetricCategory.MULTICHOICE_PMI if kind == "pmi" else MetricCategory.MULTICHOICE,
        sample_level_fn=samples.NormalizedMultiChoiceProbability(normalization, aggregation_function),
        corpus_level_fn=mean,
    )


def probability_metric(
    normalization: samples.LogProbTokenNorm | None = None, aggregation_function: Callable[[Any], float] = max
) -> MetricObject:
    """The golds' probability."""
    kind = _kind(normalization)
    if _is_max(aggregation_function):
        return known_metric(f"probability_{kind}")
    return SampleLevelMetric(
        metric_name=f"prob_{kind}",
        higher_is_better=True,
        category=MetricCategory.TARGET_PERPLEXITY,
        sample_level_fn=samples.Probability(normalization, aggregation_function),
        corpus_level_fn=mean,
    )


def multilingual_quasi_f1_score_metric(language: Enum, aggregation_function: Any = max) -> KnownMetric:
    """F1 of a language's words. Other aggregates than the best over golds are not served."""
    return _of_language("multilingual_quasi_f1", language, aggregation_function)


def multilingual_quasi_exact_match_metric(language: Enum, match_type: str = "full", aggregation_function: Any = max) -> KnownMetric:
    """Exact match of a language's words. Other aggregates than the best over golds are not served."""
    return _of_language(f"multilingual_quasi_em_{match_type}", language, aggregation_function)


def _of_language(name: str, language: Enum, aggregation_function: Any) -> KnownMetric:
    if not _is_max(aggregation_function):
        raise NotImplementedError(f"{name}: only the best over the golds is served, not {aggregation_function!r}")
    return known_metric(f"{name}_{language.name.lower()}")


@dataclass
class MultilingualExtractiveMatch(SampleLevelComputation):
    """Whether a text's extracted answer is that of a gold."""

    language: Enum | None = None
    gold_extraction_target: Sequence[Any] = (ExprExtractionConfig(),)
    pred_extraction_target: Sequence[Any] = (ExprExtractionConfig(),)
    aggregation_function: Any = max
    fallback_mode: str = "first_match"
    extraction_mode: str = "any_match"
    precision: int = 6
    timeout_seconds: int = 5

    def rule(self) -> IsRight:
        """The comparison. Raises ValueError for a language without words for extraction."""
        name = "english" if self.language is None else self.language.name.lower()
        if name not in LANGUAGES:
            raise ValueError(f"answers are extracted in {', '.join(LANGUAGES)}, and not in {name}")
        language = LANGUAGES[name]
        golds, texts = _targets(self.gold_extraction_target), _targets(self.pred_extraction_target)
        rules = [letter_equality(language)] if any(isinstance(one, IndicesExtractionConfig) for one in self.gold_extraction_target) else []
        if golds and texts:
            rules.append(math_equality(golds, texts, precision=self.precision, language=language))
        return lambda doc, text: any(rule(doc, text) for rule in rules)

    def is_right(self, doc: LightevalDoc, text: str) -> bool:
        """Of a module's own document."""
        golds = doc.get_golds()
        choices = [spelling for choice in doc.choices for spelling in as_list(choice)]
        gold = tuple(dict.fromkeys(choices.index(text) for text in golds))
        return self.rule()(Doc(id=doc.id, query=doc.query, choices=tuple(choices), gold=gold), text)

    def compute(self, **given: Any) -> float:  # type: ignore[override] # both dialects' keywords
        """Of one document."""
        doc = given.get("doc") or given["formatted_doc"]
        texts = given["model_response"].final_text if "model_response" in given else given["predictions"]
        return float(any(self.is_right(doc, text) for text in texts))


def multilingual_extractive_match_metric(language: Enum | None = None, *others: Any, **named: Any) -> KnownMetric:
    """Whether a text's extracted answer is that of a gold, in a language."""
    match = MultilingualExtractiveMatch(language, *others, **named)
    shown = "extractive_match" + (f"_{language.name.lower()}" if language is not None else "")
    targets = "+".join(type(target).__name__.removesuffix("ExtractionConfig").lower() for target in match.pred_extraction_target)
    return KnownMetric(f"{shown}_{targets}", extractive_match(f"{shown}_{targets}", match.rule()))


def _targets(configs: Sequence[Any]) -> tuple[Target, ...]:
    found: list[Target] = []
    for config in configs:
        if isinstance(config, ExprExtractionConfig):
            found.append("expr")
        elif isinstance(config, LatexExtractionConfig):
            found.append("latex_boxed_first" if config.boxed_match_priority == 0 else "latex")
    return tuple(found)
