"""Reads a suite file into `Task`s: checks it, merges the defaults, expands the matrix. Loads no data and knows no metric."""

from __future__ import annotations

import itertools
import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from pytest_lighteval.common.msgspec_errors import place_and_problem
from pytest_lighteval.common.yaml_lines import Field, YamlFile
from pytest_lighteval.errors import FileError, UserInputError, did_you_mean
from pytest_lighteval.prompts.few_shots import resolve_few_shots_split
from pytest_lighteval.prompts.languages.inputs import FORMULATIONS, INPUTS, OPTIONAL, missing_words, refusal
from pytest_lighteval.prompts.languages.words import WORDS as WORD_NAMES
from pytest_lighteval.prompts.languages.words import words_of
from pytest_lighteval.prompts.templates import check_syntax
from pytest_lighteval.tasks.suite_schema import (
    WORDS,
    GateFields,
    GoldenCaseFields,
    JudgedMetric,
    JudgeFields,
    PromptFields,
    SuiteFields,
    TaskDefaults,
    TaskFields,
)
from pytest_lighteval.types import JudgeSpec, PromptTemplate, Task
from pytest_lighteval.types.check import FINDING_KINDS

# pytest's `-k` and node ids can carry exactly this
_NAME = re.compile(r"[A-Za-z0-9]+([_.:-][A-Za-z0-9]+)*")
_ADAPTER = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
# skips whole Jinja2 blocks, so that braces inside of them are never taken for a placeholder
_OUTSIDE_JINJA = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}|\{(\w+)\}", re.DOTALL)
_MOST_TASKS = 50_000
"""In one file. Lists of a dozen values each make more tasks than fit into memory."""
_MERGED_BY_KEY = ("prompt", "gates")
# fields that name something: an unknown placeholder in one of them is a mistake, while a prompt may contain "{x}"
_IDENTIFIERS = (
    "name", "aliases", "hf_repo", "hf_subset", "hf_revision", "data_files",
    "hf_avail_splits", "evaluation_splits", "few_shots_split", "metrics", "cluster", "corrected_by",
)  # fmt: skip


def load_suite(path: Path, *, shown: str | None = None, wanted: Callable[[str], bool] | None = None) -> list[Task]:
    """The tasks of a suite file in the file's order, with every matrix expanded in place.

    Depends only on the file's text and its folder's name. `shown` is the path as messages name it (default: `path`). `wanted`: only the
    tasks for whose names it is true are made, which is much faster for a few of thousands; the others are not checked.
    Raises FileError for the first mistake, UserInputError if the file cannot be read.
    """
    source = YamlFile(path, shown=shown)
    declared = _checked(source)
    suite = path.absolute().parent.name if declared.suite is UNSET else declared.suite
    if not _NAME.fullmatch(suite):
        where = ("suite",) if declared.suite is not UNSET else ()
        raise source.error(where, f"the suite's name {suite!r} must be letters and digits joined by single '_', '.', ':' or '-'")
    defaults = source.data.get("defaults", {})
    tasks: list[Task] = []
    for index, entry in enumerate(source.data["tasks"]):
        merged = _merge(defaults, entry)
        matrix = merged.pop("matrix", None)
        _check_templates(source, index, merged)
        variants = _variants(source, index, merged, matrix, room=_MOST_TASKS - len(tasks))
        fill, fill_name = _filler(merged), _filler(merged["name"])
        for variables in variants:
            if wanted is not None and not _is_wanted(fill_name(variables) if fill_name else merged["name"], wanted):
                continue
            fields = _convert(source, index, fill(variables) if fill else merged)
            _check_task(source, index, fields)
            tasks.append(task := _task(source, index, fields, suite, path))
            if task.few_shots_reserved and (split := resolve_few_shots_split(task)) not in (None, *task.evaluation_splits):
                problem = f"the examples come from the split {split!r}, of which nothing is evaluated"
                raise source.error(_where(source, index, "few_shots_reserved"), problem)
    _check_unique(source, tasks)
    return tasks


def declared_names(path: Path, *, shown: str | None = None) -> list[str]:
    """The names and aliases of a suite file's tasks, without making the tasks. Raises as `load_suite`."""
    found: list[str] = []

    def keep(name: str) -> bool:
        found.append(name)
        return False

    load_suite(path, shown=shown, wanted=keep)
    return found


