"""How a judge reads an answer: what it is told about a document, and how its reply becomes a verdict. One rubric for each judged metric."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from pytest_lighteval.graders.fences import Guard, defused, fenced, untouched
from pytest_lighteval.graders.templates import digest, filled, template
from pytest_lighteval.graders.verdicts import (
    Read,
    Verdict,
    benchmark_grade,
    benchmark_rating,
    lighteval_freeform,
    lighteval_grade,
    lighteval_multichoice,
    lighteval_number,
    lighteval_tags,
    read_brackets,
    read_grade,
    read_hle,
    read_number,
    read_tags,
)
from pytest_lighteval.types import Doc, Message

Parity = Literal["lighteval", "benchmark"]
"""`--judge-parity`: whose input and whose reading of replies is reproduced."""
Conversation = tuple[Message, ...]
Told = Callable[[Doc, Sequence[str], Guard], tuple[Conversation, ...]]
"""`(document, its answers turn by turn, guard) -> what the judge is told`, one conversation for each turn that is judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rubric:
    """One way to judge. Its identity in results and baselines is `describe()`: another one is another measurement."""

    name: str
    """The metric's."""
    told: Told
    read: Read
    version: int
    """Of the parser: raised when it may read a reply otherwise than before."""
    templates: tuple[str, ...] = ()
    """Names of the template files that `told` fills in."""
    texts: tuple[str, ...] = ()
    """Whatever else stands in what the judge is told, for the digest."""
    guard: Guard = fenced
    """`defused` where the template has a frame of its own around the answer."""
    kind: Literal["number", "grade", "right"] = "number"
    """number: of the scale. grade: A, B or C. right: 1 or 0, with the candidate's confidence."""
    low: float = 0.0
    high: float = 1.0
    """The scale of the verdicts."""
    unit: float = 1.0
    """A verdict is divided by it to be the document's value."""
    max_new_tokens: int = 1024
    schema: Mapping[str, Any] | None = None
    """JSON Schema of the reply, for engines that can be held to one. None: the reply is free text."""
    repeats: int = 1
    """Sampled replies for each conversation; 1: one greedy reply."""
    cases: str = "english"
    """Which golden cases a judge must pass before it may use this rubric."""
    has_gold: bool = True
    """The judge is told the right answer."""
    parity: Mapping[Parity, Callable[[str], float | str | None]] = field(default_factory=dict)
    """How others read a reply. Whoever is absent reads as `read`."""
    own_cases: tuple[Mapping[str, Any], ...] = ()
    """Golden cases of the suite file, in place of `cases`."""

    def conversations(self, doc: Doc, answers: Sequence[str], parity: Parity | None) -> tuple[Conversation, ...]:
        """What the judge is told, turn by turn. Under parity the answers are sent as they are."""
        return self.told(doc, answers, untouched if parity else self.guard)

    def verdict(self, reply: str, parity: Parity | None) -> Verdict:
        """What a reply says. Under parity never unparsed, except where the benchmark itself leaves a reply out."""
        if parity is not None and parity in self.parity:
            value = self.parity[parity](reply)
            return Verdict(value=value)
        return self.read(reply)

    @property
    def digest(self) -> str:
        """Of all that the judge is told besides the document."""
        turns = [turn for name in self.templates for turn in template(name)]
        frame = "" if self.guard is untouched else self.guard("")
        extra = (frame, json.dumps(self.schema, sort_keys=True)) if self.schema else (frame,)
        return digest(turns, *self.texts, *extra)

    def describe(self) -> dict[str, Any]:
        """For results and baselines."""
        return {
            "template": self.digest,
            "parser": self.version,
            **({"repeats": self.repeats} if self.repeats > 1 else {}),
        }


# ------------------------------------------------------------------------------------------------ what judges are told


def _fill(name: str, **texts: str) -> Conversation:
    return filled(template(name), texts)


def question_of(doc: Doc) -> str:
    """The question as judges see it."""
    asked = doc.specific.get("question")
    return asked if isinstance(asked, str) and asked else doc.original_query or doc.query


def gold_of(doc: Doc) -> str:
    """The right answer; empty if the document has none."""
    return doc.golds[0] if doc.gold else ""


