"""The values that travel from a YAML line to a JSON score, and the protocol of a backend.

Frozen and dumb: no value here computes a score, reads a file or knows pytest. What two modules share is a type in here.
Path of a document: row -> `Doc` -> `Request`s -> `Response`s -> `DocumentScore` -> `TaskResult` -> `Verdict`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

__all__ = [
    "Ask",
    "Backend",
    "Calibration",
    "CorpusMetric",
    "Doc",
    "DocumentScore",
    "FewShotsSelect",
    "Flip",
    "GateSpec",
    "GenerateRequest",
    "GenerateResponse",
    "LoglikelihoodRequest",
    "LoglikelihoodResponse",
    "Message",
    "Metric",
    "MetricResult",
    "PairedVerdict",
    "PerplexityRequest",
    "PerplexityResponse",
    "Prompt",
    "PromptTemplate",
    "Repeatable",
    "Request",
    "RequestKind",
    "Response",
    "Row",
    "RunReport",
    "SampleValue",
    "Task",
    "TaskKey",
    "TaskResult",
    "Verdict",
]

Row = Mapping[str, Any]
"""One row of a data set, as it was read. The one place where data is truly of any type."""


# --------------------------------------------------------------------------------------------- asking a model


class RequestKind(StrEnum):
    """What a backend can be asked to do: one method of `Backend` each."""

    LOGLIKELIHOOD = "loglikelihood"
    GENERATE = "generate"
    PERPLEXITY = "perplexity"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


Prompt = str | tuple[Message, ...]
"""Text that is fed as it stands, or turns that the backend renders with its chat template, ready for the assistant's answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoglikelihoodRequest:
    """How likely is each choice after the prompt? All choices of a document stay together, so that an engine can share work."""

    kind: ClassVar[RequestKind] = RequestKind.LOGLIKELIHOOD
    prompt: Prompt
    choices: tuple[str, ...]
    unconditioned_prompt: Prompt | None = None
    """For PMI: the same choices are scored after this too. None: they are not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """Continue the prompt."""

    kind: ClassVar[RequestKind] = RequestKind.GENERATE
    prompt: Prompt
    stop_sequence: tuple[str, ...] = ()
    """The text is cut before the first of these. The tokenizer's own end token always ends it too."""
    max_new_tokens: int | None = None
    """None: whatever the backend's default or the model's length allows."""
    num_samples: int = 1
    do_sample: bool = False
    """False: greedy. True: drawn with the backend's generation parameters, repeatable for a given seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PerplexityRequest:
    """How likely is the whole text, from an end-of-sequence token on, in windows of the model's length?"""

    kind: ClassVar[RequestKind] = RequestKind.PERPLEXITY
    text: str


