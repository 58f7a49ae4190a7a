"""The eight templates: what is asked, which choices are scored, in one of three formulations. Pure functions of a question's parts.

`mcf`: the options are listed, and letters are scored. `cf`: nothing is listed, and the options themselves are scored. `hybrid`: the options
are listed, and they themselves are scored.

The texts are Lighteval v0.9.2's, byte for byte (https://github.com/huggingface/lighteval/tree/v0.9.2/src/lighteval/tasks/templates);
docs/languages.md has an example of each template.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_lighteval.errors import PromptError
from pytest_lighteval.prompts.languages.texts import (
    capitalize,
    continued,
    decapitalize,
    space_after,
    with_ending,
    without_ending,
)
from pytest_lighteval.prompts.languages.words import Words, words_of

Formulation = Literal["mcf", "cf", "hybrid"]
Relation = Literal["entailment", "contradiction", "neutral"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a template makes of a question's parts, with the field names of `Doc`."""

    query: str
    choices: tuple[str, ...]
    gold: tuple[int, ...]
    unconditioned_query: str


def multichoice(
    words: Words, formulation: Formulation, *, question: str, choices: Sequence[str], gold: Sequence[int], context: str = ""
) -> Question:
    """A question with options, and the passage that it is about in front of it."""
    parts = [*([_sentence(context, words)] if context else []), _labeled("question_word", words) + words.sentence_space]
    parts[-1] += _sentence(question, words)
    options = [_sentence(choice, words) for choice in choices]
    return _asked("\n".join(parts), options, gold, words, formulation)


def qa(words: Words, *, question: str, answers: Sequence[str], context: str = "") -> Question:
    """A question whose answer is written. Every accepted answer is a choice, and right."""
    return multichoice(words, "cf", question=question, choices=answers, gold=range(len(answers)), context=context)


def boolq(words: Words, formulation: Formulation, *, question: str, is_true: bool, context: str = "") -> Question:
    """A question that is answered by yes or no."""
    choices = (words.need("yes"), words.need("no"))
    return multichoice(words, formulation, question=question, choices=choices, gold=[0 if is_true else 1], context=context)


def nli(
    words: Words,
    formulation: Formulation,
    *,
    premise: str,
    hypothesis: str,
    gold: Sequence[int],
    relations: Sequence[Relation] = ("entailment", "contradiction"),
) -> Question:
    """Does a statement follow from another? `gold` is an index of `relations`."""
    if formulation == "cf":
        labels = {"entailment": "yes", "contradiction": "no", "neutral": "also"}
        asked = words.need("confirmation_word") + words.question_mark
        said = decapitalize(without_ending(hypothesis))
        return Question(
            query=capitalize(without_ending(premise)) + words.word_space + asked,
            choices=tuple(
                words.sentence_space + capitalize(words.need(labels[relation])) + words.comma + words.word_space + said
                for relation in relations
            ),
            gold=tuple(gold),
            unconditioned_query=asked,
        )
    named = {"entailment": "true", "contradiction": "false", "neutral": "neither"}
    labels_shown = [capitalize(words.need(named[relation])) for relation in relations]
    if formulation == "hybrid":
        # neutral goes last, as "true, false or neither"
        ordered = [label for relation, label in zip(relations, labels_shown, strict=True) if relation != "neutral"]
        ordered += [label for relation, label in zip(relations, labels_shown, strict=True) if relation == "neutral"]
        listed = (words.comma + words.word_space).join(ordered[:-1])
        listed += words.word_space + words.need("or_word") + words.word_space + ordered[-1] + words.question_mark
        hypothesis = without_ending(hypothesis) + words.sentence_space + listed
    # the hybrid names its choices in the question, and lists none
    return multichoice(
        words, "cf" if formulation == "hybrid" else "mcf", question=hypothesis, choices=labels_shown, gold=gold, context=premise
    )


