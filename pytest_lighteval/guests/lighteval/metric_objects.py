"""Metric objects as modules make them: stand-ins for the classes of Lighteval's `metrics/utils/metric_utils.py`, of both dialects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class MetricCategory(StrEnum):
    """What a metric asks, up to Lighteval 0.9."""

    TARGET_PERPLEXITY = "TARGET_PERPLEXITY"
    PERPLEXITY = "PERPLEXITY"
    GENERATIVE = "GENERATIVE"
    GENERATIVE_LOGPROB = "GENERATIVE_LOGPROB"
    GENERATIVE_SAMPLING = "GENERATIVE_SAMPLING"
    LLM_AS_JUDGE_MULTI_TURN = "LLM_AS_JUDGE_MULTI_TURN"
    LLM_AS_JUDGE = "LLM_AS_JUDGE"
    MULTICHOICE = "MULTICHOICE"
    MULTICHOICE_PMI = "MULTICHOICE_PMI"
    MULTICHOICE_ONE_TOKEN = "MULTICHOICE_ONE_TOKEN"
    IGNORED = "IGNORED"


class MetricUseCase(StrEnum):
    """What a metric is for, up to Lighteval 0.9. Nothing depends on it."""

    ACCURACY = "ACCURACY"
    PERPLEXITY = "PERPLEXITY"
    CODE = "CODE"
    COPYRIGHT = "COPYRIGHT"
    MATH = "MATH"
    REASONING = "REASONING"
    SOCIAL_IMPACTS = "SOCIAL_IMPACTS"
    SUMMARIZATION = "SUMMARIZATION"
    TRANSLATION = "TRANSLATION"
    NONE = "NONE"


class SamplingMethod(StrEnum):
    """What a metric asks, in newer Lighteval."""

    GENERATIVE = "GENERATIVE"
    LOGPROBS = "LOGPROBS"
    PERPLEXITY = "PERPLEXITY"


@dataclass(kw_only=True)
class ModelResponse:
    """What a metric reads of an answer: the fields of Lighteval's `models/model_output.py`, of both dialects."""

    text: list[str] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    argmax_logits_eq_gold: list[bool] = field(default_factory=list)
    unconditioned_logprobs: list[float] | None = None
    input: Any = None
    input_tokens: list[int] = field(default_factory=list)
    output_tokens: list[list[int]] = field(default_factory=list)
    text_post_processed: list[str] | None = None
    reasonings: list[str | None] = field(default_factory=list)
    logits: list[list[float]] | None = None
    truncated_tokens_count: int = 0
    padded_tokens_count: int = 0
    result: Any = None

    @property
    def final_text(self) -> list[str]:
        """The texts without thoughts; they are removed before a metric is asked."""
        return self.text if self.text_post_processed is None else self.text_post_processed

    @property
    def generated_tokens(self) -> list[list[int]]:
        """The old dialect's name."""
        return self.output_tokens


class SampleLevelComputation:
    """Base of newer Lighteval's metrics of one document: `compute(doc, model_response)`."""

    def compute(self, model_response: Any, doc: Any, **kwargs: Any) -> Any:
        """To be defined by the module's class."""
        raise NotImplementedError(f"{type(self).__name__}.compute")


class Preparator:
    """Base of newer Lighteval's preparations for a corpus metric: `prepare(doc, model_response)`."""

    def prepare(self, doc: Any, model_response: Any, **kwargs: Any) -> Any:
        """To be defined by the module's class."""
        raise NotImplementedError(f"{type(self).__name__}.prepare")


class CorpusLevelComputation:
    """Base of newer Lighteval's aggregates: `compute_corpus(items)`."""

    def compute_corpus(self, items: Sequence[Any]) -> Any:
        """To be defined by the module's class."""
        raise NotImplementedError(f"{type(self).__name__}.compute_corpus")


@dataclass
class MetricObject:
    """A metric of either dialect, or the base of a class of the module's own that overrides `compute` or `compute_sample`."""

    metric_name: str | Sequence[str]
    higher_is_better: bool | Mapping[str, bool]
    category: MetricCategory | SamplingMethod
    use_case: MetricUseCase | None = None
    sample_level_fn: Any = None
    corpus_level_fn: Any = None
    batched_compute: bool = False

    def compute(self, **kwargs: Any) -> dict[str, Any]:
        """The values of one document by name, from keywords as Lighteval 0.9 gives them."""
        return self._named(_callable(self.sample_level_fn)(**kwargs))

    def compute_sample(self, **kwargs: Any) -> dict[str, Any]:
        """The values of one document by name, from `doc` and `model_response`."""
        return self._named(_callable(self.sample_level_fn)(**kwargs))

    def _named(self, value: Any) -> dict[str, Any]:
        if isinstance(self.metric_name, str):
            return {self.metric_name: value}
        values: dict[str, Any] = value
        return values


class SampleLevelMetric(MetricObject):
    """One value of a document."""


class CorpusLevelMetric(MetricObject):
    """One value of the corpus, of what each document contributes."""


class SampleLevelMetricGrouping(MetricObject):
    """Several values of a document, computed together."""


class CorpusLevelMetricGrouping(MetricObject):
    """Several values of the corpus."""


def _callable(function: Any) -> Callable[..., Any]:
    """What is called of a function, or of an object with `compute` or `prepare`."""
    for name in ("compute", "prepare"):
        if callable(method := getattr(function, name, None)):
            found: Callable[..., Any] = method
            return found
    plain: Callable[..., Any] = function
    return plain