Request = LoglikelihoodRequest | GenerateRequest | PerplexityRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class LoglikelihoodResponse:
    """The answer to a `LoglikelihoodRequest`; every tuple has one entry a choice, in the order asked."""

    logprobs: tuple[float, ...] = ()
    """Natural log, summed over the tokens of the choice in float64 (token log-probabilities in fp32)."""
    greedy: tuple[bool, ...] = ()
    """True: every token of the choice is the model's most likely one."""
    token_counts: tuple[int, ...] = ()
    """Tokens of each choice. The ids themselves are in `choice_token_ids` where the backend knows them."""
    unconditioned_logprobs: tuple[float, ...] | None = None
    """The same after the request's `unconditioned_prompt`. None: it had none."""
    prompt_token_ids: tuple[int, ...] | None = None
    choice_token_ids: tuple[tuple[int, ...], ...] | None = None
    truncated_tokens: int = 0
    """Tokens cut from the left of the prompt (the most over the choices) to fit the model."""
    error: str | None = None
    """Why there is no answer; the other fields are then empty and must not be scored. None: answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateResponse:
    """The answer to a `GenerateRequest`: `num_samples` texts, cut at the stop sequence."""

    texts: tuple[str, ...] = ()
    token_ids: tuple[tuple[int, ...], ...] | None = None
    """Tokens generated for each text, the stop sequence and the end token included where they were generated."""
    finish_reasons: tuple[str, ...] = ()
    """One a text: 'stop' (a stop sequence or the end token) or 'length'."""
    prompt_token_ids: tuple[int, ...] | None = None
    truncated_tokens: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PerplexityResponse:
    """The answer to a `PerplexityRequest`."""

    logprob: float | None = None
    """Natural log of the whole text. None only together with `error`."""
    token_count: int = 0
    truncated_tokens: int = 0
    error: str | None = None


Response = LoglikelihoodResponse | GenerateResponse | PerplexityResponse


@runtime_checkable
class Backend(Protocol):
    """A model that answers requests. Any object with these members is one; `pytest_lighteval.testing` checks it.

    Constructing one is cheap: weights and tokenizer load at the first request. `fingerprint`, `supports` and `max_length` come from
    files and arguments alone. The three asking methods take the requests of one task at once, yield `(index, response)` for every
    request exactly once, in any order and as soon as each is known, and raise `BackendError` only when nothing can go on; a single
    request that fails is a response with `error`. Where only asking tells that a kind is beyond it, they raise
    `UnsupportedRequestError`, and the task is skipped. `close` may be called twice.
    """

    name: str
    """The name users select it by, e.g. `accelerate`."""

    @property
    def fingerprint(self) -> str:
        """Digest of everything that may change an answer: weights, dtype, engine version, template."""

    @property
    def supports(self) -> frozenset[RequestKind]:
        """What it can be asked; a task that needs more is skipped with that reason."""

    @property
    def max_length(self) -> int | None:
        """Longest sequence in tokens. None: cannot tell."""

    def count_tokens(self, prompt: Prompt) -> int | None:
        """Tokens of the prompt as it would be fed; for turns, of their contents alone. None: cannot tell."""

    def render(self, messages: Sequence[Message]) -> str | None:
        """The prompt text that the chat template makes of the turns. None: the server applies its own, unseen.

        Raises BackendError if the model has no chat template.
        """

    def describe(self) -> Mapping[str, Any]:
        """Plain facts for the report: model, dtype, device, versions, batch policy. Never secrets.

        `notes`, a list of lines, is what a person should see at the end of a run. `use` is what the work took, which differs between
        runs that measure the same: tokens, memory.
        """

    def loglikelihood(self, requests: Sequence[LoglikelihoodRequest]) -> Iterator[tuple[int, LoglikelihoodResponse]]: ...

    def generate(self, requests: Sequence[GenerateRequest]) -> Iterator[tuple[int, GenerateResponse]]: ...

    def perplexity(self, requests: Sequence[PerplexityRequest]) -> Iterator[tuple[int, PerplexityResponse]]: ...

    def close(self) -> None:
        """Give the memory back. The backend answers nothing afterwards."""


@runtime_checkable
class Repeatable(Protocol):
    """A backend that can be told that a further run of the same model is wanted, not the same answers once more.

    For backends that remember answers (a cache must not give those of another repeat) or draw at random (each repeat has its own draws).
    A backend without this member is simply asked again.
    """

    def repeat(self, number: int) -> Backend:
        """The same model for repeat `number`, from 1 on; 0 is the backend itself. It may share the model, and is not closed."""


# ------------------------------------------------------------------------------------------------- what is asked


FewShotsSelect = Literal["balanced", "random", "sequential", "random_sampling", "random_sampling_from_train"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Doc:
    """One question of a benchmark, ready to be asked. Field by field Lighteval's own `Doc`."""

    id: str
    """`<split>:<row>` in the data set as it is stored, with `:<n>` behind it where one row gives several documents."""
    query: str
    """The question, the instruction in front of it included (Lighteval's convention)."""
    choices: tuple[str, ...]
    """What is scored (multiple choice) or the accepted answers (generation). A leading space belongs to the choice."""
    gold: tuple[int, ...]
    """Indices of the right choices; never empty for a scored document."""
    instruction: str = ""
    """A prefix of `query` that is printed once, before the few-shot examples."""
    original_query: str | None = None
    unconditioned_query: str | None = None
    """For PMI. None: the task has no such prompt."""
    fewshot_sorting_class: str | None = None
    """The label that `balanced` few-shot selection balances. None: the text of the first gold."""
    specific: Mapping[str, Any] = field(default_factory=dict)
    """What a metric needs beyond text, e.g. IFEval's instruction ids."""
    cluster: str | None = None
    """Documents of one source (a passage) share it; their errors are not independent. None: it stands alone."""

    @property
    def golds(self) -> tuple[str, ...]:
        """The right choices' texts."""
        return tuple(self.choices[index] for index in self.gold)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptTemplate:
    """How a row becomes a `Doc`. Every text is a Jinja2 template over the row's columns, rendered in a sandbox.

    A value that is one whole expression (`"{{ answer }}"`) keeps the type that the expression has: an index, a list of choices.
    """

    query: str
    choices: str | tuple[str, ...] = ()
    """A template each, or one expression that gives a list."""
    gold: str | int | tuple[int, ...] = 0
    """An index, indices, or an expression that gives one or a list of them."""
    instruction: str = ""
    """Put in front of every query, printed once in a few-shot prompt."""
    unconditioned_query: str | None = None
    original_query: str | None = None
    fewshot_sorting_class: str | None = None
    specific: Mapping[str, Any] = field(default_factory=dict)
    adapter: str | None = None
    """`module:function`, called with the row before the templates: row -> row, a list of rows, or None to drop it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSpec:
    """What a metric must satisfy: thresholds for its score, and how it is held against a baseline. None: the session's default."""

    min: float | None = None
    max: float | None = None
    """For metrics where lower is better, such as a perplexity."""
    max_drop: float | None = None
    """The loss against the baseline that is allowed, in the metric's own unit (0.02 of an accuracy: two points)."""
    min_effect: float | None = None
    """A proven loss below this is not red. Given only together with `max_drop`."""
    alpha: float | None = None
    """How often its certificate may be wrong, and the most that it takes of the session's alpha."""
    inconclusive: Literal["fail", "warn"] | None = None
    """Whether a comparison that cannot tell is red."""
    paired: Literal["gate", "advisory", "ignored"] | None = None
    """Whether it is held against a baseline, told only, or neither. None: gate, but advisory for a task that its superset's gate covers."""

    @property
    def is_floor(self) -> bool:
        """Whether the score itself has a threshold."""
        return self.min is not None or self.max is not None

    @property
    def problem(self) -> str | None:
        """What makes no sense in it, if its numbers are finite. None: nothing."""
        if self == GateSpec():
            return "nothing is asked: a gate has min or max, or says how it is held against a baseline (max_drop, ...)"
        if self.min is not None and self.max is not None and self.min > self.max:
            return f"min {self.min:g} is above max {self.max:g}: nothing could pass"
        if self.max_drop is not None and self.max_drop <= 0:
            return f"max_drop {self.max_drop:g} is not above 0; a loss of two points of accuracy is 0.02"
        if self.min_effect is not None and self.max_drop is None:
            return "min_effect is given without max_drop, which it is a part of"
        if self.min_effect is not None and self.max_drop is not None and not 0 <= self.min_effect <= self.max_drop:
            return f"min_effect {self.min_effect:g} is not between 0 and max_drop, {self.max_drop:g}"
        if self.alpha is not None and not 0 < self.alpha < 0.5:
            return f"alpha {self.alpha:g} is not between 0 and 0.5, like 0.05"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One benchmark task as its suite file declares it, the matrix expanded and the defaults merged."""

    suite: str
    name: str
    prompt: PromptTemplate
    metrics: tuple[str, ...]
    """Names of rows of the metric registry."""
    path: Path
    line: int
    """Where it is declared."""
    hf_repo: str | None = None
    """A data set on the hub. None: `data_files` names local ones."""
    hf_subset: str | None = None
    hf_revision: str | None = None
    data_files: Mapping[str, str] = field(default_factory=dict)
    """Split -> JSONL or parquet file, relative to the suite file's folder."""
    hf_filter: str | None = None
    """A Jinja2 expression over the row's columns; rows for which it is false are left out before anything else."""
    hf_avail_splits: tuple[str, ...] = ("train", "validation", "test")
    evaluation_splits: tuple[str, ...] = ("validation",)
    few_shots_split: str | None = None
    """None: Lighteval's rule, the first other split named like train, dev, valid or default, else the evaluation documents."""
    few_shots_select: FewShotsSelect = "balanced"
    few_shots: tuple[int, ...] = (0,)
    """One item is made for each count."""
    generation_size: int | None = None
    """Most new tokens. None: as many as fit."""
    stop_sequence: tuple[str, ...] = ()
    num_samples: int | None = None
    """Sampled answers a document. None: the most that any of the metrics needs."""
    must_remove_duplicate_docs: bool = False
    version: int = 0
    """Raised whenever a score of this task may move."""
    gates: Mapping[str, GateSpec] = field(default_factory=dict)
    """By the name of a reported value, e.g. `acc`."""
    cluster: str | None = None
    """The column whose value groups documents of one source."""
    aliases: tuple[str, ...] = ()
    """Other names that `--tasks` accepts."""
    skip: str | None = None
    """Why it cannot be run as the reference defines it; it is collected and skipped with this reason."""

    @property
    def id(self) -> str:
        """`suite|task`."""
        return f"{self.suite}|{self.name}"

    @property
    def group(self) -> str | None:
        """The superset it belongs to, `mmlu` for `mmlu:anatomy`. None: it stands alone."""
        prefix, colon, _ = self.name.partition(":")
        return prefix if colon else None


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class TaskKey:
    """The identity of one evaluated item. Reports and baselines key on it, never on a node id."""

    suite: str
    task: str
    few_shots: int
    truncate: bool = False

    def __str__(self) -> str:
        """`suite|task|few_shots`, Lighteval's key of results, with `|1` behind it under the truncation flag."""
        return f"{self.suite}|{self.task}|{self.few_shots}" + ("|1" if self.truncate else "")

    @classmethod
    def parse(cls, text: str) -> TaskKey | None:
        """The key whose `str` this is, a superset row's too; `|0` behind it changes nothing. None: no key's, such as `all`."""
        if text != "".join(text.split()):
            return None
        match text.split("|"):
            case [suite, task, few_shots] | [suite, task, few_shots, "0"] if suite and task and few_shots.isdecimal():
                return cls(suite=suite, task=task, few_shots=int(few_shots))
            case [suite, task, few_shots, "1"] if suite and task and few_shots.isdecimal():
                return cls(suite=suite, task=task, few_shots=int(few_shots), truncate=True)
        return None