def _single(name: str) -> Told:
    def told(doc: Doc, answers: Sequence[str], guard: Guard) -> tuple[Conversation, ...]:
        return (_fill(name, question=question_of(doc), gold=gold_of(doc), answer=guard(answers[0])),)

    return told


def _references(doc: Doc) -> list[str]:
    """The reference answers turn by turn; fewer than turns, or none, if the data set has no more."""
    found = doc.specific.get("reference")
    return [str(text) for text in found] if isinstance(found, list | tuple) else []


_NEEDS_REFERENCE = frozenset(("math", "reasoning", "coding"))
"""Categories of MT-Bench that are judged against a reference answer (FastChat, `llm_judge/common.py`, NEED_REF_CATS)."""


def _mt_bench(doc: Doc, answers: Sequence[str], guard: Guard) -> tuple[Conversation, ...]:
    """Single-answer grading of Zheng et al. 2023 (arXiv:2306.05685, appendix A): the second turn is judged with the whole conversation."""
    references = _references(doc)
    kind = "mt_bench_reference" if doc.specific.get("category") in _NEEDS_REFERENCE and any(references) else "mt_bench"
    references += [""] * (2 - len(references))
    texts = {
        "question": doc.query,
        "answer": guard(answers[0]),
        "reference": references[0],
        "question_1": doc.query,
        "answer_1": guard(answers[0]),
        "reference_1": references[0],
    }
    conversations = [_fill(f"{kind}_turn_1", **texts)]
    if len(answers) > 1:
        second = {"question_2": doc.turns[0], "answer_2": guard(answers[1]), "reference_2": references[1]}
        conversations.append(_fill(f"{kind}_turn_2", **texts, **second))
    return tuple(conversations)


_FIVE = "\n".join(
    f"- Score {score}: The response {how} the question."
    for score, how in enumerate(
        ("completely fails to answer", "barely answers", "partially answers", "mostly answers", "completely answers"), 1
    )
)
_TWO = "- score 0: The model did not choose the correct option.\n- score 1: The model chose the correct option."
_PLAIN = "How well the response answers the question?"
_AGAINST = "How well the response answers the question, the reference answer is:\n{gold}"
_OPTION = "The correct option for this task is:\n{gold}\n\nDid the model choose the correct option?"


def _flow(inputs: str, criteria: str, rubric: str, answer: str) -> Conversation:
    return _fill("flow", inputs=inputs, criteria=criteria, rubric=rubric, answer=answer)


def _mt_bench_flow(doc: Doc, answers: Sequence[str], guard: Guard) -> tuple[Conversation, ...]:
    """As Lighteval v0.9.2 asks Flow-Judge: of turn 2 the judge sees the first answer, and not the first question."""
    references = _references(doc)
    questions = (doc.query, *doc.turns)
    conversations = []
    for turn, answer in enumerate(answers[:2]):
        context = guard(answers[0]) if turn else ""
        inputs = json.dumps({"query": questions[turn], "context": context}, indent=2)
        reference = references[turn] if turn < len(references) else ""
        criteria = _AGAINST.replace("{gold}", reference) if reference else _PLAIN
        conversations.append(_flow(inputs, criteria, _FIVE, guard(answer)))
    return tuple(conversations)


def lettered(choices: Sequence[str]) -> str:
    """Options with their letters, one a line."""
    return "\n".join(f"{chr(ord('A') + number)}. {choice}" for number, choice in enumerate(choices))


def _mixeval_flow(doc: Doc, answers: Sequence[str], guard: Guard, *, options: bool) -> tuple[Conversation, ...]:
    question, gold = question_of(doc), gold_of(doc)
    if options:
        return (_flow(f"{question}\noptions:\n{lettered(doc.choices)}", _OPTION.replace("{gold}", gold), _TWO, guard(answers[0])),)
    return (_flow(question, _AGAINST.replace("{gold}", gold), _FIVE, guard(answers[0])),)


def _mixeval_options(doc: Doc, answers: Sequence[str], guard: Guard) -> tuple[Conversation, ...]:
    texts = {"question": question_of(doc), "options": lettered(doc.choices), "gold": gold_of(doc), "answer": guard(answers[0])}
    return (_fill("mixeval_multichoice", **texts),)