def copa(words: Words, formulation: Formulation, *, premise: str, relation: str, choices: Sequence[str], gold: Sequence[int]) -> Question:
    """What goes before a sentence as its `cause`, or follows from it as its `effect`."""
    if relation not in ("cause", "effect"):
        raise PromptError(f"prompt.inputs.relation: gives {relation!r}, which is neither 'cause' nor 'effect'")
    joined = words.need("cause_word" if relation == "cause" else "effect_word")
    context = capitalize(without_ending(premise)) + words.word_space + joined
    return continuation(words, formulation, context=context, choices=choices, gold=gold)


def hellaswag(
    words: Words,
    formulation: Formulation,
    *,
    context: str,
    choices: Sequence[str],
    gold: Sequence[int],
    second_context: str = "",
    artifacts: Sequence[str] = (" [title]",),
) -> Question | None:
    """How a scene goes on. `artifacts`: marks of WikiHow, which stand for the end of a sentence. None: an ending is empty."""

    def cleaned(text: str) -> str:
        # an ASCII full stop in every language
        return capitalize(with_ending(_without_artifacts(text, artifacts, ". "), words)) if text else ""

    scene, rest = cleaned(context), cleaned(second_context)
    if rest:
        scene = scene.rstrip() + space_after(scene, words) + continued(scene, rest, words)
    endings = [_without_artifacts(choice, artifacts, words.full_stop + words.sentence_space) for choice in choices]
    if not all(endings):
        return None
    return continuation(words, formulation, context=scene, choices=endings, gold=gold)


def continuation(words: Words, formulation: Formulation, *, context: str, choices: Sequence[str], gold: Sequence[int]) -> Question:
    """How a text goes on."""
    begun = _sentence(context, words)
    endings = [continued(begun, with_ending(choice, words), words) for choice in choices]
    return _continued(begun, endings, gold, words, formulation)


def translation(source: Words, target: Words, formulation: Formulation, *, text: str, translations: Sequence[str]) -> Question:
    """A text in another language; every translation is right. The languages are named by their codes, in English marks."""
    english = words_of("eng")
    label = f"{source.tag.upper()}: {_sentence(text, source)} {target.tag.upper()}:"
    return _continued(label, [_sentence(one, target) for one in translations], range(len(translations)), english, formulation)


# ------------------------------------------------------------------------------------------------ what templates share


def _sentence(text: str, words: Words) -> str:
    return capitalize(with_ending(text, words))


def _labeled(word: str, words: Words) -> str:
    """`Question:`."""
    return capitalize(words.need(word)) + words.colon


def _asked(query: str, options: Sequence[str], gold: Sequence[int], words: Words, formulation: Formulation) -> Question:
    """The question, its options if the formulation lists them, and the word for the answer."""
    answer = _labeled("answer", words)
    listed = [] if formulation == "cf" else [_options(options, words)]
    return Question(
        query="\n".join([query, *listed, answer]),
        choices=_answers(options, words, formulation),
        gold=tuple(gold),
        unconditioned_query=answer,
    )


def _continued(query: str, options: Sequence[str], gold: Sequence[int], words: Words, formulation: Formulation) -> Question:
    """The same without a word for the question; what is not listed goes on directly."""
    if formulation != "cf":
        return _asked(query, options, gold, words, formulation)
    space = space_after(query, words)
    return Question(query=query, choices=tuple(space + option for option in options), gold=tuple(gold), unconditioned_query="")


def _options(options: Sequence[str], words: Words) -> str:
    if len(options) > len(string.ascii_uppercase):
        raise PromptError(f"prompt.inputs.choices: there are {len(options)}, and letters for {len(string.ascii_uppercase)}")
    space = words.sentence_space
    return "\n".join(
        f"{space}{letter}{words.full_stop}{space}{option}" for letter, option in zip(string.ascii_uppercase, options, strict=False)
    )


def _answers(options: Sequence[str], words: Words, formulation: Formulation) -> tuple[str, ...]:
    shown = string.ascii_uppercase[: len(options)] if formulation == "mcf" else options
    return tuple(words.sentence_space + one for one in shown)


def _without_artifacts(text: str, artifacts: Sequence[str], stop: str) -> str:
    for artifact in artifacts:
        text = text.replace(artifact, stop)
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ").strip()