# ----------------------------------------------------------------------------------------------------- scoring


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
class Flip:
    """A document that scores otherwise than in the baseline. Repeats are averaged; a whole-corpus metric has none."""

    id: str
    before: float
    after: float
    is_loss: bool
    """The change is for the worse, in the metric's own direction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedVerdict:
    """What the comparison with the baseline says about one number. Losses are positive, in the metric's own unit."""

    outcome: Literal["PASSED", "REGRESSED", "INCONCLUSIVE", "IMPROVED", "NEW", "STALE"]
    """STALE: there is a baseline, and it must not be compared with; `line` holds every reason."""
    line: str
    """`acc 0.612 -> 0.581  loss 3.1 points [1.9, 4.4]  p = 2e-6  n = 1319  57 lost / 16 won  REGRESSED (allowed 1.0)`."""
    red: bool
    """Whether it fails the session, waivers aside. An advisory one never does, unless it is STALE."""
    advisory: bool = False
    """Told, but not a gate of its own: the gate of its superset covers it."""
    baseline: float | None = None
    """None, as all numbers: nothing was compared (NEW, STALE)."""
    candidate: float | None = None
    loss: float | None = None
    lower: float | None = None
    upper: float | None = None
    p: float | None = None
    """Of "nothing was lost"."""
    p_adjusted: float | None = None
    """Holm's, to be held against the session's alpha. None: it is no gate, or the session did not get to its end."""
    n: int | None = None
    lost: int | None = None
    won: int | None = None
    method: str | None = None
    max_drop: float | None = None
    min_effect: float | None = None
    alpha: float | None = None
    """Its share of the session's."""
    documents_needed: int | None = None
    """For INCONCLUSIVE: documents in all that would settle it. None: more of the same never would."""
    repeats_needed: int | None = None
    flips: tuple[Flip, ...] = ()
    """In the baseline's order."""
    notes: tuple[str, ...] = ()
    """What a reader should know, one line each: a subset, a reason that was allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is said about one number: by its thresholds, by the baseline, or by both."""

    metric: str
    outcome: Literal["passed", "failed", "inconclusive", "waived", "new", "advisory"]
    """failed: red. waived: would be, but a waiver expects it. inconclusive: the comparison cannot tell, and the policy lets it pass.
    new, advisory: there is nothing but a NEW or an advisory comparison."""
    message: str
    """One line: metric, value, stderr, threshold, n; and the comparison's line."""
    value: float
    stderr: float | None
    n: int
    min: float | None = None
    max: float | None = None
    paired: PairedVerdict | None = None
    """None: it was not held against a baseline."""
    waiver: str | None = None
    """The reason of the waiver that covers it, used or not. None: none does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How much several runs of one model differ in one number of a task."""

    runs: int
    n: int
    """Documents."""
    values: tuple[float, ...]
    """The number in each run."""
    discordance: float | None
    """The variance of the difference of a document's scores in two runs; for 0/1 scores the share of documents that differ. None: a
    metric of the whole corpus."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """One whole run. results.json, summary.md, the index and the terminal table are views of it."""

    run_id: str
    started: str
    """ISO 8601, UTC."""
    seconds: float
    backend: Mapping[str, Any]
    """Name, fingerprint, arguments and `describe()` of the backend. Empty: no item got as far as one."""
    settings: Mapping[str, Any]
    """The options that may move a score: max_samples, chat template, system prompt, seeds..."""
    environment: Mapping[str, Any]
    """Versions of packages, Python, platform."""
    results: tuple[TaskResult, ...]
    """Sorted by key."""
    groups: Mapping[str, Mapping[str, MetricResult]]
    """`suite|group:_average|n` and `all` -> metric -> number."""
    verdicts: Mapping[str, tuple[Verdict, ...]]
    """By task or group key."""
    errors: Mapping[str, str]
    """Task key -> why it has no score."""
    skipped: Mapping[str, str]
    """Task key -> reason."""
    own_runs: Mapping[str, tuple[TaskResult, ...]] = field(default_factory=dict)
    """By the node id of a person's own test: what `lighteval.run` measured in it. Kept apart, as it may be any part of a task."""
    references: tuple[TaskResult, ...] = ()
    """What the model measured that the session's is held against, sorted by key."""
    reference_backend: Mapping[str, Any] = field(default_factory=dict)
    """As `backend`. Empty: there is no such model."""
    repeats: Mapping[str, tuple[TaskResult, ...]] = field(default_factory=dict)
    """Task key -> what further runs of the same model measured."""
    calibration: Mapping[str, Mapping[str, Calibration]] = field(default_factory=dict)
    """Task key -> metric -> how much all the runs differ."""
    cache: Mapping[str, int] = field(default_factory=dict)
    """Answers that were found and that had to be computed, by `hits` and `misses`."""
    exit_status: str = "ok"
    """How the session ended, in pytest's words: ok, tests_failed, interrupted... Anything but the first two means there may be more."""
