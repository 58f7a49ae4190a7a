"""How answers become numbers: metrics, what a document scored, what a task scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pytest_lighteval.types.doc import Doc
from pytest_lighteval.types.grade import Grade, GraderKind
from pytest_lighteval.types.model import GenerateRequest, GenerateResponse, Prompt, Request, RequestKind, Response
from pytest_lighteval.types.task import TaskKey


class Ask(StrEnum):
    """What a metric needs to know about a document: the requests to send, and the key of their responses."""

    CHOICES = "choices"
    """Log-likelihood of every choice."""
    CHOICES_PMI = "choices_pmi"
    """Log-likelihood of every choice, also after the unconditioned query."""
    GOLDS = "golds"
    """Log-likelihood and greedy match of the golds only."""
    GENERATION = "generation"
    """One greedy text; of a conversation, that of its last turn."""
    SAMPLES = "samples"
    """Several sampled texts."""
    TURNS = "turns"
    """One greedy text for each turn of a conversation, asked with the texts before it; of a document with one turn, one text."""
    TEXT = "text"
    """Rolling log-likelihood of the query's text."""

    @property
    def kind(self) -> RequestKind:
        """The kind of its requests."""
        if self in (Ask.GENERATION, Ask.SAMPLES, Ask.TURNS):
            return RequestKind.GENERATE
        return RequestKind.PERPLEXITY if self is Ask.TEXT else RequestKind.LOGLIKELIHOOD


ESTIMATES = ("irt", "pirt", "gpirt")
"""The score on a whole benchmark from its anchors: weighted; by a response model; their mixture, which the paper calls IRT++."""

