"""Make documents of rows: adapter, templates, checks. Knows nothing of data sets, few-shot examples or models."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Any

from pytest_lighteval.errors import PromptError, did_you_mean, in_one_line
from pytest_lighteval.prompts.languages.inputs import question_of
from pytest_lighteval.prompts.languages.templates import Question
from pytest_lighteval.prompts.languages.words import words_of
from pytest_lighteval.prompts.templates import compile_template, null_place, variables
from pytest_lighteval.prompts.text_values import NullTextError, RenderError, as_text, is_null
from pytest_lighteval.types import Doc, PromptTemplate, Row, Task

Adapter = Callable[[dict[str, Any]], Any]

_EXTRAS = ("row", "__few_shots", "__index", "__language", "__formulation")
"""What a template or an adapter can use besides the columns."""
_NOT_TEXTS = ("adapter", "template", "language", "formulation", "words")
"""Fields of a prompt that are no templates of a row."""
_MADE = ("query", "choices", "gold", "unconditioned_query")
"""Those that `prompt.template` makes."""
_ADAPTERS = "pytest_lighteval.prompts.adapters"
_OWN_CODE = Path(__file__).parents[1]
_OLD_ADAPTERS = _ADAPTERS.replace(".prompts", "")
_LONGEST_NAME = 40
"""Characters of a cluster's name; a passage that is one is named by its digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedDocs:
    """The documents of a split."""

    docs: list[Doc]
    unlabeled: tuple[str, ...] = ()
    """Ids of documents that were left out, as their right answer is not published."""


def render_docs(
    task: Task,
    rows: Iterable[tuple[int, Row]],
    split: str,
    *,
    few_shots: bool = False,
    multiple_choice: bool = False,
    on_error: Callable[[PromptError], None] | None = None,
) -> RenderedDocs:
    """The documents of rows, in their order. Each row has its number in the stored split.

    `few_shots`: the documents become examples, which a task may write differently; equal queries are kept.
    `multiple_choice`: the choices will be scored, so there must be some, and none may be empty.
    `on_error`: gets what is wrong with a row, the rest of which is then left out. None: the first such row ends it all.
    A document with a gold index below 0 (how data sets write "not published") is left out, and its id kept.
    Raises PromptError, one line that names task, row, field and the problem.
    """
    maker = DocMaker(task, split, few_shots, multiple_choice)
    docs: list[Doc] = []
    unlabeled: list[str] = []
    for index, row in rows:
        try:
            for doc_id, doc in maker.make(index, row):
                if doc is None:
                    unlabeled.append(doc_id)
                else:
                    docs.append(doc)
        except PromptError as error:
            if on_error is None:
                raise
            on_error(error)
    if task.must_remove_duplicate_docs and not few_shots:
        first: dict[str, Doc] = {}
        for doc in docs:
            first.setdefault(doc.query, doc)
        docs = list(first.values())
    return RenderedDocs(docs=docs, unlabeled=tuple(unlabeled))