def _is_wanted(written: str, wanted: Callable[[str], bool]) -> bool:
    name = task_name(written)
    return wanted(name or written) or (name is not None and name != written and wanted(written))


def locate(path: Path, task: Task, field: str) -> int:
    """Line of a task's field, such as `gates.acc.min` or `metrics[1]`: in the task or in `defaults`, otherwise the task's line."""
    if task.code is not None:
        return task.line
    try:
        source = YamlFile(path)
    except UserInputError:  # changed or gone since it was collected
        return task.line
    return source.line(_where(source, _index(source, task), *_steps(field)))


def task_error(task: Task, field: str, problem: str, *, shown: str | None = None) -> FileError:
    """An error about a field of a task, at the field's line, for other modules to raise. `field` is as for `locate`."""
    try:
        source = None if task.code is not None else YamlFile(task.path, shown=shown)
    except UserInputError:
        source = None
    if source is None:
        return FileError(shown if shown is not None else task.path, task.line, field, problem)
    return source.error(_where(source, _index(source, task), *_steps(field)), problem)


def task_name(raw: str) -> str | None:
    """The name in node ids: `raw` if pytest can carry it, otherwise a slug of it. None: it has letters that are not ASCII."""
    if _NAME.fullmatch(raw):
        return raw
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", raw) if not unicodedata.combining(letter))
    if any(letter.isalnum() and not letter.isascii() for letter in plain):
        return None
    joined = re.sub(r"[^A-Za-z0-9]+", lambda run: next((mark for mark in ":.-" if mark in run[0]), "_"), plain)
    return joined.strip("_.:-") or None


# ------------------------------------------------------------------------------------------------ what is declared


def _checked(source: YamlFile) -> SuiteFields:
    try:
        return msgspec.convert(source.data, SuiteFields)
    except msgspec.ValidationError as error:
        raise _explained(source, error) from None


def _explained(source: YamlFile, error: msgspec.ValidationError) -> FileError:
    """An error of msgspec as one at the field's line, with the right spelling."""
    place, problem = place_and_problem(error)
    field = _resolve(source.data, _steps(place), str(error))
    problem = problem.replace("`", "")
    if problem.startswith("Object contains unknown field "):
        name = problem.rsplit(" ", 1)[1]
        return source.error((*field, name), f"unknown field{_right_field(name, field)}")
    if problem.startswith("Object missing required field "):
        name = problem.rsplit(" ", 1)[1]
        return source.error(field, f"the field {name} is missing")
    if problem.startswith("Invalid enum value "):
        name = problem.removeprefix("Invalid enum value ").strip("'")
        known = next((WORDS[step] for step in reversed(field) if isinstance(step, str) and step in WORDS), ())
        return source.error(field, f"{name!r} is none of {', '.join(known)}{did_you_mean(name, known)}")
    if problem.startswith(("Expected array of length >= 1", "Expected object of length >= 1")):
        return source.error(field, "must not be empty")
    problem = problem.replace("array", "list").replace("object", "mapping").replace(" | ", " or ")
    if "str" in problem.partition(", got ")[0] and problem.endswith(("got bool", "got int", "got float")):
        problem += " (quote it to make it text)"
    return source.error(field, problem)


def _steps(place: str) -> Field:
    """`.tasks[3].gates[...].min` -> ("tasks", 3, "gates", "...", "min")."""
    steps = re.findall(r"\[([^\]]*)\]|([^.\[\]]+)", place)
    return [int(inside) if inside.isdecimal() else inside or name for inside, name in steps]


def _resolve(data: Any, field: Field, message: str) -> Field:
    """Replace each `...`, which msgspec writes for a key, by the key: the only one that alone causes the same message."""
    if "..." not in field:
        return field
    position = field.index("...")
    holder = data
    for step in field[:position]:
        holder = holder[step]
    for key, value in holder.items():
        alone = _replaced(data, field[:position], {key: value})
        try:
            msgspec.convert(alone, SuiteFields)
        except msgspec.ValidationError as error:
            if str(error) == message:
                return _resolve(alone, [*field[:position], key, *field[position + 1 :]], message)
    return field[:position]


def _replaced(data: Any, field: Field, value: Any) -> Any:
    """A copy of the data with another value at a field."""
    if not field:
        return value
    copy = data.copy()
    copy[field[0]] = _replaced(data[field[0]], field[1:], value)
    return copy


