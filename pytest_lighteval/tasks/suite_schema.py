"""The fields of a suite file: their types, defaults and meaning. Editors read them as JSON Schema.

`python -m pytest_lighteval.tasks.suite_schema` writes the schema, `suite.schema.json`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType

from pytest_lighteval.common.files import write_atomic
from pytest_lighteval.common.losses import parse_loss
from pytest_lighteval.prompts.languages.templates import Formulation
from pytest_lighteval.types import FewShotsSelect, GateSpec, JudgeSpec
from pytest_lighteval.types.task import Inconclusive, Paired

SCHEMA_PATH = Path(__file__).parents[1] / "suite.schema.json"
Template = Literal["multichoice", "qa", "boolq", "nli", "copa", "hellaswag", "continuation", "translation"]
WORDS: Mapping[str, tuple[str, ...]] = {
    "template": get_args(Template),
    "few_shots_select": get_args(FewShotsSelect),
    "inconclusive": get_args(Inconclusive),
    "paired": get_args(Paired),
}
"""Fields that take one of a few words."""
PARSERS = ("brackets", "tags", "number", "json")
"""Ways to read a judge's reply, beside a pattern."""

_Names = str | tuple[str, ...]
_NonEmptyNames = str | Annotated[tuple[str, ...], Meta(min_length=1)]
_Values = Annotated[dict[str, str | int], Meta(description="Variables that vary together: name -> value.", min_length=1)]
Matrix = (
    Annotated[dict[str, Annotated[tuple[str | int | _Values, ...], Meta(min_length=1)]], Meta(min_length=1)]
    | Annotated[tuple[_Values, ...], Meta(min_length=1)]
)