def _alrage(doc: Doc, answers: Sequence[str], guard: Guard) -> tuple[Conversation, ...]:
    """The question is the whole query, with its passages."""
    return (_fill("alrage_qa", question=doc.query, gold=gold_of(doc), answer=guard(answers[0])),)


_HLE_SCHEMA: Mapping[str, Any] = {
    "title": "ExtractedAnswer",
    "type": "object",
    "properties": {
        "extracted_final_answer": {"title": "Extracted Final Answer", "type": "string"},
        "reasoning": {"title": "Reasoning", "type": "string"},
        "correct": {"enum": ["yes", "no"], "title": "Correct", "type": "string"},
        "confidence": {"title": "Confidence", "type": "integer"},
        "strict": {"const": True, "title": "Strict", "type": "boolean"},
    },
    "required": ["extracted_final_answer", "reasoning", "correct", "confidence", "strict"],
    "additionalProperties": False,
}
"""Of the benchmark's own judge. `strict` is its own, too."""

_MT_BENCH_FILES = ("mt_bench_turn_1", "mt_bench_turn_2", "mt_bench_reference_turn_1", "mt_bench_reference_turn_2")

RUBRICS: Mapping[str, Rubric] = {
    rubric.name: rubric
    for rubric in (
        Rubric(
            name="mt_bench",
            told=_mt_bench,
            read=read_brackets(1, 10),
            version=1,
            templates=_MT_BENCH_FILES,
            guard=defused,
            low=1,
            high=10,
            max_new_tokens=2048,
            has_gold=False,
            parity={"benchmark": benchmark_rating},
        ),
        Rubric(
            name="judge_score_turn_1+judge_score_turn_2",
            told=_mt_bench_flow,
            read=read_tags(1, 5),
            version=1,
            templates=("flow",),
            texts=(_FIVE, _PLAIN, _AGAINST),
            guard=defused,
            low=1,
            high=5,
            has_gold=False,
            parity={"lighteval": lighteval_tags},
        ),
        Rubric(
            name="llm_judge_mixeval_flow#1",
            told=partial(_mixeval_flow, options=False),
            read=read_tags(1, 5),
            version=1,
            templates=("flow",),
            texts=(_FIVE, _AGAINST),
            guard=defused,
            low=1,
            high=5,
            unit=5,
            parity={"lighteval": lighteval_tags},
        ),
        Rubric(
            name="llm_judge_mixeval_flow",
            told=partial(_mixeval_flow, options=True),
            read=read_tags(0, 1),
            version=1,
            templates=("flow",),
            texts=(_TWO, _OPTION),
            guard=defused,
            cases="options",
            parity={"lighteval": lighteval_tags},
        ),
        Rubric(
            name="llm_judge_mixeval_gpt3#1",
            told=_single("mixeval_freeform"),
            read=read_brackets(0, 1),
            version=1,
            templates=("mixeval_freeform",),
            parity={"lighteval": lighteval_freeform},
        ),
        Rubric(
            name="llm_judge_mixeval_gpt3",
            told=_mixeval_options,
            read=read_brackets(0, 1),
            version=1,
            templates=("mixeval_multichoice",),
            cases="options",
            parity={"lighteval": lighteval_multichoice},
        ),
        Rubric(
            name="simpleqa_judge",
            told=_single("simpleqa"),
            read=read_grade,
            version=1,
            templates=("simpleqa",),
            kind="grade",
            cases="grades",
            max_new_tokens=512,
            parity={"lighteval": lighteval_grade, "benchmark": benchmark_grade},
        ),
        *(
            Rubric(
                name=name,
                told=_single("hle"),
                read=read_hle,
                version=1,
                templates=("hle",),
                kind="right",
                schema=_HLE_SCHEMA,
                max_new_tokens=4096,
            )
            for name in ("hle_metrics", "hle_metrics_lighteval")
        ),
        Rubric(
            name="llm_as_judge",
            told=_alrage,
            read=read_number(0, 10),
            version=1,
            templates=("alrage_qa",),
            high=10,
            unit=10,
            cases="arabic",
            max_new_tokens=256,
            parity={"lighteval": lambda reply: 10 * lighteval_number(reply)},
        ),
    )
}  # fmt: skip
