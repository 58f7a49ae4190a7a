"""What a benchmark is: a task as its suite file declares it, its identity, and the documents made from rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

Row = Mapping[str, Any]
"""One row of a data set, as it was read. The one place where data is truly of any type."""


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
    def superset(self) -> str | None:
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

    @property
    def superset(self) -> TaskKey | None:
        """The superset's row that the task counts into: `suite|mmlu:_average|5` for `suite|mmlu:anatomy|5`. None: it has no superset.

        Few-shot counts and the truncation flag stay apart: they are not the same measurement.
        """
        superset, colon, _ = self.task.partition(":")
        return replace(self, task=f"{superset}:_average") if colon else None

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