class GateFields(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """What one reported number must satisfy."""

    min: Annotated[float | None, Meta(description="Floor: a lower value fails the item.")] = None
    max: Annotated[float | None, Meta(description="Ceiling, for values where lower is better: a higher value fails the item.")] = None
    max_drop: Annotated[
        float | str | None,
        Meta(description="Allowed loss against the baseline, in the value's own unit: 0.02 of an accuracy is two points, also 2pt."),
    ] = None
    min_effect: Annotated[
        float | str | None,
        Meta(description="A proven loss below this does not fail; default: half of max_drop. Only with max_drop."),
    ] = None
    alpha: Annotated[
        float | None, Meta(description="The error rate of this gate's decision, and the most that it uses of the session's alpha.")
    ] = None
    inconclusive: Annotated[Inconclusive | None, Meta(description="Which comparisons with too few documents to decide fail.")] = None
    paired: Annotated[
        Paired | None,
        Meta(
            description="gate: compared with the baseline, can fail. advisory: compared and reported. ignored: not compared. "
            "Default: gate, but advisory for a task whose superset is a gate."
        ),
    ] = None

    def __post_init__(self) -> None:
        numbers = (self.min, self.max, self.max_drop, self.min_effect, self.alpha)
        if not all(float("-inf") < number < float("inf") for number in numbers if isinstance(number, float)):
            raise ValueError("a gate's bounds must be finite numbers")
        if (problem := self.spec.problem) is not None:
            raise ValueError(problem)

    @property
    def spec(self) -> GateSpec:
        """The gate as a `GateSpec`."""
        losses = {name: getattr(self, name) for name in ("max_drop", "min_effect")}
        return GateSpec(**msgspec.structs.asdict(self) | {name: _loss(name, value) for name, value in losses.items()})


def _loss(name: str, value: float | str | None) -> float | None:
    try:
        return parse_loss(value) if isinstance(value, str) else value
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


class PromptFields(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """How a row becomes a question: Jinja2 templates over the row's columns."""

    query: Annotated[str | UnsetType, Meta(description="The question. Required, here or in defaults.")] = UNSET
    choices: Annotated[
        _Names,
        Meta(
            description="The scored choices (multiple choice) or the accepted answers (generation): one template each, or one expression "
            "that gives a list. A leading space belongs to the choice."
        ),
    ] = ()
    gold: Annotated[
        str | int | tuple[int, ...],
        Meta(description="The right choice, counted from 0: an index, indices, or an expression that gives an index or a list of them."),
    ] = 0
    instruction: Annotated[str, Meta(description="Stands before the query; a few-shot prompt has it once.")] = ""
    unconditioned_query: Annotated[str | None, Meta(description="The query without the question, for PMI metrics.")] = None
    original_query: Annotated[str | None, Meta(description="The question as metrics and judges should see it.")] = None
    fewshot_sorting_class: Annotated[
        str | None, Meta(description="The label that balanced few-shot selection balances; default: the first gold's text.")
    ] = None
    specific: Annotated[dict[str, Any], Meta(description="What a metric needs beyond text; every text in it is a template.")] = (
        msgspec.field(default_factory=dict)
    )
    turns: Annotated[
        _Names,
        Meta(
            description="Further user turns of a conversation, each asked after the answer to the one before: one template each, or one "
            "expression that gives a list. The query is the first turn."
        ),
    ] = ()
    adapter: Annotated[
        str | None,
        Meta(
            description="`module:function`, called with the row before the templates; returns a row, a list of rows, or None to drop it.",
            examples=["my_project.rows:split_passage"],
        ),
    ] = None
    template: Annotated[
        Template | None,
        Meta(description="Makes query, choices and gold of `inputs`, in the words of `language`. Then these fields are not given."),
    ] = None
    language: Annotated[str | None, Meta(description="The language, by its ISO 639-3 code.", examples=["tha"])] = None
    formulation: Annotated[
        str | None,
        Meta(
            examples=[*get_args(Formulation)],
            description="mcf: options are listed, letters scored. cf: options are scored, not listed. hybrid: listed and scored.",
        ),
    ] = None
    inputs: Annotated[dict[str, Any], Meta(description="What the template takes, by name; every text is a template of the row.")] = (
        msgspec.field(default_factory=dict)
    )
    words: Annotated[
        dict[str, str], Meta(description="Words and marks of the language, in place of its own: `answer`, `full_stop`, ...")
    ] = msgspec.field(default_factory=dict)


class GoldenCaseFields(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True, omit_defaults=True):
    """An answer whose verdict is known."""

    question: str
    answer: str
    gold: Annotated[str | None, Meta(description="The right answer, if the judge is told one.")] = None
    min: Annotated[float | None, Meta(description="The verdict must not be below this.")] = None
    max: Annotated[float | None, Meta(description="The verdict must not be above this.")] = None

    def __post_init__(self) -> None:
        if self.min is None and self.max is None:
            raise ValueError("a golden case needs min or max: where the verdict must lie")


class JudgeFields(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """A judge of this task's own: another model reads each answer and gives it a number."""

    prompt: Annotated[
        str,
        Meta(description="What the judge is told: a Jinja2 template over question, answer, gold, golds, choices, options, turn, specific."),
    ]
    name: Annotated[str, Meta(description="Of the reported number.", pattern=r"^[A-Za-z0-9]+([_.:-][A-Za-z0-9]+)*$")] = "judge_score"
    system: Annotated[str | None, Meta(description="The judge's system turn, a template as prompt.")] = None
    scale: Annotated[tuple[float, float], Meta(description="The worst and the best verdict.")] = (0.0, 1.0)
    parse: Annotated[
        str | None,
        Meta(
            description='How the reply is read: brackets ([[3]]), tags (<score>3</score>), number, json ({"score": 3}), or a regular '
            "expression with one group. Default: the judge is told to end with [[n]], and that is read. The last verdict counts."
        ),
    ] = None
    repeats: Annotated[int, Meta(ge=1, description="Sampled replies to each answer, whose mean counts; 1: one greedy reply.")] = 1
    max_new_tokens: Annotated[int, Meta(ge=1, description="Of a reply.")] = 1024
    golden: Annotated[
        tuple[GoldenCaseFields, ...],
        Meta(description="Answers whose verdict is known, which a judge must get right first. Default: built-in ones, right and wrong."),
    ] = ()

    def __post_init__(self) -> None:
        low, high = self.scale
        if not float("-inf") < low < high < float("inf"):
            raise ValueError(f"the scale {low:g} to {high:g} has no room: give the worst verdict, then the best")
        if "answer" not in self.prompt:
            raise ValueError("the judge's prompt does not show the {{ answer }}")
        if self.golden and not (any(case.min is not None for case in self.golden) and any(case.max is not None for case in self.golden)):
            raise ValueError("golden needs a case with min and one with max: a judge that always says the same would pass")
        if self.parse is not None and self.parse not in PARSERS:
            try:
                groups = re.compile(self.parse).groups
            except re.error as error:
                raise ValueError(f"parse {self.parse!r} is none of {', '.join(PARSERS)}, and no regular expression: {error}") from None
            if groups != 1:
                raise ValueError(f"parse {self.parse!r} is none of {', '.join(PARSERS)}, and a pattern needs one group; it has {groups}")

    def spec(self, *, turns: bool) -> JudgeSpec:
        """The judge as a `JudgeSpec`."""
        return JudgeSpec(
            name=self.name,
            prompt=self.prompt,
            system=self.system,
            scale=self.scale,
            parse=self.parse,
            repeats=self.repeats,
            max_new_tokens=self.max_new_tokens,
            cases=tuple(msgspec.to_builtins(case) for case in self.golden),
            turns=turns,
        )


class JudgedMetric(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """A metric that a judge of this task's own makes."""

    judge: JudgeFields


_Metrics = str | Annotated[tuple[str | JudgedMetric, ...], Meta(min_length=1)]


class TaskDefaults(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Default fields of every task of the file: `prompt` and `gates` are merged key by key, other fields as a whole."""

    hf_repo: Annotated[str | None, Meta(description="Data set on the hub, `owner/name`.")] = None
    hf_subset: Annotated[str | None, Meta(description="Its subset (configuration).")] = None
    hf_revision: Annotated[str | None, Meta(description="Its git revision: a commit, a tag or a branch.")] = None
    data_files: Annotated[
        dict[str, str],
        Meta(description="In place of hf_repo: split -> .jsonl or .parquet file, relative to the suite file's folder."),
    ] = msgspec.field(default_factory=dict)
    hf_filter: Annotated[
        str | None, Meta(description="Jinja2 expression without braces; rows for which it is false are left out.", examples=["label != -1"])
    ] = None
    hf_avail_splits: Annotated[
        _NonEmptyNames | UnsetType,
        Meta(description="The data set's splits; few-shot examples come from one of them. Default: train, validation and test."),
    ] = UNSET
    evaluation_splits: Annotated[_NonEmptyNames, Meta(description="Splits whose rows are evaluated.")] = ("validation",)
    few_shots_split: Annotated[
        str | None,
        Meta(
            description="Split of the few-shot examples. Default: the first split that is not evaluated and is named like train, dev, "
            "valid or default; otherwise the evaluated documents."
        ),
    ] = None
    few_shots_select: Annotated[FewShotsSelect, Meta(description="How few-shot examples are chosen.")] = "balanced"
    few_shots_reserved: Annotated[
        int,
        Meta(
            ge=0,
            description="That many documents at the start of the evaluated split are kept as examples, and not evaluated; nor are others "
            "of their cluster. For data sets without another split.",
        ),
    ] = 0
    few_shots: Annotated[
        Annotated[int, Meta(ge=0)] | Annotated[tuple[Annotated[int, Meta(ge=0)], ...], Meta(min_length=1)],
        Meta(description="Number of few-shot examples; each count makes an item."),
    ] = (0,)
    prompt: Annotated[PromptFields | UnsetType, Meta(description="How a row becomes a question.")] = UNSET
    metrics: Annotated[
        _Metrics | UnsetType, Meta(description="Names of metrics, and judges of the task's own. Required, here or in defaults.")
    ] = UNSET
    generation_size: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="Maximum of new tokens; default: as many as fit.")] = (
        None
    )
    stop_sequence: Annotated[_Names, Meta(description="An answer is cut before the first of these.")] = ()
    num_samples: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="Sampled answers per document; default: as many as the metrics need.")
    ] = None
    must_remove_duplicate_docs: Annotated[bool, Meta(description="Leave out documents that repeat a query.")] = False
    version: Annotated[int, Meta(ge=0, description="Increase it when a score of the task may change.")] = 0
    gates: Annotated[
        dict[str, GateFields | None], Meta(description="Reported value -> what it must satisfy. null removes a gate of the defaults.")
    ] = msgspec.field(default_factory=dict)
    cluster: Annotated[
        str | None, Meta(description="Column, or {{ template }}, whose value groups documents of one source, such as a passage.")
    ] = None
    published_answers: Annotated[
        str | None,
        Meta(
            description="For --check-tasks: Jinja2 expression without braces that gives the right answers as the row has them, where "
            "choices are made of them.",
            examples=["[answer.value] + answer.aliases"],
        ),
    ] = None
    accepted_findings: Annotated[
        dict[str, Annotated[str, Meta(min_length=1)]],
        Meta(description="For --check-tasks: kind of finding -> why it is accepted."),
    ] = msgspec.field(default_factory=dict)
    skip: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(description="Why the task cannot be run as the reference defines it; its items are skipped with this reason."),
    ] = None
    known_defect: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(description="What the task's score gets wrong by its definition; every report of the task says so."),
    ] = None
    corrected_by: Annotated[
        str | None, Meta(description="The task, or superset, that measures the same and gets it right: `suite|task`.")
    ] = None
    system_prompt_apart: Annotated[
        bool,
        Meta(
            description="The system prompt is a message of its own; in plain text, an empty line follows it. "
            "Default: the instruction follows it directly, in one message."
        ),
    ] = False


class TaskFields(TaskDefaults, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """One task, or one for each combination of its matrix."""

    name: Annotated[
        str,
        Meta(
            description="Its name in the suite, `benchmark:subset`. Characters other than letters, digits and single `_.:-` become `_`; "
            "the name as it is written is then an alias.",
        ),
    ]
    aliases: Annotated[_Names, Meta(description="Other names that --tasks accepts.")] = ()
    matrix: Annotated[
        Matrix | UnsetType,
        Meta(
            description="Variable -> values. Every combination makes a task, in which `{variable}` is replaced in all texts outside "
            "Jinja2's braces. In a list of mappings, variables vary together."
        ),
    ] = UNSET


class SuiteFields(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """A file of evaluation tasks."""

    suite: Annotated[str | UnsetType, Meta(description="Name of the suite; default: the folder's name.")] = UNSET
    defaults: Annotated[TaskDefaults | UnsetType, Meta(description="Default fields of every task of the file.")] = UNSET
    tasks: Annotated[tuple[TaskFields, ...], Meta(description="The tasks, in the order they are collected.", min_length=1)]


def json_schema() -> str:
    """The text of the shipped file: JSON Schema, draft 2020-12."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(SuiteFields)}
    return msgspec.json.format(msgspec.json.encode(schema), indent=2).decode() + "\n"


if __name__ == "__main__":
    write_atomic(SCHEMA_PATH, json_schema())