class DocMaker:
    """A task's adapter and templates, compiled, for one split."""

    def __init__(self, task: Task, split: str, few_shots: bool, multiple_choice: bool) -> None:
        self.task, self.split, self.few_shots, self.multiple_choice = task, split, few_shots, multiple_choice
        self.adapter = _adapter(task)
        prompt = task.prompt
        self.words = None if prompt.template is None or prompt.language is None else words_of(prompt.language, prompt.words)
        others = (*_NOT_TEXTS, *(_MADE if self.words else ("inputs",)))
        sources = {field.name: getattr(prompt, field.name) for field in fields(PromptTemplate) if field.name not in others}
        self.fields = {name: _Field(task, f"prompt.{name}", source) for name, source in sources.items() if source is not None}
        asked_in = {"__language": prompt.language, "__formulation": prompt.formulation}
        self.asked_in = {name: value for name, value in asked_in.items() if value is not None}
        # examples are never scored, so nobody asks what they share
        of = task.cluster if not few_shots else None
        self.source = _Field(task, "cluster", of) if of is not None else None

    def make(self, index: int, row: Row) -> Iterator[tuple[str, Doc | None]]:
        """The documents of one row with their ids; None for each that has no right answer."""
        where = f"{self.task.id}: {self.split}:{index}"
        adapted = self.adapt(where, index, row)
        for number, columns in enumerate(adapted):
            suffix = f":{number}" if len(adapted) > 1 else ""
            doc_id = f"{self.split}:{index}{suffix}"
            values = {**columns, "row": columns, "__few_shots": self.few_shots, "__index": index}
            question = None if self.words is None else self.question(where + suffix, values)
            if self.words is None or question is not None:
                yield doc_id, self.make_doc(where + suffix, doc_id, columns, values, question)

    def adapt(self, where: str, index: int, row: Row) -> Sequence[Row]:
        if self.adapter is None:
            return [row]
        try:
            # a copy, since the same row may be rendered again as a few-shot example
            made = self.adapter(deepcopy({**row, "__few_shots": self.few_shots, "__index": index} | self.asked_in))
        except Exception as error:  # it is the user's code: anything may come out
            problem = f"{self.task.prompt.adapter} raised {type(error).__name__}: {in_one_line(error)}{_place(error)}"
            raise PromptError(f"{where}: prompt.adapter: {problem}") from error
        if made is None:
            return []
        if isinstance(made, Mapping):
            return [made]
        if isinstance(made, list | tuple) and all(isinstance(one, Mapping) for one in made):
            return made
        problem = f"gives {_shown(made)}; a row, a list of rows or None is required"
        raise PromptError(f"{where}: prompt.adapter: {self.task.prompt.adapter} {problem}")

    def question(self, where: str, values: Row) -> Question | None:
        """What `prompt.template` makes of the row. None: it leaves the row out."""
        prompt, words = self.task.prompt, self.words
        assert prompt.template is not None
        assert words is not None
        inputs = self.fields["inputs"].render(where, values)

        def text_of(name: str, value: Any, place: str) -> str:
            return self.text(where, "inputs", value, values, f".{name}{place}")

        try:
            return question_of(prompt.template, prompt.formulation, words, inputs, text_of=text_of)
        except PromptError as error:
            raise PromptError(f"{where}: {str(error).removeprefix(f'{where}: ')}") from error

    def make_doc(self, where: str, doc_id: str, columns: Row, values: Row, question: Question | None) -> Doc | None:
        rendered = {name: field.render(where, values) for name, field in self.fields.items() if name != "inputs"}
        if question is not None:
            rendered |= {name: getattr(question, name) for name in _MADE}

        def text(name: str) -> str:
            return self.text(where, name, rendered[name], values)

        def optional_text(name: str) -> str | None:
            return None if rendered.get(name) is None else text(name)

        gold = _gold_indices(where, rendered["gold"])
        if any(gold_index < 0 for gold_index in gold):
            return None
        choices, gold = self.choices_and_gold(where, rendered["choices"], gold, values)
        if not isinstance(rendered["specific"], Mapping):
            raise PromptError(f"{where}: prompt.specific: gives {_shown(rendered['specific'])}; a mapping is required")
        if _half_inside(rendered["specific"]):
            raise _half_a_character(f"{where}: prompt.specific", rendered["specific"], values)
        instruction = text("instruction")
        return Doc(
            id=doc_id,
            query=instruction + text("query"),
            choices=choices,
            gold=gold,
            instruction=instruction,
            original_query=optional_text("original_query"),
            unconditioned_query=optional_text("unconditioned_query"),
            fewshot_sorting_class=optional_text("fewshot_sorting_class"),
            specific=rendered["specific"],
            cluster=self.cluster(where, columns, values),
            turns=self.turns(where, rendered["turns"], values),
        )

    def text(self, where: str, name: str, value: Any, values: Row, place: str = "") -> str:
        """The text of a field, whose template gave the value. `place` is within the field, such as `[2]`."""
        if is_null(value):
            raise PromptError(f"{where}: prompt.{name}{place}: {self.fields[name].null_problem(NullTextError(value), values)}")
        if isinstance(value, list | tuple | Mapping):
            raise PromptError(f"{where}: prompt.{name}{place}: gives {_shown(value)}; a text is required")
        try:
            text = str(as_text(value))
        except RenderError as error:
            raise PromptError(f"{where}: prompt.{name}{place}: {error}") from error
        if not text.isascii() and _half_inside(text):
            raise _half_a_character(f"{where}: prompt.{name}{place}", text, values)
        return text

    def choices_and_gold(self, where: str, rendered: Any, gold: tuple[int, ...], values: Row) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """Choices that are lists (of accepted spellings) are flattened; a gold index of such a list means all its members."""
        if isinstance(rendered, str) or not isinstance(rendered, Sequence):
            raise PromptError(f'{where}: prompt.choices: gives {_shown(rendered)}; a list is required, for one choice ["{{{{ ... }}}}"]')
        choices: list[str] = []
        places: list[range] = []
        for choice in rendered:
            spellings = choice if isinstance(choice, list | tuple) else [choice]
            places.append(range(len(choices), len(choices) + len(spellings)))
            choices += [self.text(where, "choices", spelling, values, f"[{len(places) - 1}]") for spelling in spellings]

        if self.multiple_choice:
            if not choices:
                raise PromptError(f"{where}: prompt.choices: there are none, and the task's metrics score choices")
            for number, choice in enumerate(choices):
                if not choice.strip():
                    raise PromptError(f"{where}: prompt.choices: choice {number} of {len(choices)} is empty ({choice!r})")
        if not choices and gold in ((), (0,)):  # 0 is the default of PromptTemplate
            if self.task.prompt.choices:
                problem = "there are none, so the document has no right answer; hf_filter leaves such rows out"
                raise PromptError(f"{where}: prompt.choices: {problem}")
            return (), ()
        for index in gold:
            if index >= len(places):
                raise PromptError(f"{where}: prompt.gold: index {index} is out of range, there are {len(places)} choices (the first is 0)")
        right = tuple(place for index in gold for place in places[index])
        if not right:
            raise PromptError(f"{where}: prompt.gold: names none of the {len(choices)} choices")
        return tuple(choices), right

    def turns(self, where: str, rendered: Any, values: Row) -> tuple[str, ...]:
        """The further user turns."""
        if isinstance(rendered, str) or not isinstance(rendered, Sequence):
            raise PromptError(f'{where}: prompt.turns: gives {_shown(rendered)}; a list is required, for one turn ["{{{{ ... }}}}"]')
        return tuple(self.text(where, "turns", turn, values, f"[{number}]") for number, turn in enumerate(rendered))

    def cluster(self, where: str, columns: Row, values: Row) -> str | None:
        """The name of a document's source: a short text as it is, a digest of a long one. None: it shares its source with no other."""
        column = self.task.cluster
        if column is None or self.source is None:
            return None
        is_template = "{{" in column
        if not is_template and column not in columns:
            raise PromptError(f"{where}: cluster: {_no_column(column, columns)}")
        value = self.source.render(where, values) if is_template else columns[column]
        if is_null(value):
            if is_template:
                return None
            raise PromptError(f"{where}: cluster: the column {column!r} is {NullTextError(value).value}: the row names no source")
        if half := _half_inside(value):
            raise _half_a_character(f"{where}: cluster", half, columns)
        name = str(value).strip() if is_template else str(value)
        if len(name) <= _LONGEST_NAME:
            return name or None
        return hashlib.sha256(name.encode()).hexdigest()[:16]


