"""Which parts of a question each template takes, by the names that suite files use, and which words it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast, get_args

from pytest_lighteval.errors import PromptError
from pytest_lighteval.prompts.languages import templates
from pytest_lighteval.prompts.languages.templates import Formulation, Question, Relation
from pytest_lighteval.prompts.languages.words import Words, words_of

Kind = Literal["text", "texts", "gold", "flag", "code", "relations"]
"""A text; a list of texts; an index or indices; true or false; a language's code; names of relations."""

FORMULATIONS: tuple[str, ...] = get_args(Formulation)
INPUTS: Mapping[str, Mapping[str, Kind]] = {
    "multichoice": {"question": "text", "choices": "texts", "gold": "gold", "context": "text"},
    "qa": {"question": "text", "answers": "texts", "context": "text"},
    "boolq": {"question": "text", "answer": "flag", "context": "text"},
    "nli": {"premise": "text", "hypothesis": "text", "gold": "gold", "relations": "relations"},
    "copa": {"premise": "text", "relation": "text", "choices": "texts", "gold": "gold"},
    "hellaswag": {"context": "text", "choices": "texts", "gold": "gold", "second_context": "text", "artifacts": "texts"},
    "continuation": {"context": "text", "choices": "texts", "gold": "gold"},
    "translation": {"text": "text", "translations": "texts", "target": "code"},
}
"""Template -> its inputs."""
OPTIONAL: Mapping[str, frozenset[str]] = {
    "multichoice": frozenset({"context"}),
    "qa": frozenset({"context"}),
    "boolq": frozenset({"context"}),
    "nli": frozenset({"relations"}),
    "hellaswag": frozenset({"second_context", "artifacts"}),
}
"""Template -> those that a suite may leave out."""

_ASKED = ("question_word", "answer")
_RELATED: Mapping[str, Mapping[str, str]] = {
    "cf": {"entailment": "yes", "contradiction": "no", "neutral": "also"},
    "mcf": {"entailment": "true", "contradiction": "false", "neutral": "neither"},
}

TextOf = Callable[[str, Any, str], str]
"""`(name of the input, its value, place within it) -> text`. Raises PromptError for what is no text."""


def missing_words(template: str, formulation: str | None, words: Words, relations: Sequence[str] = ()) -> list[str]:
    """The words that the template needs and the language has not, in the order of `Words`."""
    needed: set[str] = set()
    if template in ("multichoice", "qa", "boolq") or (template == "nli" and formulation != "cf"):
        needed |= {*_ASKED}
    if template == "boolq":
        needed |= {"yes", "no"}
    if template == "copa":
        needed |= {"cause_word", "effect_word"}
    if template in ("copa", "hellaswag", "continuation") and formulation != "cf":
        needed.add("answer")
    if template == "nli":
        labels = _RELATED["cf" if formulation == "cf" else "mcf"]
        needed |= {labels[relation] for relation in relations or ("entailment", "contradiction") if relation in labels}
        needed |= {"confirmation_word"} if formulation == "cf" else {"or_word"} if formulation == "hybrid" else set()
    return [name for name in Words.__dataclass_fields__ if name in needed and getattr(words, name) is None]


def refusal(words: Words, missing: Sequence[str]) -> str:
    """Why a task of this language cannot be asked."""
    listed = ", ".join(map(repr, missing))
    return f"{words.name} ({words.code}) has no word for {listed}; prompt.words can give {'it' if len(missing) == 1 else 'them'}"


def question_of(template: str, formulation: str | None, words: Words, inputs: Mapping[str, Any], *, text_of: TextOf) -> Question | None:
    """The question that a row's inputs make. None: the template leaves the row out.

    `inputs`: rendered values by name. Raises PromptError for a value that is not of its input's kind, and for a missing word.
    """
    values = {name: _value(INPUTS[template][name], name, value, text_of) for name, value in inputs.items()}
    chosen = cast(Formulation, formulation or "cf")
    match template:
        case "multichoice":
            return templates.multichoice(words, chosen, **values)
        case "qa":
            return templates.qa(words, **values)
        case "boolq":
            return templates.boolq(words, chosen, is_true=values.pop("answer"), **values)
        case "nli":
            return templates.nli(words, chosen, **values)
        case "copa":
            return templates.copa(words, chosen, **values)
        case "hellaswag":
            return templates.hellaswag(words, chosen, **values)
        case "continuation":
            return templates.continuation(words, chosen, **values)
        case "translation":
            return templates.translation(words, values.pop("target"), chosen, **values)
    raise PromptError(f"prompt.template: there is no template {template!r}")


def _value(kind: Kind, name: str, value: Any, text_of: TextOf) -> Any:
    """The value of an input as its template takes it."""
    match kind:
        case "text":
            return text_of(name, value, "")
        case "code":
            return words_of(text_of(name, value, ""))
        case "flag":
            if not isinstance(value, bool | int) or value not in (0, 1):
                raise PromptError(f"prompt.inputs.{name}: gives {value!r}; true or false is required")
            return bool(value)
        case "gold":
            values = value if isinstance(value, list | tuple) else [value]
            return [_index(name, one) for one in values]
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise PromptError(f"prompt.inputs.{name}: gives {value!r:.80}; a list of texts is required")
    texts = tuple(text_of(name, one, f"[{place}]") for place, one in enumerate(value))
    if kind == "relations" and (wrong := [text for text in texts if text not in get_args(Relation)]):
        raise PromptError(f"prompt.inputs.{name}: {wrong[0]!r} is none of {', '.join(get_args(Relation))}")
    return texts


def _index(name: str, value: Any) -> int:
    try:
        if not isinstance(value, int | float | str) or int(value) != float(value):
            raise ValueError(value)
        return int(value)
    except (ValueError, OverflowError) as error:
        raise PromptError(f"prompt.inputs.{name}: gives {value!r:.80}, which is no index of a choice") from error
