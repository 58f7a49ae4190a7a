"""The stand-in for `Metrics`: every name of both dialects, also those that newer Lighteval gives parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pytest_lighteval.common.statistics import mean
from pytest_lighteval.errors import did_you_mean
from pytest_lighteval.guests.lighteval.dynamic_metrics import (
    ExprExtractionConfig,
    IndicesExtractionConfig,
    LatexExtractionConfig,
    MultilingualExtractiveMatch,
)
from pytest_lighteval.guests.lighteval.known_metrics import known_metric
from pytest_lighteval.guests.lighteval.metric_objects import MetricObject, SampleLevelMetric, SampleLevelMetricGrouping, SamplingMethod
from pytest_lighteval.guests.lighteval.sample_metrics import (
    AvgAtN,
    ExactMatches,
    F1_score,
    GPassAtK,
    LoglikelihoodAcc,
    MajAtN,
    PassAtK,
    Recall,
)
from pytest_lighteval.metrics import metric_names

_MATH = (ExprExtractionConfig(), LatexExtractionConfig())
_BOXED_FIRST = (ExprExtractionConfig(), LatexExtractionConfig(boxed_match_priority=0))
_LETTERS = (IndicesExtractionConfig(),)


def _extractive(golds: Any, texts: Any, precision: int = 6) -> MultilingualExtractiveMatch:
    return MultilingualExtractiveMatch(gold_extraction_target=golds, pred_extraction_target=texts, precision=precision)


_PARAMETRIZED: Mapping[str, tuple[str, Callable[[], Any]]] = {
    "avg_at_n": ("avg@n", lambda: AvgAtN(strip_strings=True)),
    "avg_at_n_math": ("avg@n", lambda: AvgAtN(sample_scoring_function=_extractive(_MATH, _MATH))),
    "exact_match": ("em", lambda: ExactMatches(strip_strings=True)),
    "expr_gold_metric": ("extractive_match", lambda: _extractive((ExprExtractionConfig(),), _BOXED_FIRST, 5)),
    "f1_score": ("f1", F1_score),
    "g_pass_at_k": ("g-pass@k", lambda: GPassAtK(strip_strings=True)),
    "g_pass_at_k_latex": (
        "latex-g-pass@k",
        lambda: GPassAtK(name_prefix="latex", sample_scoring_function=_extractive((LatexExtractionConfig(),), _BOXED_FIRST, 5)),
    ),
    "g_pass_at_k_math": (
        "math-g-pass@k",
        lambda: GPassAtK(name_prefix="math", sample_scoring_function=_extractive((ExprExtractionConfig(),), _BOXED_FIRST, 5)),
    ),
    "gpqa_instruct_metric": ("extractive_match", lambda: _extractive(_LETTERS, _LETTERS)),
    "gpqa_instruct_pass_at_k": ("gpqa_pass@k", lambda: PassAtK(sample_scoring_function=_extractive(_LETTERS, _LETTERS))),
    "loglikelihood_acc": ("acc", LoglikelihoodAcc),
    "maj_at_n": ("maj@n", MajAtN),
    "pass_at_k": ("pass@k", lambda: PassAtK(strip_strings=True)),
    "pass_at_k_letters": ("pass@k", lambda: PassAtK(sample_scoring_function=_extractive(_LETTERS, _LETTERS))),
    "pass_at_k_math": ("pass@k", lambda: PassAtK(strip_strings=True, sample_scoring_function=_extractive(_MATH, _MATH))),
    "recall_at_k": ("recall", Recall),
}
"""Newer Lighteval's metrics that take parameters, as in `Metrics.pass_at_k(sample_params={"k": 1, "n": 16})`: what each reports, and what
computes it (`metrics/metrics.py` there)."""
_LOGPROBS = ("loglikelihood_acc", "recall_at_k")
ALIASES = {"ifeval_metrics": "ifeval_metric"}
"""Other names of metrics of our registry."""
_NOT_HERE = frozenset(
    (
        *("bert_score", "bleurt", "chrf_plus", "extractiveness_de", "extractiveness_fr", "extractiveness_it", "faithfulness"),
        *("hle_metrics", "llm_judge_mixeval", "llm_judge_mt_bench", "prediction_perplexity", "simpleqa_judge"),
    )
)
"""Names that Lighteval has. If our registry has them too, they are found there; otherwise their tasks are skipped with that reason."""


class MetricName:
    """One member of `Metrics`: itself the metric without parameters, called with them another one."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def value(self) -> MetricObject:
        """The metric without parameters."""
        if ALIASES.get(self.name, self.name) in metric_names() or self.name not in _PARAMETRIZED:
            return known_metric(ALIASES.get(self.name, self.name))
        return self({})

    def __call__(self, sample_params: Mapping[str, Any] | None = None) -> MetricObject:
        """The metric with parameters of its computation, which its name then tells. Raises TypeError for one without, or an unknown one."""
        if self.name not in _PARAMETRIZED:
            raise TypeError(f"Metrics.{self.name} takes no parameters; {', '.join(_PARAMETRIZED)} do")
        reported, make = _PARAMETRIZED[self.name]
        computation = make()
        for name, value in (sample_params or {}).items():
            if not hasattr(computation, name):
                raise TypeError(f"Metrics.{self.name} has no parameter {name!r}{did_you_mean(name, vars(computation))}")
            setattr(computation, name, value)
        category = SamplingMethod.LOGPROBS if self.name in _LOGPROBS else SamplingMethod.GENERATIVE
        if isinstance(computation, GPassAtK):
            names = computation.metric_names
            return SampleLevelMetricGrouping(names, dict.fromkeys(names, True), category, None, computation, mean)
        shown = "&".join(f"{name}={getattr(value, '__name__', value)}" for name, value in (sample_params or {}).items())
        return SampleLevelMetric(f"{reported}:{shown}" if shown else reported, True, category, None, computation, mean)

    def __getattr__(self, name: str) -> Any:
        """Whatever else is read of a member is read of its metric: modules use `Metrics.x.metric_name` too."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.value, name)


class _Names(type):
    """Looks names up when they are used."""

    added: dict[str, Any]

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in cls.added:
            return cls.added[name]
        known = {*metric_names(), *_PARAMETRIZED, *_NOT_HERE, *ALIASES}
        if name not in known:
            raise AttributeError(f"Metrics has no {name!r}{did_you_mean(name, known)}")
        return MetricName(name)

    def __getitem__(cls, name: str) -> Any:
        try:
            return getattr(cls, name)
        except AttributeError as error:
            raise KeyError(str(error)) from None

    def __iter__(cls) -> Iterator[Any]:
        return iter([cls[name] for name in (*metric_names(), *cls.added)])

    def __contains__(cls, name: object) -> bool:
        return isinstance(name, str) and (name in cls.added or name in metric_names())


def make_names() -> Any:
    """A new `Metrics`, to which `extend_enum` may add members without a trace in another module."""
    return _Names("Metrics", (), {"added": {}})


def extend_enum(enumeration: Any, name: str, *values: Any, **_: Any) -> Any:
    """As `aenum.extend_enum`, for `Metrics`. For another enumeration, the installed aenum's own."""
    if isinstance(enumeration, _Names):
        enumeration.added[name] = values[0]
        return values[0]
    from aenum import extend_enum as extend  # only where it is installed

    return extend(enumeration, name, *values)