class _Field:
    """One compiled field of a task, named as in its suite: a text, or texts within lists and mappings."""

    def __init__(self, task: Task, name: str, source: Any) -> None:
        self.name, self.source = name, source
        self.value_of = self.compile(task, source)

    def compile(self, task: Task, source: Any) -> Callable[[Row], Any]:
        from jinja2 import TemplateSyntaxError

        if isinstance(source, str):
            try:
                return compile_template(source)
            except TemplateSyntaxError as error:
                raise PromptError(f"{task.id}: {self.name}: {error.message} in {_shortened(source)}") from error
        if isinstance(source, list | tuple):
            items = [self.compile(task, item) for item in source]
            return lambda row: [item(row) for item in items]
        if isinstance(source, Mapping):
            entries = {key: self.compile(task, value) for key, value in source.items()}
            return lambda row: {key: value(row) for key, value in entries.items()}
        return lambda row: source

    def render(self, where: str, values: Row) -> Any:
        try:
            return self.value_of(values)
        except RenderError as error:
            missing = sorted(name for text in _texts(self.source) for name in variables(text) if name not in values)
            columns = {name: value for name, value in values.items() if name not in _EXTRAS}
            if missing:
                problem = _no_column(missing[0], columns)
            elif isinstance(error, NullTextError):
                problem = self.null_problem(error, values)
            else:
                problem = f"{error} in {_shortened(self.source)}"
            raise PromptError(f"{where}: {self.name}: {problem}") from error

    def null_problem(self, error: NullTextError, values: Row) -> str:
        """What a null among the values means for this field, with the way out."""
        column = next((found for text in _texts(self.source) if (found := null_place(text, values)) is not None), None)
        if column is None:
            return f"gives nothing ({error.value}); a text is required"
        return (
            f"the column {column!r} is {error.value}; `| default(...)` behind it says what to write instead, hf_filter leaves the row out"
        )


_SURROGATE = re.compile("[\ud800-\udfff]")


def _half_inside(value: Any) -> str | None:
    """The first half of a surrogate pair in a text, a list or a mapping: UTF-8 cannot write it. None: there is none."""
    if isinstance(value, str):
        found = _SURROGATE.search(value)
        return found[0] if found else None
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return next((half for item in items if (half := _half_inside(item))), None)