SampleValue = float | tuple[Any, ...]
"""A document's value of one metric: a number, or what the corpus aggregate needs, as a tuple of plain values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftScore:
    """By how much a document was right or wrong, where its metric says only whether: a number that moves before the answer does."""

    sample: Callable[[Doc, Any], float]
    """`(doc, response) -> soft score`, on the 16-bit grid of `metrics.soft_scores.on_grid`."""
    is_margin: bool
    """True: the lead of the right choice, in the numbers whose largest the metric takes: above 0 exactly where it is right, ties aside.

    False: the log-probability of the right answer, which no threshold turns into a score; it is only reported.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusMetric:
    """How the documents' values of one metric become the reported number."""

    aggregate: Callable[[Sequence[Any]], float]
    """Document values -> the reported value."""
    higher_is_better: bool
    range: tuple[float, float] | None = None
    """The least and the largest value, of the reported number and, for a mean, of a document. None: at least one end is unknown.

    A mean without it is compared, but no loss of it can be certified to be small.
    """
    is_mean: bool = True
    """True: the plain mean; its standard error is the sample deviation / sqrt n. False: the standard error is bootstrapped."""
    bootstrap: Callable[[Sequence[Any], Any], Any] | None = None
    """Vectorised: `(values, indices[draws, n]) -> aggregates[draws]` on numpy arrays. None: `aggregate` is called for each draw.

    Rows of clusters of different sizes are padded with -1, which is no document.
    """
    soft: SoftScore | None = None
    """None: a document has no soft score."""

    @property
    def within_one(self) -> bool:
        """No value is further from 0 than 1, so that a loss can be told in points: hundredths."""
        return self.range is not None and max(map(abs, self.range)) <= 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One row of the metric registry: its name, what it asks, and how it scores a document and the corpus."""

    name: str
    """Lighteval v0.9.2's registry name, e.g. `loglikelihood_acc_norm`; that of a corrected metric ends in `_corrected`."""
    ask: Ask
    sample: Callable[[Doc, Any], Mapping[str, SampleValue | None]]
    """`(doc, response) -> {reported name: value}`. A value of None: the document is not scored and the aggregate leaves it out.

    With a `grader` it gets the answer's `Grade` in place of the response.
    """
    corpus: Mapping[str, CorpusMetric]
    """By reported name, e.g. `acc_norm`, in the order of the report."""
    num_samples: int = 1
    """Number of sampled texts that it reads; only for `Ask.SAMPLES`."""
    grader: GraderKind | None = None
    """What must run or read the answer before it can be scored. None: the response is enough."""
    optional: frozenset[str] = frozenset()
    """Names of `corpus` that only some runs report: those in which a document has a value under this name."""
    extract: Callable[[Doc, str], str | None] | None = None
    """The answer that it finds in a generated text, for a reader; None: it finds none. None in its place: it takes the whole text."""
    judges_answers: bool = True
    """Whether the gold as the answer is to have the best value. False: it compares an answer with no gold."""
    anchors_of: str | None = None
    """The benchmark whose score is estimated from these documents (`metrics.tiny_benchmarks`). None: nothing is."""

    @property
    def reported(self) -> tuple[str, ...]:
        """Names of all numbers that it may report: those of `corpus`, and estimates, which follow from them."""
        return (*self.corpus, *(ESTIMATES if self.anchors_of else ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentScore:
    """The scores of one document under one few-shot seed, compact enough for baselines and for transfer between processes."""

    id: str
    prompt_digest: str
    """12 hex digits (48 bits) of a digest of all its requests."""
    values: Mapping[str, SampleValue | None]
    few_shot_seed: int = 0
    cluster: str | None = None
    truncated: bool = False
    soft: Mapping[str, float] = field(default_factory=dict)
    """By reported name, for the metrics that have a soft score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricResult:
    """One reported number of a task."""

    value: float
    stderr: float | None
    """None: unknown, as it is for one document."""
    n: int
    """Documents; those of one cluster are counted one by one."""
    higher_is_better: bool

    def __str__(self) -> str:
        """`0.6120 ± 0.0134 (n = 1319)`."""
        error = "" if self.stderr is None else f" ± {shown_number(self.stderr)}"
        return f"{shown_number(self.value)}{error} (n = {self.n})"


def shown_number(value: float) -> str:
    """Four decimals; an exponent where that would be unreadable."""
    return f"{value:.4f}" if abs(value) < 1e6 else f"{value:.4e}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What a part of a task must tell, so that all parts together are the whole (`--shard`)."""

    number: int
    """From 1 on."""
    of: int
    positions: tuple[int, ...]
    """Of the result's documents among all that the task asks."""
    total: int
    """Documents that the task asks."""
    shots: int
    """Few-shot examples in the prompts, added up over the documents."""
    found_shots: int
    """The same, with those that the truncation flag left out."""
    cut_in_thoughts: int
    said_nothing: int
    """Documents with an empty answer."""
    not_judged: Mapping[str, tuple[str, ...]]
    """Metric -> ids of the documents on which it gave up."""
    ranked: int
    """Documents with at least two different choices."""
    tied: int
    twins: tuple[str, ...]
    """See `metrics.equal_choices`."""
    instructed: bool
    """Whether a document has an instruction."""
    data_notes: tuple[str, ...]
    """Of the whole data set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult:
    """All that one evaluated item measured."""

    key: TaskKey
    version: int
    metrics: Mapping[str, MetricResult]
    documents: tuple[DocumentScore, ...] = field(repr=False)
    """Sorted by few-shot seed, then in the order of the seeded shuffle."""
    dataset_fingerprint: str
    """Digest of the evaluated rows' content, so that a changed data set is noticed."""
    row_sources: Mapping[str, str] = field(default_factory=dict)
    """Split -> where its rows are stored, the same in every task that reads them (`DataSets.row_source`). Empty: unknown."""
    prompt_digest: str
    """SHA-256 over the documents' prompts in order."""
    effective_few_shots: float
    """Mean over documents. It is below the requested number after truncation, or if there are too few examples."""
    num_truncated: int = 0
    """Documents whose prompt was cut, or lost few-shot examples, to fit the model's length."""
    num_cut: int = 0
    """Generated texts that ended at the limit of new tokens."""
    num_texts: int = 0
    """Generated texts of which it is known how they ended."""
    grader: Mapping[str, str] = field(default_factory=dict)
    """What graded the answers: `kind`, and the grader's identity for this task. Empty: no metric of the task has a grader."""
    outcomes: Mapping[str, int] = field(default_factory=dict)
    """`metric: outcome` -> how many texts the grader marked so. A text is counted once for each metric and few-shot seed."""
    not_judged: Mapping[str, int] = field(default_factory=dict)
    """Reported name -> documents on which its metric gave up, and that its number leaves out. Absent: none."""
    num_saved: int = 0
    """Documents that early stopping left out, because the task's gates were decided without them. 0: the result is complete."""
    max_samples: int | None = None
    """The limit that the user set. None: all documents."""
    notes: tuple[str, ...] = ()
    """What a reader of the score should know, one line each: documents left out, few-shot examples from the evaluated split..."""
    seconds: float = 0.0
    share: Share | None = None
    """The part of the task that this is, of a run under `--shard`. None: the whole."""
    weighs_documents: bool = False
    """As `Task.weighs_documents`."""
    language: str | None = None
    """ISO 639-3 code of the task's language. None: it does not say it."""

    @property
    def sources(self) -> frozenset[str]:
        """Tasks without a common source have no row in common. Where sources are unknown, the task itself at any few-shot count."""
        return frozenset(self.row_sources.values()) or frozenset([self._itself])

    @property
    def _itself(self) -> str:
        return f"{self.key.suite}|{self.key.task}"

    def row_of(self, document: str) -> str:
        """The row, and the part of it, that a document of this id is made of: the same for every task that asks it."""
        split, _, row = document.partition(":")
        source = self.row_sources.get(split)
        return f"{self._itself}|{document}" if source is None else f"{source}:{row}"

    def __str__(self) -> str:
        """One line: `leaderboard|gsm8k|5: qem 0.6120 ± 0.0134 (n = 1319)`."""
        return f"{self.key}: " + ", ".join(f"{name} {number}" for name, number in self.metrics.items())

    def __getitem__(self, metric: str) -> float:
        """The value of a metric: `result["acc"] > 0.4`. Raises KeyError, which names the metrics that there are."""
        try:
            return self.metrics[metric].value
        except KeyError:
            raise KeyError(f"{self.key} reports no {metric!r}, only {', '.join(self.metrics)}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """Everything that is known about one document under one few-shot seed."""

    doc: Doc
    prompt: Prompt
    """The prompt, with the few-shot examples."""
    few_shot_ids: tuple[str, ...]
    """Ids of the few-shot examples, in the prompt's order."""
    few_shot_seed: int
    requests: Mapping[str, Request]
    """By what was asked: an `Ask`, or the name that a guest gives it."""
    responses: Mapping[str, Response]
    """As the backend returned them, with a model's reasoning."""
    turns: tuple[tuple[GenerateRequest, GenerateResponse], ...] = ()
    """Each turn of a conversation, in order. Empty: it has one turn."""
    scored_texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Texts that the metrics scored, where they differ from what the model wrote."""
    grades: Mapping[str, Grade] = field(default_factory=dict)
    """By metric, what a grader said of the scored texts."""
    values: Mapping[str, SampleValue | None]
    """By reported name. Empty: not scored; `error` says why."""
    soft: Mapping[str, float] = field(default_factory=dict)
    """Soft scores by reported name, for the metrics that have one."""
    prompt_digest: str = ""
    truncated: bool = False
    """The prompt was cut, or lost few-shot examples, to fit the model's length."""
    extracted: Mapping[str, str | None] = field(default_factory=dict)
    """Reported name -> the answer that its metric found in the first text; None: it found none. Absent: it takes the whole text."""
    not_judged: Mapping[str, str] = field(default_factory=dict)
    """Metric -> why it gave up on this document; its values are then None."""
    num_cut: int = 0
    """Generated texts that ended at the limit of new tokens."""
    cut_in_thoughts: int = 0
    """How many of its texts ended within a model's thoughts; without `--strip-reasoning`, nobody looks."""
    error: str | None = None
    """Why the document has no score. None: it has one."""
    baseline: Mapping[str, Sequence[SampleValue | None]] | None = None
    """Reported name -> its scores in the baseline, one per repeat. None: no baseline, or the baseline lacks this document."""