def _right_field(name: str, inside: Field) -> str:
    """A hint for an unknown field: the nearest name, or the place where it belongs."""
    level: type[msgspec.Struct] = SuiteFields
    if inside:
        level = TaskFields if inside[0] == "tasks" else TaskDefaults
    if "metrics" in inside:
        level = GoldenCaseFields if "golden" in inside else JudgeFields if "judge" in inside else JudgedMetric
    elif "gates" in inside or "prompt" in inside:
        level = GateFields if "gates" in inside else PromptFields
    known = level.__struct_fields__
    if near := did_you_mean(name, known):
        return near
    if level in (TaskFields, TaskDefaults) and name in PromptFields.__struct_fields__:
        return " (it belongs under prompt)"
    if name in TaskFields.__struct_fields__ and level is not TaskFields:
        return " (it belongs to a task)"
    return f"; known are {', '.join(known)}"


def _convert(source: YamlFile, index: int, task: Mapping[str, Any]) -> TaskFields:
    try:
        return msgspec.convert(task, TaskFields)
    except msgspec.ValidationError as error:  # each part was valid before the matrix's values were inserted
        raise source.error(("tasks", index), f"with the matrix's values: {error}") from None


def _merge(defaults: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**defaults, **entry}
    for key in _MERGED_BY_KEY:
        if key in defaults and key in entry:
            merged[key] = {**defaults[key], **entry[key]}
    return merged


# ---------------------------------------------------------------------------------------------- checks of a task


def _check_templates(source: YamlFile, index: int, merged: Mapping[str, Any]) -> None:
    """Raise for a text that Jinja2 cannot compile. Runs before the matrix, which changes no syntax."""
    texts = [found for found in _texts(merged.get("prompt"), ("prompt",)) if found[0] != ("prompt", "adapter")]
    texts += [found for found in _texts(merged.get("metrics"), ("metrics",)) if found[0][-1] in ("prompt", "system")]
    expressions = [name for name in ("hf_filter", "published_answers") if merged.get(name) is not None]
    texts += [((name,), "{{ " + merged[name] + " }}") for name in expressions]
    for steps, text in texts:
        if "{" not in text:
            continue
        from jinja2 import TemplateSyntaxError  # takes 40 ms, and a file of plain texts does not need it

        try:
            check_syntax(text)
        except TemplateSyntaxError as mistake:
            field = _where(source, index, *steps)
            line = source.text_line(field, mistake.lineno)
            raise source.error(field, f"not a Jinja2 template: {mistake.message}", line=line) from mistake


def _check_task(source: YamlFile, index: int, fields: TaskFields) -> None:
    """Raise for mistakes that the types of the fields do not exclude."""

    def error(problem: str, *steps: str | int) -> FileError:
        return source.error(_where(source, index, *steps), problem)

    for key in ("few_shots", "metrics", "evaluation_splits"):
        values = getattr(fields, key)
        if key == "metrics" and values is not UNSET:
            values = _metric_names(values)
        if isinstance(values, tuple) and (twice := next((value for value in values if values.count(value) > 1), None)) is not None:
            raise error(f"{twice!r} is given twice", key)
    if fields.corrected_by is not None and not re.fullmatch(r"[^|\s]+\|[^|\s]+", fields.corrected_by):
        raise error(f"{fields.corrected_by!r} is not of the form suite|task", "corrected_by")
    for kind in fields.accepted_findings:
        if kind not in FINDING_KINDS:
            raise error(f"there is no finding {kind!r}{did_you_mean(kind, FINDING_KINDS)}", "accepted_findings", kind)
    if fields.skip is not None:
        return
    if fields.metrics is UNSET:
        raise error("the task names no metric, and neither do the defaults", "metrics")
    if fields.prompt is not UNSET and fields.prompt.template is not None:
        _check_template(error, fields.prompt, fields.prompt.template)
    elif fields.prompt is UNSET or fields.prompt.query is UNSET:
        raise error("the task has no query, and neither have the defaults", "prompt", "query")
    else:
        _check_prompt(error, fields.prompt, fields.prompt.query)
    _check_data(error, fields)


