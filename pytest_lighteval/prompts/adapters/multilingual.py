"""Rows of Lighteval v0.9.2's multilingual tasks that need more than a template, as inputs of `prompts.languages`.

Facts of https://github.com/huggingface/lighteval/blob/v0.9.2/src/lighteval/tasks/multilingual/adapters.py. There, what is random comes
from streams of the whole process; here a digest of the row's own text decides.
"""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Sequence
from typing import Any

from pytest_lighteval.prompts.languages.texts import without_beginning, without_ending
from pytest_lighteval.prompts.languages.words import Words, words_of

_LETTERS = string.ascii_uppercase
_OPTION_MARK = re.compile(r"^\([A-Da-d1-5๑๒๓๔๕]\)\s*|^[A-Da-e1-5๑๒๓๔๕][.．।。]\s*")
"""`(A) ` or `A. ` before an option; "(E)" and "E." are kept, as in the reference."""
_CIRCLED = frozenset("①②③④⑤⑥")
_SPACE = " \t\n\r\f\v"
_MOST_ANSWERS = 5
"""Of a question of MKQA: rows with more have an answer that is cut into single characters."""


def mkqa(row: dict[str, Any]) -> dict[str, Any] | None:
    """`question` and `answers` of MKQA (https://aclanthology.org/2021.tacl-1.82) in the task's language."""
    tag = words_of(row["__language"]).tag
    key = "zh_cn" if tag == "zh" else tag
    first = row["answers"][key][0]
    if first["text"] is None:
        return None
    answers = [text for text in (first["text"], *first["aliases"]) if text.strip()]
    if not 1 <= len(answers) <= _MOST_ANSWERS:
        return None
    return {"question": row["queries"][key], "answers": answers}


def m3exam(row: dict[str, Any]) -> dict[str, Any] | None:
    """`question`, `context`, `choices` and `gold` of M3Exam (https://arxiv.org/abs/2306.05179)."""
    answer = row["answer_text"]
    choices = [_OPTION_MARK.sub("", option) for option in row["options"]]
    gold = int(answer) - 1 if answer.isdigit() else _LETTERS.index(answer.upper())
    if not all(choices) or gold >= len(choices):
        return None
    return {"question": row["question_text"], "context": row["background"], "choices": choices, "gold": gold}


def thai_exam(row: dict[str, Any]) -> dict[str, Any] | None:
    """The same of ThaiExam (https://arxiv.org/abs/2312.13951), whose options are the columns a to e that a subset has."""
    letters = [letter for letter in "abcde" if letter in row]
    if any(not row[letter].strip() for letter in letters):
        return None
    return {"question": row["question"], "choices": [row[letter] for letter in letters], "gold": letters.index(row["answer"])}


def sciqa(row: dict[str, Any]) -> dict[str, Any]:
    """`choices` with the right answer among the wrong ones, and its place `gold`, which a digest of the question decides."""
    choices = [row["distractor1"], row["distractor2"], row["distractor3"]]
    gold = hashlib.sha256(row["question"].encode()).digest()[0] % 4
    choices.insert(gold, row["correct_answer"])
    return {**row, "choices": choices, "gold": gold}


def xwinograd(row: dict[str, Any]) -> dict[str, Any] | None:
    """`context`, `choices` and `gold`: the sentence is cut at its gap, and each option stands before the rest, with a space between."""
    return _winograd(row, words_of(row["__language"]).with_ascii_marks())


def xwinograd_sound(row: dict[str, Any]) -> dict[str, Any] | None:
    """The same, joined as the language joins words."""
    return _winograd(row, words_of(row["__language"]))


def xcodah(row: dict[str, Any]) -> dict[str, Any] | None:
    """`question`, `choices` and `gold` of X-CODAH (https://arxiv.org/abs/2106.06937): all texts begin with it, up to a space."""
    return _common_beginning(row, words_of(row["__language"]).with_ascii_marks())


def xcodah_sound(row: dict[str, Any]) -> dict[str, Any] | None:
    """The same; in a language without spaces between words all of the common beginning is asked."""
    return _common_beginning(row, words_of(row["__language"]))


def ceval(row: dict[str, Any]) -> dict[str, Any] | None:
    """`question`, `choices` and `gold` of C-Eval (https://arxiv.org/abs/2305.08322), with ASCII marks."""
    return _ceval(row, words_of(row["__language"]).with_ascii_marks())


def ceval_sound(row: dict[str, Any]) -> dict[str, Any] | None:
    """The same with Chinese marks."""
    return _ceval(row, words_of(row["__language"]))


def agieval(row: dict[str, Any]) -> dict[str, Any] | None:
    """`question`, `context`, `choices` and `gold` of AGIEval's Chinese parts (https://arxiv.org/abs/2304.06364), with ASCII marks."""
    return _agieval(row, words_of(row["__language"]).with_ascii_marks())


def agieval_sound(row: dict[str, Any]) -> dict[str, Any] | None:
    """The same with Chinese marks."""
    return _agieval(row, words_of(row["__language"]))


