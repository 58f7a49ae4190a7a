"""A task as its suite file declares it, and its identity."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pytest_lighteval.types.guest import Guest

FewShotsSelect = Literal["balanced", "random", "sequential", "random_sampling", "random_sampling_from_train"]
Inconclusive = Literal["fail", "blind", "warn"]
Paired = Literal["gate", "advisory", "ignored"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptTemplate:
    """How a row becomes a `Doc`. Every text is a Jinja2 template over the row's columns, rendered in a sandbox.

    A value that is one expression (`"{{ answer }}"`) keeps the expression's type: an index, a list of choices.
    None of an optional field: the documents have None there too.
    """

    query: str
    choices: str | tuple[str, ...] = ()
    """One template per choice, or one expression that gives a list."""
    gold: str | int | tuple[int, ...] = 0
    """An index, indices, or an expression that gives an index or a list of them."""
    instruction: str = ""
    """Stands before every query; a few-shot prompt has it once."""
    unconditioned_query: str | None = None
    original_query: str | None = None
    fewshot_sorting_class: str | None = None
    specific: Mapping[str, Any] | str = field(default_factory=dict)
    """A mapping whose texts are templates, or one expression that gives a mapping."""
    turns: str | tuple[str, ...] = ()
    """What the user says after each answer: one template a turn, or one expression that gives a list."""
    adapter: str | None = None
    """`module:function`, called with the row before the templates. It returns a row, a list of rows, or None to drop the row."""
    template: str | None = None
    """One of `prompts.languages`, which makes query, choices, gold and unconditioned query of `inputs`. None: the fields above are it."""
    language: str | None = None
    """ISO 639-3 code of the language that is asked in. None: it is not said."""
    formulation: str | None = None
    """How the template asks: `mcf`, `cf` or `hybrid`. None: the template has only one."""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """What the template takes: name -> a template text, or a list of them."""
    words: Mapping[str, str] = field(default_factory=dict)
    """Words and marks in place of the language's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeSpec:
    """A judge that a suite file declares: what it is told, and how its reply is read."""

    name: str
    """Of the metric, and of the number that it reports."""
    prompt: str
    """A Jinja2 template over `question`, `answer`, `gold`, ... (docs/graders.md has all)."""
    system: str | None = None
    """The same, of the system turn. None: there is none."""
    scale: tuple[float, float] = (0.0, 1.0)
    """The worst and the best verdict."""
    parse: str | None = None
    """`brackets`, `tags`, `number`, `json`, or a regular expression with one group. None: the judge is told to end with `[[n]]`."""
    repeats: int = 1
    """Sampled replies about each answer, whose mean counts. 1: one greedy reply."""
    max_new_tokens: int = 1024
    cases: tuple[Mapping[str, Any], ...] = ()
    """Golden cases that a judge must pass: question, answer, perhaps gold, and min or max. Empty: the built-in ones."""
    turns: bool = False
    """The task has several turns, each of which is judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSpec:
    """What a metric must satisfy: thresholds for its score, and rules for its comparison with a baseline.

    None of a threshold: there is none. None of another field: the session's default.
    """

    min: float | None = None
    max: float | None = None
    """For metrics where lower is better, such as a perplexity."""
    max_drop: float | None = None
    """The allowed loss against the baseline, in the metric's own unit (0.02 of an accuracy: two points)."""
    min_effect: float | None = None
    """A proven loss below this does not fail. Only together with `max_drop`."""
    alpha: float | None = None
    """The error rate of this gate's decision, and the most that it uses of the session's alpha."""
    inconclusive: Inconclusive | None = None
    """Which comparisons with too few documents to decide fail. fail: each. blind: those that could not find even ten times `max_drop`.
    warn: none."""
    paired: Paired | None = None
    """gate: compared with a baseline. advisory: compared and reported, never fails. ignored: not compared.

    None: gate, but advisory for a task whose superset is a gate.
    """

    @property
    def is_floor(self) -> bool:
        """Whether the score itself has a threshold, a floor or a ceiling."""
        return self.min is not None or self.max is not None

    @property
    def problem(self) -> str | None:
        """What is wrong with it, if its numbers are finite. None: nothing."""
        if self == GateSpec():
            return "the gate is empty: give min or max, or a rule for the comparison with a baseline (max_drop, ...)"
        if self.min is not None and self.max is not None and self.min > self.max:
            return f"min {self.min:g} is above max {self.max:g}: nothing could pass"
        if self.max_drop is not None and self.max_drop <= 0:
            return f"max_drop {self.max_drop:g} is not above 0; a loss of two points of accuracy is 0.02"
        if self.min_effect is not None and self.max_drop is None:
            return "min_effect is given without max_drop"
        if self.min_effect is not None and self.max_drop is not None and not 0 <= self.min_effect <= self.max_drop:
            return f"min_effect {self.min_effect:g} is not between 0 and max_drop, {self.max_drop:g}"
        if self.alpha is not None and not 0 < self.alpha < 0.5:
            return f"alpha {self.alpha:g} is not between 0 and 0.5, like 0.05"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCode:
    """Functions and objects of a Python module that a task has where a suite file has texts."""

    module: str
    """The module as the user named it: a file, or a dotted name."""
    adapter: Callable[[dict[str, Any]], Any] | None = None
    """Called with the row before the templates, as `PromptTemplate.adapter`, which then only names it. None: that one is called."""
    is_wanted: Callable[[dict[str, Any]], bool] | None = None
    """Rows for which it is false are left out, as with `Task.hf_filter`. None: all rows stay."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """The task's own `Metric`s by name; its other metrics are those of the registry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task as its suite file declares it, with the matrix expanded and the defaults merged."""

    suite: str
    name: str
    prompt: PromptTemplate
    metrics: tuple[str, ...]
    """Names in the metric registry, or of the task's own metrics (`judges`, `code`)."""
    path: Path
    """The suite file, or the Python module."""
    line: int
    """Of the declaration in `path`."""
    hf_repo: str | None = None
    """A data set on the hub. None: `data_files` names local files."""
    hf_subset: str | None = None
    """None: the data set's default."""
    hf_revision: str | None = None
    """None: the newest."""
    data_files: Mapping[str, str] = field(default_factory=dict)
    """Split -> JSONL or parquet file, relative to the suite file's folder."""
    hf_filter: str | None = None
    """A Jinja2 expression over the row's columns; rows for which it is false are left out first. None: all rows stay."""
    hf_avail_splits: tuple[str, ...] = ("train", "validation", "test")
    evaluation_splits: tuple[str, ...] = ("validation",)
    few_shots_split: str | None = None
    """None: Lighteval's rule. The first other split named like train, dev, valid or default; otherwise the evaluation documents."""
    few_shots_select: FewShotsSelect = "balanced"
    few_shots_reserved: int = 0
    """That many documents at the start of the evaluated split are kept as few-shot examples, and are not evaluated."""
    few_shots: tuple[int, ...] = (0,)
    """Each count makes an item."""
    generation_size: int | None = None
    """Maximum of new tokens. None: as many as fit."""
    stop_sequence: tuple[str, ...] = ()
    num_samples: int | None = None
    """Sampled answers per document. None: the most that a metric needs."""
    must_remove_duplicate_docs: bool = False
    version: int = 0
    """Goes up when a score of this task may change."""
    gates: Mapping[str, GateSpec] = field(default_factory=dict)
    """By the name of a reported value, such as `acc`."""
    cluster: str | None = None
    """The column, or a template, whose value groups documents of one source. None: each document has its own."""
    aliases: tuple[str, ...] = ()
    """Other names that `--tasks` accepts."""
    published_answers: str | None = None
    """An expression over the row's columns that gives the answers which the data set publishes as right, where `prompt.choices` are made
    of them. Only the linter reads it. None: the choices are what is published."""
    accepted_findings: Mapping[str, str] = field(default_factory=dict)
    """Findings of the linter that are known -> why they are accepted."""
    skip: str | None = None
    """Why it cannot be run as the reference defines it; the item is skipped with this reason. None: it can."""
    known_defect: str | None = None
    """What its score gets wrong by definition, which every report of it says. None: nothing that is known."""
    corrected_by: str | None = None
    """`suite|task` of a task, or superset, that measures the same and gets it right. None: there is none."""
    judges: tuple[JudgeSpec, ...] = ()
    """Metrics of its own, which a judge grades."""
    system_prompt_apart: bool = False
    """The system prompt is a message of its own, and an empty line follows it in plain text. False: the instruction follows it directly."""
    code: TaskCode | None = field(default=None, compare=False, repr=False)
    """What a Python module brings. None: the task is all data."""
    guest: Guest | None = field(default=None, compare=False, repr=False)
    """The task of another harness, which makes its documents, requests and scores itself. None: the fields above say all of it."""
    weighs_documents: bool = False
    """The row of its superset weighs the tasks by their documents. False: each task counts the same."""

    @property
    def id(self) -> str:
        """`suite|task`."""
        return f"{self.suite}|{self.name}"

    @property
    def language(self) -> str | None:
        """ISO 639-3 code of its language. None: it is not said."""
        return self.prompt.language

    @property
    def corrected_hint(self) -> str:
        """The end of a sentence about a defect: which task is sound. Empty: none is known."""
        return f"; {self.corrected_by} is the sound version" if self.corrected_by else ""

    @property
    def superset(self) -> str | None:
        """The name of its superset. None: it has none. See `TaskKey.superset_name`."""
        return superset_name(self.name)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class TaskKey:
    """The identity of one evaluated item or of a superset's row. Reports and baselines use it as key, never a node id."""

    suite: str
    task: str
    few_shots: int
    truncate: bool = False

    def __str__(self) -> str:
        """`suite|task|few_shots`, Lighteval's key of results, with `|1` at the end under the truncation flag."""
        return f"{self.suite}|{self.task}|{self.few_shots}" + ("|1" if self.truncate else "")

    @property
    def superset(self) -> TaskKey | None:
        """The key of its superset's row: `suite|mmlu:_average|5` for `suite|mmlu:anatomy|5`. None: it has no superset.

        Each few-shot count and truncation flag has a row of its own.
        """
        name = superset_name(self.task)
        return None if name is None else replace(self, task=f"{name}:_average")

    @property
    def part(self) -> TaskKey | None:
        """The key of the row over its subtasks in one language, `suite|mlmm_mmlu_fra_cf:_average|5`.

        None: it has no such row, or it is the superset's.
        """
        name, colon, _ = self.task.partition(":")
        return replace(self, task=f"{name}:_average") if colon and name != superset_name(self.task) else None

    @property
    def formulation(self) -> str | None:
        """How a task of many languages asks, by its name: `mcf`, `cf` or `hybrid`. None: its name does not say it."""
        found = _IN_A_LANGUAGE.fullmatch(self.task.partition(":")[0])
        return found["formulation"] if found else None

    @classmethod
    def parse(cls, text: str) -> TaskKey | None:
        """The key whose `str` the text is; a final `|0` changes nothing. None: it is no key, such as `all`."""
        if text != "".join(text.split()):
            return None
        match text.split("|"):
            case [suite, task, few_shots] | [suite, task, few_shots, "0"] if suite and task and _is_count(few_shots):
                return cls(suite=suite, task=task, few_shots=int(few_shots))
            case [suite, task, few_shots, "1"] if suite and task and _is_count(few_shots):
                return cls(suite=suite, task=task, few_shots=int(few_shots), truncate=True)
        return None


_IN_A_LANGUAGE = re.compile(r"(?P<family>.+)_[a-z]{3}(_[A-Z][a-z]{3})?_(?P<formulation>mcf|cf|hybrid)")
"""`<family>_<language>_<formulation>`; a language is an ISO 639-3 code, or with a script, as FLORES has it."""


def superset_name(task: str) -> str | None:
    """What a task's name is a part of: `mmlu` for `mmlu:anatomy`. None: of nothing.

    Tasks of many languages are a part of their family in one formulation: `belebele_cf` for `belebele_tha_Thai_cf`, `mlmm_mmlu_cf` for
    `mlmm_mmlu_fra_cf:anatomy`.
    """
    name, colon, _ = task.partition(":")
    if found := _IN_A_LANGUAGE.fullmatch(name):
        return f"{found['family']}_{found['formulation']}"
    return name if colon else None


def _is_count(text: str) -> bool:
    return text.isdecimal() and len(text) < 10
