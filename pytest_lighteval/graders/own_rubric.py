"""A judge that a suite file declares: its rubric, from the text of its prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_lighteval.errors import PromptError
from pytest_lighteval.graders.fences import Guard
from pytest_lighteval.graders.rubrics import Conversation, Rubric, gold_of, lettered, question_of
from pytest_lighteval.graders.verdicts import Read, read_brackets, read_json, read_number, read_regex, read_tags
from pytest_lighteval.prompts.templates import compile_template
from pytest_lighteval.prompts.text_values import RenderError
from pytest_lighteval.types import Doc, JudgeSpec, Message

_PARSER_VERSION = 1


def own_rubric(spec: JudgeSpec) -> Rubric:
    """The rubric of a suite file's judge."""
    low, high = spec.scale
    ending = _ENDING.format(low=f"{low:g}", high=f"{high:g}") if spec.parse is None else ""
    system = None if spec.system is None else compile_template(spec.system)
    prompt = compile_template(spec.prompt)

    def told(doc: Doc, answers: Sequence[str], guard: Guard) -> tuple[Conversation, ...]:
        guarded = [guard(answer) for answer in answers]
        questions = [question_of(doc), *doc.turns]
        conversations = []
        for turn, answer in enumerate(guarded):
            values: dict[str, Any] = {
                "question": questions[turn] if turn < len(questions) else question_of(doc),
                "answer": answer,
                "gold": gold_of(doc),
                "golds": list(doc.golds),
                "choices": list(doc.choices),
                "options": lettered(doc.choices),
                "questions": questions[: turn + 1],
                "answers": guarded[: turn + 1],
                "turn": turn + 1,
                "specific": dict(doc.specific),
                "low": low,
                "high": high,
            }
            try:
                texts = [("system", str(system(values)))] if system is not None else []
                texts.append(("user", str(prompt(values)) + ending))
            except RenderError as error:
                raise PromptError(f"{doc.id}: metrics.judge.prompt: {error}") from error
            conversations.append(tuple(Message(role=role, content=text) for role, text in texts))  # type: ignore[arg-type]
        return tuple(conversations)

    return Rubric(
        name=spec.name,
        told=told,
        read=reader(spec.parse, low, high),
        version=_PARSER_VERSION,
        texts=(spec.system or "", spec.prompt, ending, spec.parse or "", f"{low:g} {high:g}", str(spec.max_new_tokens)),
        low=low,
        high=high,
        max_new_tokens=spec.max_new_tokens,
        schema=_schema(low, high) if spec.parse == "json" else None,
        repeats=spec.repeats,
        has_gold="gold" in spec.prompt,
        own_cases=spec.cases,
    )


_ENDING = (
    '\n\nFirst give your reasons in a few sentences. Then end with one line: "Rating: [[n]]", where n is a number from {low} to {high}.'
)


def reader(parse: str | None, low: float, high: float) -> Read:
    """What reads the replies. The suite file's schema has checked that a pattern is one."""
    named = {"brackets": read_brackets, "tags": read_tags, "number": read_number, "json": read_json}
    if parse is None or parse in named:
        return named[parse or "brackets"](low, high)
    return read_regex(parse, low, high)


def _schema(low: float, high: float) -> dict[str, Any]:
    return {
        "title": "Verdict",
        "type": "object",
        "properties": {"reasons": {"type": "string"}, "score": {"type": "number", "minimum": low, "maximum": high}},
        "required": ["reasons", "score"],
        "additionalProperties": False,
    }
