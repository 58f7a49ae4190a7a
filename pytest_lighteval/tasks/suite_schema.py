"""The fields of a suite file: their types, defaults and meaning. The JSON Schema that editors read is made from it.

`python -m pytest_lighteval.tasks.suite_schema` writes `suite.schema.json` anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from pytest_lighteval.common.files import write_atomic
from pytest_lighteval.types import FewShotsSelect, GateSpec

SCHEMA_PATH = Path(__file__).parents[1] / "suite.schema.json"

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
        float | None,
        Meta(description="Loss against the baseline that is allowed, in the value's own unit: 0.02 of an accuracy is two points."),
    ] = None
    min_effect: Annotated[
        float | None, Meta(description="A proven loss below this is not red; half of max_drop if left out. Only beside max_drop.")
    ] = None
    alpha: Annotated[float | None, Meta(description="How often its certificate may be wrong; it takes no more of the session's alpha.")] = (
        None
    )
    inconclusive: Annotated[
        Literal["fail", "warn"] | None, Meta(description="Whether a comparison with too few documents to tell is red.")
    ] = None
    paired: Annotated[
        Literal["gate", "advisory", "ignored"] | None,
        Meta(description="Held against a baseline, told only, or neither. If left out: gate; advisory where its superset is one gate."),
    ] = None

    def __post_init__(self) -> None:
        numbers = (self.min, self.max, self.max_drop, self.min_effect, self.alpha)
        if not all(float("-inf") < number < float("inf") for number in numbers if number is not None):
            raise ValueError("a gate's bounds must be finite numbers")
        if self.spec.problem is not None:
            raise ValueError(self.spec.problem)

    @property
    def spec(self) -> GateSpec:
        """The same as the domain's value."""
        return GateSpec(**msgspec.structs.asdict(self))


class PromptFields(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """How a row becomes a question: Jinja2 templates over the row's columns."""

    query: Annotated[str | UnsetType, Meta(description="The question. Required, here or in defaults.")] = UNSET
    choices: Annotated[
        _Names,
        Meta(
            description="What is scored (multiple choice), or the accepted answers (generation): a template each, or one expression "
            "that gives a list. A space in front belongs to the choice."
        ),
    ] = ()
    gold: Annotated[
        str | int | tuple[int, ...],
        Meta(description="The right choice, from 0: an index, indices, or an expression that gives one or a list of them."),
    ] = 0
    instruction: Annotated[str, Meta(description="Put in front of the query; printed once in a few-shot prompt.")] = ""
    unconditioned_query: Annotated[str | None, Meta(description="The query without the question, for PMI metrics.")] = None
    original_query: Annotated[str | None, Meta(description="The question as metrics and judges should see it.")] = None
    fewshot_sorting_class: Annotated[
        str | None, Meta(description="The label that balanced few-shot selection balances; the first gold's text if left out.")
    ] = None
    specific: Annotated[dict[str, Any], Meta(description="What a metric needs beyond text; every text in it is a template.")] = (
        msgspec.field(default_factory=dict)
    )
    adapter: Annotated[
        str | None,
        Meta(
            description="`module:function`, called with the row before the templates; gives a row, a list of rows, or None to drop it.",
            examples=["my_project.rows:split_passage"],
        ),
    ] = None


class TaskDefaults(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Fields merged under every task of the file: `prompt` and `gates` key by key, everything else as a whole."""

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
        Meta(description="Splits that there are; few-shot examples come from one of them. train, validation and test if left out."),
    ] = UNSET
    evaluation_splits: Annotated[_NonEmptyNames, Meta(description="Splits whose rows are asked.")] = ("validation",)
    few_shots_split: Annotated[
        str | None,
        Meta(
            description="Split that the few-shot examples come from. If left out: the first available one that is not evaluated and is "
            "named like train, dev, valid or default, else the evaluated documents."
        ),
    ] = None
    few_shots_select: Annotated[FewShotsSelect, Meta(description="How few-shot examples are chosen.")] = "balanced"
    few_shots: Annotated[
        Annotated[int, Meta(ge=0)] | Annotated[tuple[Annotated[int, Meta(ge=0)], ...], Meta(min_length=1)],
        Meta(description="Number of few-shot examples; one item is made for each count."),
    ] = (0,)
    prompt: Annotated[PromptFields | UnsetType, Meta(description="How a row becomes a question.")] = UNSET
    metrics: Annotated[_NonEmptyNames | UnsetType, Meta(description="Names of metrics. Required, here or in defaults.")] = UNSET
    generation_size: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="Most new tokens; as many as fit if left out.")] = None
    stop_sequence: Annotated[_Names, Meta(description="An answer is cut before the first of these.")] = ()
    num_samples: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="Sampled answers a document; as many as the metrics need if left out.")
    ] = None
    must_remove_duplicate_docs: Annotated[bool, Meta(description="Leave out documents whose query was already seen.")] = False
    version: Annotated[int, Meta(ge=0, description="Raised whenever a score of the task may move.")] = 0
    gates: Annotated[
        dict[str, GateFields | None], Meta(description="Reported value -> what it must satisfy. null takes a default's gate away.")
    ] = msgspec.field(default_factory=dict)
    cluster: Annotated[str | None, Meta(description="Column whose value groups documents of one source, such as a passage.")] = None
    skip: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(description="Why the task cannot be run as the reference defines it; it is collected and skipped."),
    ] = None


class TaskFields(TaskDefaults, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """One task, or as many as its matrix has combinations."""

    name: Annotated[
        str,
        Meta(
            description="Its name in the suite, `benchmark:subset`. What is not letters, digits and single `_.:-` becomes `_`, and "
            "the name as it is an alias.",
        ),
    ]
    aliases: Annotated[_Names, Meta(description="Other names that --tasks accepts.")] = ()
    matrix: Annotated[
        Matrix | UnsetType,
        Meta(
            description="Variable -> values: a task is made for every combination, `{variable}` replaced in all its texts outside Jinja2's "
            "braces. A list of mappings makes variables vary together."
        ),
    ] = UNSET


class SuiteFields(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """A file of evaluation tasks."""

    suite: Annotated[str | UnsetType, Meta(description="Name of the suite; the folder's name if left out.")] = UNSET
    defaults: Annotated[TaskDefaults | UnsetType, Meta(description="Fields merged under every task of the file.")] = UNSET
    tasks: Annotated[tuple[TaskFields, ...], Meta(description="The tasks, in the order they are collected.", min_length=1)]


def json_schema() -> str:
    """The format as JSON Schema, draft 2020-12, as the text of the shipped file."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(SuiteFields)}
    return msgspec.json.format(msgspec.json.encode(schema), indent=2).decode() + "\n"


if __name__ == "__main__":
    write_atomic(SCHEMA_PATH, json_schema())