def _half_a_character(place: str, value: Any, columns: Row) -> PromptError:
    holder = next((name for name, content in columns.items() if name not in _EXTRAS and _half_inside(content)), None)
    of = "the text" if holder is None else f"the column {holder!r}"
    problem = f"has half a character ({_half_inside(value)!r}), which UTF-8 cannot write; mend the data, or hf_filter leaves the row out"
    return PromptError(f"{place}: {of} {problem}")


def _texts(source: Any) -> Iterator[str]:
    if isinstance(source, str):
        yield source
    elif isinstance(source, list | tuple | Mapping):
        for item in source.values() if isinstance(source, Mapping) else source:
            yield from _texts(item)


def _gold_indices(where: str, value: Any) -> tuple[int, ...]:
    values = value if isinstance(value, list | tuple) else (value,)
    return tuple(_gold_index(where, one) for one in values)


def _gold_index(where: str, value: Any) -> int:
    """Data sets write labels as integers, floats, booleans and texts."""
    try:
        if not isinstance(value, int | float | str) or int(value) != float(value):
            raise ValueError(value)
        return int(value)
    except (ValueError, OverflowError) as error:
        raise PromptError(f"{where}: prompt.gold: gives {_shortened(value)}, which is no index of a choice") from error


def _no_column(name: str, columns: Row) -> str:
    return f"there is no column {name!r}{did_you_mean(name, columns)}, only {', '.join(columns)}"


def _shown(value: Any) -> str:
    return "nothing (None)" if value is None else f"the {type(value).__name__} {_shortened(value)}"


def _shortened(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


# ------------------------------------------------------------------------------------------------------ adapters


def _adapter(task: Task) -> Adapter | None:
    if task.code is not None and task.code.adapter is not None:
        return task.code.adapter
    return None if task.prompt.adapter is None else _load_adapter(task, task.prompt.adapter)


def _place(error: BaseException) -> str:
    """` (file.py:12)`, the last line of the user's own code that an error passed. Empty: it passed none."""
    places = [
        f" ({frame.filename}:{frame.lineno})"
        for frame in traceback.extract_tb(error.__traceback__)
        if _OWN_CODE not in Path(frame.filename).parents and frame.lineno is not None and Path(frame.filename).is_file()
    ]
    return places[-1] if places else ""


def _load_adapter(task: Task, reference: str) -> Adapter:
    """`module:function`. The module is a file beside the suite file or, if there is none, any that can be imported."""
    where = f"{task.id}: prompt.adapter"
    module_name, colon, function_name = reference.partition(":")
    if not (colon and module_name and function_name):
        raise PromptError(f"{where}: {reference!r} is not of the form module:function")
    module = _load_module(where, task.path.parent, _new_name(task, module_name))
    function = getattr(module, function_name, None)
    if not callable(function):
        functions = [name for name, value in vars(module).items() if callable(value)]
        raise PromptError(f"{where}: {module_name} has no function {function_name!r}{did_you_mean(function_name, functions)}")
    adapter: Adapter = function
    return adapter


def _new_name(task: Task, module: str) -> str:
    """The name that a module of adapters has since it moved. A suite with the old one is warned of at its task's line."""
    rest = module.removeprefix(_OLD_ADAPTERS)
    if rest == module or (rest and not rest.startswith(".")):
        return module
    text = f"{task.id}: prompt.adapter: {_OLD_ADAPTERS} moved to {_ADAPTERS}, the old name goes with 0.2"
    # an error of the user's filter would end an evaluation that is right
    with contextlib.suppress(DeprecationWarning):
        warnings.warn_explicit(text, DeprecationWarning, filename=str(task.path), lineno=task.line)
    return _ADAPTERS + rest


def _load_module(where: str, folder: Path, name: str) -> ModuleType:
    file = folder.joinpath(*name.split(".")).with_suffix(".py").resolve()
    try:
        return _import_file(file) if file.is_file() else importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise PromptError(f"{where}: {name} cannot be imported: {type(error).__name__}: {in_one_line(error)}") from error
        raise PromptError(f"{where}: there is neither a file {file.name} in {folder} nor a module {name!r}") from error
    except Exception as error:  # it is the user's code: anything may come out
        raise PromptError(f"{where}: {name} cannot be imported: {type(error).__name__}: {in_one_line(error)}") from error


def _import_file(file: Path) -> ModuleType:
    """Import once, under a name of its own: suites in two folders may both have a `prompts.py`."""
    private_name = f"_pytest_lighteval_adapter_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}"
    if private_name in sys.modules:
        return sys.modules[private_name]
    spec = importlib.util.spec_from_file_location(private_name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python module", name=private_name)
    module = importlib.util.module_from_spec(spec)
    sys.modules[private_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[private_name]
        raise
    return module