def _check_prompt(error: Callable[..., FileError], prompt: PromptFields, query: str) -> None:
    # benchmarks such as blimp have an empty query, and choices that name the columns
    texts = [query, *((prompt.choices,) if isinstance(prompt.choices, str) else prompt.choices or ())]
    if prompt.adapter is None and not any(mark in text for text in texts for mark in ("{{", "{%")):
        raise error("names no column: every document would be the same (a column is written '{{ question }}')", "prompt", "query")
    if prompt.choices == "" or (isinstance(prompt.choices, tuple) and "" in prompt.choices):
        raise error("a choice must not be empty", "prompt", "choices")
    if isinstance(prompt.choices, tuple) and prompt.choices and not isinstance(prompt.gold, str):
        for number in (prompt.gold,) if isinstance(prompt.gold, int) else prompt.gold:
            if not 0 <= number < len(prompt.choices):
                raise error(f"{number} is not an index of the {len(prompt.choices)} choices, which are counted from 0", "prompt", "gold")
    _check_adapter(error, prompt)
    for name in ("formulation", "inputs", "words"):
        if getattr(prompt, name):
            raise error("is of use only with prompt.template", "prompt", name)
    _check_language(error, prompt)


def _check_template(error: Callable[..., FileError], prompt: PromptFields, template: str) -> None:
    """Raise for a template's fields: what it makes itself, a language or inputs that there are not."""
    for name, empty in (("query", UNSET), ("choices", ()), ("gold", 0), ("unconditioned_query", None)):
        if getattr(prompt, name) != empty:
            raise error(f"prompt.template makes it, of prompt.inputs: {', '.join(INPUTS[template])}", "prompt", name)
    if prompt.language is None:
        raise error("prompt.template needs the language, such as fra", "prompt", "language")
    _check_language(error, prompt)
    if prompt.formulation is None and template != "qa":
        raise error(f"prompt.template {template} needs one of {', '.join(FORMULATIONS)}", "prompt", "formulation")
    if prompt.formulation not in (None, *FORMULATIONS):
        near = did_you_mean(prompt.formulation or "", FORMULATIONS)
        raise error(f"{prompt.formulation!r} is none of {', '.join(FORMULATIONS)}{near}", "prompt", "formulation")
    if template == "qa" and prompt.formulation not in (None, "cf"):
        raise error("an answer that is written has no options: leave it out", "prompt", "formulation")
    for name in prompt.inputs:
        if name not in INPUTS[template]:
            problem = f"{template} has no input {name!r}{did_you_mean(name, INPUTS[template])}; it takes {', '.join(INPUTS[template])}"
            raise error(problem, "prompt", "inputs", name)
    for name in INPUTS[template]:
        if name not in prompt.inputs and name not in OPTIONAL.get(template, ()):
            raise error(f"{template} needs the input {name!r}", "prompt", "inputs")
    if not any("{{" in text or "{%" in text for _, text in _texts(prompt.inputs, ())):
        raise error("names no column: every document would be the same (a column is written '{{ question }}')", "prompt", "inputs")
    _check_adapter(error, prompt)


def _check_language(error: Callable[..., FileError], prompt: PromptFields) -> None:
    for name in prompt.words:
        if name not in WORD_NAMES:
            known = f"; there are {', '.join(WORD_NAMES)}"
            raise error(f"there is no word {name!r}{did_you_mean(name, WORD_NAMES) or known}", "prompt", "words", name)
    if prompt.language is None:
        return
    try:
        words_of(prompt.language)
    except UserInputError as problem:
        raise error(str(problem), "prompt", "language") from None


def _check_adapter(error: Callable[..., FileError], prompt: PromptFields) -> None:
    if prompt.adapter is not None and not _ADAPTER.fullmatch(prompt.adapter):
        raise error(f"{prompt.adapter!r} is not of the form module:function", "prompt", "adapter")


def _check_data(error: Callable[..., FileError], fields: TaskFields) -> None:
    if fields.hf_repo is not None:
        if fields.data_files:
            raise error("the task has hf_repo too; remove one of them (null removes a default)", "data_files")
        return
    if not fields.data_files:
        raise error("the task names no data: give hf_repo or data_files", "hf_repo")
    splits = [("evaluation_splits", split) for split in _tuple(fields.evaluation_splits)]
    if fields.few_shots_split is not None:
        splits.append(("few_shots_split", fields.few_shots_split))
    for key, split in splits:
        if split not in fields.data_files:
            known = ", ".join(fields.data_files)
            raise error(f"data_files has no split {split!r}, only {known}{did_you_mean(split, fields.data_files)}", key)