def _winograd(row: dict[str, Any], words: Words) -> dict[str, Any] | None:
    if row["sentence"].count("_") != 1:
        return None
    before, _, after = row["sentence"].partition("_")
    if not before.strip():
        return None
    choices = [f"{option}{words.word_space}{after}" for option in (row["option1"], row["option2"])]
    return {**row, "context": before, "choices": choices, "gold": int(row["answer"]) - 1}


def _common_beginning(row: dict[str, Any], words: Words) -> dict[str, Any] | None:
    texts = row["question"]["choices"]["text"]
    shared = _beginning_of(texts)
    # an empty space is found at the end: all of it is kept
    cut = shared.rfind(words.word_space)
    shared = shared[: max(cut, 0)]
    rests = [text[len(shared) :] for text in texts]
    if not all(rest.strip() for rest in rests):
        return None
    return {"question": shared, "choices": rests, "gold": row["question"]["choices"]["label"].index(row["answerKey"])}


def _beginning_of(texts: Sequence[str]) -> str:
    """The characters that all of them begin with."""
    first, last = min(texts), max(texts)
    return first[: next((place for place, letter in enumerate(first) if letter != last[place : place + 1]), len(first))]


def _ceval(row: dict[str, Any], words: Words) -> dict[str, Any] | None:
    """The question stands before the last gap; behind it may be a list of statements, which the options name by their numbers."""
    before, gap, after = row["question"].rpartition("____")
    question, rest = (before if gap else after).rstrip(_SPACE), without_beginning(after, _SPACE).rstrip() if gap else ""
    choices: list[str] | None = [row[letter] for letter in "ABCD"]
    named = _statements(rest, choices or ())
    if named is not None:
        start, statements = named
        choices, rest = _spelled(choices or (), statements, words, row["__formulation"]), rest[:start].strip()
    if rest:
        question = f"{question} {rest}"
    if choices is None or _only_numbers(choices):
        return None
    question = without_ending(question.strip()) + words.question_mark
    return {"question": question, "choices": choices, "gold": _LETTERS.index(row["answer"])}


def _agieval(row: dict[str, Any], words: Words) -> dict[str, Any] | None:
    """The query is a passage, a question and its options; several right options are joined to one."""
    context, _, rest = row["query"].partition("问题：")
    question = rest.partition(" 选项：")[0]
    choices: list[str] | None = [_OPTION_MARK.sub("", choice).strip() for choice in row["choices"]]
    named = _statements(without_ending(question.lstrip(), _SPACE), choices or ())
    if named is not None:
        start, statements = named
        question = question.lstrip()[:start]
        choices = _spelled(choices or (), statements, words, row["__formulation"])
    if choices is None:
        return None
    golds = list(row["gold"])
    if len(golds) > 1:
        choices, golds = _joined_golds(choices, golds, _joint(words, row["__formulation"]), seed=row["query"])
    if _only_numbers(choices) or len(choices) <= 1 or not all(choice.strip() for choice in choices):
        return None
    return {"question": question.strip(), "context": context, "choices": choices, "gold": golds}


def _statements(text: str, choices: Sequence[str]) -> tuple[int, dict[str, str]] | None:
    """Where numbered statements begin at the end of a text, and what each of the numbers that the choices name says.

    None: a choice is no set of numbers, or the text has not all of them.
    """
    numbers = {number for choice in choices for number in choice.replace("和", "").strip()}
    if not numbers <= _CIRCLED:
        return None
    end, found = len(text), {}
    for number in sorted(numbers, reverse=True):
        start = text.rfind(number, 0, end)
        if start < 0:
            return None
        statement = without_ending(text[start:end], ";").strip()
        found[statement[:1]] = statement[1:].strip()
        end = start
    return end, found


def _spelled(choices: Sequence[str], statements: dict[str, str], words: Words, formulation: str) -> list[str] | None:
    """Each choice with the statements in place of its numbers. None: one of them is not there."""
    groups = [[statements.get(number) for number in choice.replace("和", "").strip()] for choice in choices]
    texts = [[text for text in group if text is not None] for group in groups]
    if any(len(text) < len(group) for text, group in zip(texts, groups, strict=True)):
        return None
    return [_joint(words, formulation).join(text) for text in texts]


def _joint(words: Words, formulation: str) -> str:
    return "\n" if formulation == "cf" else words.comma + words.word_space


def _only_numbers(choices: Sequence[str]) -> bool:
    return set("".join(choices).replace("和", "").strip()) <= _CIRCLED


def _joined_golds(choices: list[str], golds: list[int], joint: str, *, seed: str) -> tuple[list[str], list[int]]:
    """The right choices as one among the wrong ones, in an order that a digest of each with the row's text decides."""
    right = joint.join(choices[place] for place in golds)
    every = [choice for place, choice in enumerate(choices) if place not in golds] + [right]
    every.sort(key=lambda choice: hashlib.sha256(f"{seed}\n{choice}".encode()).digest())
    return every, [every.index(right)]
