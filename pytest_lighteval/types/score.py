"""How answers become numbers: metrics, what a document scored, what a task scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pytest_lighteval.types.model import Prompt, Request, RequestKind, Response
from pytest_lighteval.types.task import Doc, TaskKey


class Ask(StrEnum):
    """What a metric needs to have asked about a document; answers reach it under this name."""

    CHOICES = "choices"
    """Log-likelihood of every choice."""
    CHOICES_PMI = "choices_pmi"
    """The same, and after the unconditioned query too."""
    GOLDS = "golds"
    """Log-likelihood and greedy match of the golds alone."""
    GENERATION = "generation"
    """One greedy text."""
    SAMPLES = "samples"
    """Several sampled texts."""
    TEXT = "text"
    """Rolling log-likelihood of the query's text."""

    @property
    def kind(self) -> RequestKind:
        """The backend's method that answers it."""
        if self in (Ask.GENERATION, Ask.SAMPLES):
            return RequestKind.GENERATE
        return RequestKind.PERPLEXITY if self is Ask.TEXT else RequestKind.LOGLIKELIHOOD


SampleValue = float | tuple[Any, ...]
"""A document's value of one metric: a number, or what the corpus aggregate needs, as a tuple of plain values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusMetric:
    """How the documents' values of one reported number become that number."""

    aggregate: Callable[[Sequence[Any]], float]
    """Document values -> the reported value."""
    higher_is_better: bool
    is_mean: bool = True
    """True: the plain mean, whose standard error is the sample deviation / sqrt n. False: bootstrapped."""
    bootstrap: Callable[[Sequence[Any], Any], Any] | None = None
    """`(values, indices[draws, n]) -> aggregates[draws]` on numpy arrays, where it can be vectorised. None: one draw at a time.

    Where clusters of different sizes are drawn, rows are padded with -1, which stands for no document.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One row of the metric registry: Lighteval's name, what it asks, how a document and how the corpus is scored."""

    name: str
    """Lighteval v0.9.2's registry name, e.g. `loglikelihood_acc_norm`."""
    ask: Ask
    sample: Callable[[Doc, Any], Mapping[str, SampleValue | None]]
    """`(doc, response) -> {reported name: value}`. None: this document is not scored, and is left out of the aggregate."""
    corpus: Mapping[str, CorpusMetric]
    """By reported name, e.g. `acc_norm`, in the order of the report."""
    num_samples: int = 1
    """Sampled texts that it reads; only for `Ask.SAMPLES`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentScore:
    """What one document (under one few-shot seed) scored, compact enough to travel and to be a baseline."""

    id: str
    prompt_digest: str
    """12 hex digits (48 bit) of everything that was asked about it."""
    values: Mapping[str, SampleValue | None]
    few_shot_seed: int = 0
    cluster: str | None = None
    truncated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricResult:
    """One reported number of a task."""

    value: float
    stderr: float | None
    """None: cannot be known from one document."""
    n: int
    """Documents (clusters are not collapsed here) that it is made of."""
    higher_is_better: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult:
    """All that one evaluated item measured."""

    key: TaskKey
    version: int
    metrics: Mapping[str, MetricResult]
    documents: tuple[DocumentScore, ...]
    """In canonical order: few-shot seed by few-shot seed, each in the order of the seeded shuffle."""
    dataset_fingerprint: str
    """Digest of the evaluated rows' content, so that a changed data set is noticed."""
    prompt_digest: str
    """SHA-256 over the documents' prompts in order."""
    effective_few_shots: float
    """Mean over documents; below the asked number after truncation or with a small pool."""
    num_truncated: int = 0
    """Documents whose prompt lost tokens or few-shots to the model's length."""
    num_saved: int = 0
    """Documents that were not asked, as the verdicts of the task's gates were certain without them. 0: it is complete."""
    max_samples: int | None = None
    """The limit asked for. None: all documents."""
    notes: tuple[str, ...] = ()
    """What a reader of the score should know, one line each: documents left out, few-shots taken from the evaluated split..."""
    seconds: float = 0.0

    def __getitem__(self, metric: str) -> float:
        """The value of a metric, so that a test can say `result["acc"] > 0.4`."""
        try:
            return self.metrics[metric].value
        except KeyError:
            raise KeyError(f"{self.key} reports no {metric!r}, only {', '.join(self.metrics)}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """All that is known of one document under one few-shot seed."""

    doc: Doc
    prompt: Prompt
    """What was asked, few-shot examples included."""
    few_shot_ids: tuple[str, ...]
    """The examples that stand in the prompt, in its order."""
    few_shot_seed: int
    requests: Mapping[Ask, Request]
    responses: Mapping[Ask, Response]
    """As the backend gave them, a model's reasoning kept."""
    scored_texts: Mapping[Ask, tuple[str, ...]] = field(default_factory=dict)
    """Generated texts as the metrics saw them, where that is not what the model wrote."""
    values: Mapping[str, SampleValue | None]
    """By reported name. Empty: not scored, because of `error`."""
    prompt_digest: str = ""
    truncated: bool = False
    """The prompt lost tokens or few-shot examples to the model's length."""
    error: str | None = None
    """Why it could not be scored. None: it was."""
    baseline: Mapping[str, Sequence[SampleValue | None]] | None = None
    """By reported name, what it scored in the baseline, once a repeat. None: there is none, or it does not hold this document."""
