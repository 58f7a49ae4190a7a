"""Stand-ins for Lighteval's `tasks/templates`: prompt functions made by our own templates of languages (`prompts/languages`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pytest_lighteval.guests.lighteval.documents import LightevalDoc, as_list
from pytest_lighteval.guests.lighteval.dynamic_metrics import loglikelihood_acc_metric
from pytest_lighteval.prompts.languages import templates
from pytest_lighteval.prompts.languages.templates import Formulation, Question
from pytest_lighteval.prompts.languages.words import Words, language_codes, words_of


@dataclass
class MCFFormulation:
    """The options are listed, and letters are scored."""

    choice_prefix: str = "Letters"
    name: str = "MCF"


@dataclass
class HybridFormulation:
    """The options are listed, and they themselves are scored."""

    choice_prefix: str = "Letters"
    name: str = "Hybrid"


@dataclass
class CFFormulation:
    """Nothing is listed, and the options themselves are scored."""

    name: str = "CF"


AnyFormulation = MCFFormulation | HybridFormulation | CFFormulation
Adapter = Callable[[dict[str, Any]], Mapping[str, Any] | None] | Mapping[str, str]
PromptFunction = Callable[..., LightevalDoc | None]


def get_mcq_prompt_function(language: Enum, adapter: Adapter, formulation: AnyFormulation | None = None) -> PromptFunction:
    """Multiple choice."""
    words, chosen = _words(language, "get_mcq_prompt_function"), _formulation(formulation, "get_mcq_prompt_function")
    return _made(
        adapter,
        lambda given: templates.multichoice(
            words, chosen, question=given["question"], choices=given["choices"], gold=_gold(given), context=given.get("context") or ""
        ),
    )


def get_qa_prompt_function(language: Enum, adapter: Adapter) -> PromptFunction:
    """A question whose answer is written."""
    words = _words(language, "get_qa_prompt_function")
    return _made(
        adapter,
        lambda given: templates.qa(words, question=given["question"], answers=given["choices"], context=given.get("context") or ""),
    )


def get_boolq_prompt_function(language: Enum, adapter: Adapter, formulation: AnyFormulation | None = None) -> PromptFunction:
    """Yes or no."""
    words, chosen = _words(language, "get_boolq_prompt_function"), _formulation(formulation, "get_boolq_prompt_function")
    return _made(
        adapter,
        lambda given: templates.boolq(
            words, chosen, question=given["question"], is_true=bool(given["answer"]), context=given.get("context") or ""
        ),
    )


def get_nli_prompt_function(
    language: Enum, adapter: Adapter, relations: Sequence[Any], formulation: AnyFormulation | None = None
) -> PromptFunction:
    """Does a statement follow from another?"""
    words, chosen = _words(language, "get_nli_prompt_function"), _formulation(formulation, "get_nli_prompt_function")
    return _made(
        adapter,
        lambda given: templates.nli(
            words, chosen, premise=given["premise"], hypothesis=given["hypothesis"], gold=_gold(given), relations=tuple(relations)
        ),
    )


def get_copa_prompt_function(language: Enum, adapter: Adapter, formulation: AnyFormulation | None = None) -> PromptFunction:
    """Cause or effect. As there, whatever is not `cause` is an effect."""
    words, chosen = _words(language, "get_copa_prompt_function"), _formulation(formulation, "get_copa_prompt_function")
    return _made(
        adapter,
        lambda given: templates.copa(
            words,
            chosen,
            premise=given["context"],
            relation="cause" if given["cause_effect"] == "cause" else "effect",
            choices=given["continuations"],
            gold=_gold(given),
        ),
        instruction_ends="\n",
    )


def get_hellaswag_prompt_function(
    language: Enum, adapter: Adapter, formulation: AnyFormulation | None = None, wikihow_artifacts: Sequence[str] = (" [title]",)
) -> PromptFunction:
    """How a scene goes on."""
    words, chosen = _words(language, "get_hellaswag_prompt_function"), _formulation(formulation, "get_hellaswag_prompt_function")

    def question(given: Mapping[str, Any]) -> Question | None:
        if given.get("activity_label"):
            raise ValueError("get_hellaswag_prompt_function: an activity_label is not served; put it into ctx_a")
        return templates.hellaswag(
            words,
            chosen,
            context=given["ctx_a"],
            choices=given["continuations"],
            gold=_gold(given),
            second_context=given.get("ctx_b") or "",
            artifacts=tuple(wikihow_artifacts),
        )

    return _made(adapter, question, instruction_ends="\n")


def get_continuation_prompt_function(
    language: Enum, adapter: Adapter, formulation: AnyFormulation | None = None, fix_formatting: bool = True
) -> PromptFunction:
    """How a text goes on."""
    name = "get_continuation_prompt_function"
    words, chosen = _words(language, name), _formulation(formulation, name)
    if not fix_formatting:
        raise NotImplementedError(f"{name}: fix_formatting=False is not served: write the prompt function yourself")
    return _made(
        adapter,
        lambda given: templates.continuation(words, chosen, context=given["context"], choices=given["continuations"], gold=_gold(given)),
        instruction_ends="\n",
    )


def get_translation_prompt_function(
    source_language: Enum, target_language: Enum, adapter: Adapter, formulation: AnyFormulation | None = None
) -> PromptFunction:
    """A text in another language."""
    name = "get_translation_prompt_function"
    source, target, chosen = _words(source_language, name), _words(target_language, name), _formulation(formulation, name)

    def question(given: Mapping[str, Any]) -> Question:
        texts = as_list(given["target_text"])
        if "gold_idx" in given and _gold(given) != list(range(len(texts))):
            raise ValueError(f"{name}: a gold_idx is not served: every target text is right")
        return templates.translation(source, target, chosen, text=given["source_text"], translations=texts)

    return _made(adapter, question, instruction_ends="\n")


def get_metrics_for_formulation(formulation: AnyFormulation, metrics: list[Any]) -> list[Any]:
    """Where letters are scored, the plain accuracy; otherwise the metrics that are given."""
    is_letters = isinstance(formulation, MCFFormulation) and formulation.choice_prefix == "Letters"
    return [loglikelihood_acc_metric()] if is_letters else metrics


def normalize_subset(subset: str) -> str:
    """A subset's name as a part of a task's."""
    return subset.replace(" ", "_").replace("(", "").replace(")", "").lower()


def _made(adapter: Adapter, question: Callable[[Mapping[str, Any]], Question | None], *, instruction_ends: str = "") -> PromptFunction:
    """The prompt function of a template. An instruction is a line of its own before the query."""

    def prompt(line: dict[str, Any], task_name: str | None = None) -> LightevalDoc | None:
        given = adapter(line) if callable(adapter) else {name: line[column] for name, column in adapter.items()}
        made = None if given is None else question(given)
        if given is None or made is None:
            return None
        instruction = f"{given['instruction']}" if given.get("instruction") else ""
        return LightevalDoc(
            query=(f"{instruction}\n" if instruction else "") + made.query,
            choices=list(made.choices),
            gold_index=list(made.gold),
            instruction=instruction + (instruction_ends if instruction else ""),
            unconditioned_query=made.unconditioned_query,
            task_name=task_name,
        )

    return prompt


def _gold(given: Mapping[str, Any]) -> list[int]:
    return [int(index) for index in as_list(given["gold_idx"])]


def _formulation(given: AnyFormulation | None, template: str) -> Formulation:
    if given is None or isinstance(given, MCFFormulation | HybridFormulation):
        prefix = "Letters" if given is None else given.choice_prefix
        if prefix != "Letters":
            raise NotImplementedError(f"{template}: the choice_prefix {prefix!r} is not served, only 'Letters'")
        return "hybrid" if isinstance(given, HybridFormulation) else "mcf"
    return "cf"


def _words(language: Enum, template: str) -> Words:
    if language.value not in language_codes():
        raise NotImplementedError(f"{template}: there are no words of {language.name.lower()} ({language.value})")
    return words_of(language.value)