def _texts(value: Any, steps: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every text in a value, with its path."""
    if isinstance(value, str):
        yield steps, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, (*steps, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _texts(item, (*steps, number))


# -------------------------------------------------------------------------------------------------------- the matrix


def _variants(source: YamlFile, index: int, merged: Mapping[str, Any], matrix: Any, *, room: int) -> list[dict[str, str]]:
    """The values of the matrix's variables, one mapping per task; the last variable varies fastest. `room`: for so many tasks."""
    if matrix is None:
        _check_placeholders(source, index, merged, set())
        return [{}]
    axes = [_axis(matrix)] if isinstance(matrix, list) else [_axis(values, name) for name, values in matrix.items()]
    names: set[str] = set()
    for axis in axes:
        for values in axis:
            if values.keys() != axis[0].keys():
                raise source.error(
                    ("tasks", index, "matrix"),
                    f"each entry must have the same variables: {', '.join(axis[0])} in one, {', '.join(values)} in another",
                )
        if both := names & axis[0].keys():
            raise source.error(("tasks", index, "matrix"), f"the variable {min(both)!r} is given twice")
        names |= axis[0].keys()
    if wrong := next((name for name in names if not re.fullmatch(r"\w+", name)), None):
        raise source.error(("tasks", index, "matrix"), f"the variable {wrong!r} must be one word, to be written {{word}}")
    if (count := math.prod(map(len, axes))) > room:
        problem = f"makes {count} tasks, and one file has at most {_MOST_TASKS}"
        raise source.error(("tasks", index, "matrix"), problem)
    _check_placeholders(source, index, merged, names)
    return [{name: value for values in chosen for name, value in values.items()} for chosen in itertools.product(*axes)]


def _axis(values: Sequence[Any], name: str = "") -> list[dict[str, str]]:
    return [
        {key: str(item) for key, item in value.items()} if isinstance(value, dict) else {name: str(value)}
        for value in values
    ]  # fmt: skip


def _check_placeholders(source: YamlFile, index: int, merged: Mapping[str, Any], variables: set[str]) -> None:
    for key in _IDENTIFIERS:
        for steps, text in _texts(merged.get(key), (key,)):
            if (key == "cluster" and "{{" in text) or (key == "metrics" and "judge" in steps):
                continue  # it is a template, as those of a prompt
            for found in _PLACEHOLDER.findall(text):
                if found not in variables:
                    known = f"the matrix has {', '.join(sorted(variables))}" if variables else "the task has no matrix"
                    problem = f"unknown matrix variable {{{found}}}: {known}{did_you_mean(found, variables)}"
                    raise source.error(_where(source, index, *steps), problem)


def _filler(value: Any) -> Callable[[Mapping[str, str]], Any] | None:
    """A function of the variables that gives the value with `{variable}` replaced in all its texts, but not in its keys.

    None: nothing in it can be replaced. Made once for a task, of whose expansions there may be thousands.
    """
    if isinstance(value, str):
        if not _PLACEHOLDER.search(value):
            return None
        return lambda variables: _OUTSIDE_JINJA.sub(lambda found: variables.get(found[1], found[0]) if found[1] else found[0], value)
    if isinstance(value, dict):
        parts = {key: filler for key, item in value.items() if (filler := _filler(item)) is not None}
        return (lambda variables: value | {key: fill(variables) for key, fill in parts.items()}) if parts else None
    if isinstance(value, list):
        fillers = [_filler(item) for item in value]
        if not any(fillers):
            return None
        return lambda variables: [fill(variables) if fill else item for fill, item in zip(fillers, value, strict=True)]
    return None


# -------------------------------------------------------------------------------------------------------- the values


def _task(source: YamlFile, index: int, fields: TaskFields, suite: str, path: Path) -> Task:
    name = task_name(fields.name)
    if name is None:
        raise source.error(
            ("tasks", index, "name"),
            f"{fields.name!r} cannot be written in letters A-Z and digits: choose such a name, and give this one in aliases",
        )
    avail_splits = tuple(fields.data_files) if fields.hf_avail_splits is UNSET and fields.data_files else fields.hf_avail_splits
    return Task(
        suite=suite,
        name=name,
        prompt=_prompt(fields.prompt),
        metrics=() if fields.metrics is UNSET else _metric_names(fields.metrics),
        path=path,
        line=source.line(("tasks", index)),
        hf_repo=fields.hf_repo,
        hf_subset=fields.hf_subset,
        hf_revision=fields.hf_revision,
        data_files=fields.data_files,
        hf_filter=fields.hf_filter,
        hf_avail_splits=("train", "validation", "test") if avail_splits is UNSET else _tuple(avail_splits),
        evaluation_splits=_tuple(fields.evaluation_splits),
        few_shots_split=fields.few_shots_split,
        few_shots_select=fields.few_shots_select,
        few_shots_reserved=fields.few_shots_reserved,
        few_shots=(fields.few_shots,) if isinstance(fields.few_shots, int) else fields.few_shots,
        generation_size=fields.generation_size,
        stop_sequence=_tuple(fields.stop_sequence),
        num_samples=fields.num_samples,
        must_remove_duplicate_docs=fields.must_remove_duplicate_docs,
        version=fields.version,
        gates={metric: gate.spec for metric, gate in fields.gates.items() if gate is not None},
        cluster=fields.cluster,
        aliases=(*_tuple(fields.aliases), *((fields.name,) if name != fields.name else ())),
        published_answers=fields.published_answers,
        accepted_findings=fields.accepted_findings,
        skip=fields.skip or _refusal(fields.prompt),
        known_defect=fields.known_defect,
        corrected_by=fields.corrected_by,
        system_prompt_apart=fields.system_prompt_apart,
        judges=_judges(fields),
    )


def _metric_names(metrics: str | tuple[str | JudgedMetric, ...]) -> tuple[str, ...]:
    return (metrics,) if isinstance(metrics, str) else tuple(entry if isinstance(entry, str) else entry.judge.name for entry in metrics)


def _judges(fields: TaskFields) -> tuple[JudgeSpec, ...]:
    if fields.metrics is UNSET or isinstance(fields.metrics, str):
        return ()
    turns = fields.prompt is not UNSET and bool(fields.prompt.turns)
    return tuple(entry.judge.spec(turns=turns) for entry in fields.metrics if isinstance(entry, JudgedMetric))


def _refusal(prompt: PromptFields | UnsetType) -> str | None:
    """Why the template cannot ask in its language: a word is missing. None: it can."""
    if prompt is UNSET or prompt.template is None or prompt.language is None:
        return None
    words = words_of(prompt.language, prompt.words)
    relations = prompt.inputs.get("relations")
    missing = missing_words(prompt.template, prompt.formulation, words, relations if isinstance(relations, list) else ())
    return refusal(words, missing) if missing else None


def _prompt(fields: PromptFields | UnsetType) -> PromptTemplate:
    """The template; empty for a skipped task that declares none."""
    if fields is UNSET:
        return PromptTemplate(query="")
    query = "" if fields.query is UNSET else fields.query
    return PromptTemplate(**{**msgspec.structs.asdict(fields), "query": query})


def _tuple(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def _check_unique(source: YamlFile, tasks: Sequence[Task]) -> None:
    """Raise if two tasks have one name: they would share their node id and overwrite each other's results."""
    first: dict[str, Task] = {}
    for task in tasks:
        for name in (task.name, *task.aliases):
            other = first.setdefault(name, task)
            if other is task:
                continue
            if other.line == task.line:
                problem = f"the matrix makes several tasks named {name!r}: put its variables into the name"
            else:
                problem = f"{name!r} is the name or an alias of two tasks, in lines {other.line} and {task.line}"
            raise source.error(("tasks", _index(source, task), "name"), problem)


# --------------------------------------------------------------------------------------------------------- the lines


def _index(source: YamlFile, task: Task) -> int:
    """The task's place in the file's list of tasks."""
    entries = source.data.get("tasks", ()) if isinstance(source.data, dict) else ()
    return next((index for index in range(len(entries)) if source.line(("tasks", index)) == task.line), 0)


def _where(source: YamlFile, index: int, *steps: str | int) -> Field:
    """The full path of a task's field: in `defaults` if only they have it."""
    in_task = ("tasks", index, *steps)
    in_defaults = ("defaults", *steps)
    return in_defaults if not source.has(in_task) and source.has(in_defaults) else in_task
