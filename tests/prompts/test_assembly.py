"""Documents and examples become text or turns as in Lighteval v0.9.2, and examples are cut to fit from the end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_lighteval.errors import BackendError, PromptError
from pytest_lighteval.prompts.assembly import build_prompt, truncate_few_shots
from pytest_lighteval.types import Doc, Message, Prompt


def _doc(number: int) -> Doc:
    return Doc(id=f"test:{number}", instruction="Answer.\n\n", query=f"Answer.\n\nQ{number}:", choices=(f" A{number}", " no"), gold=(0,))


DOC, SHOTS = _doc(0), (_doc(1), _doc(2))


def _message(role: str, content: str) -> Message:
    assert role in ("system", "user", "assistant")
    return Message(role=role, content=content)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("system_prompt", "shots", "text"),
    [
        pytest.param(None, (), "Answer.\n\nQ0:", id="alone"),
        pytest.param(None, SHOTS, "Answer.\n\nQ1: A1\n\nQ2: A2\n\nQ0:", id="the instruction is once before the examples"),
        pytest.param("Be brief.", SHOTS, "Be brief.Answer.\n\nQ1: A1\n\nQ2: A2\n\nQ0:", id="nothing follows the system prompt"),
    ],
)
def test_plain_text(system_prompt: str | None, shots: tuple[Doc, ...], text: str) -> None:
    assert build_prompt(DOC, shots, system_prompt=system_prompt) == text


def test_a_system_prompt_that_stands_apart_is_followed_by_an_empty_line() -> None:
    assert build_prompt(DOC, SHOTS[:1], system_prompt="Be brief.", system_prompt_apart=True) == "Be brief.\n\nAnswer.\n\nQ1: A1\n\nQ0:"
    assert build_prompt(DOC, system_prompt_apart=True) == build_prompt(DOC)


@pytest.mark.parametrize(
    ("system_prompt", "turns"),
    [
        ("Be brief.", [("system", "Be brief."), ("user", "Answer.\n\nQ1:"), ("assistant", " A1"), ("user", "Q0:")]),
        (None, [("user", "Answer.\n\nQ1:"), ("assistant", " A1"), ("user", "Q0:")]),
    ],
)
def test_a_system_prompt_that_stands_apart_is_a_message_of_its_own(system_prompt: str | None, turns: list[tuple[str, str]]) -> None:
    prompt = build_prompt(DOC, SHOTS[:1], system_prompt=system_prompt, system_prompt_apart=True, use_chat_template=True)

    assert prompt == tuple(_message(role, content) for role, content in turns)


@pytest.mark.parametrize(
    ("system_prompt", "shots", "turns"),
    [
        pytest.param(None, (), [("user", "Answer.\n\nQ0:")], id="alone"),
        pytest.param(
            None,
            SHOTS[:1],
            [("user", "Answer.\n\nQ1:"), ("assistant", " A1"), ("user", "Q0:")],
            id="the instruction opens the first turn, and the target keeps its space",
        ),
        pytest.param(
            "Be brief.",
            SHOTS[:1],
            [("system", "Be brief.Answer.\n\n"), ("user", "Q1:"), ("assistant", " A1"), ("user", "Q0:")],
            id="the instruction ends the system turn",
        ),
        pytest.param("", (), [("system", "Answer.\n\n"), ("user", "Q0:")], id="an empty system prompt is one"),
    ],
)
def test_turns_of_a_chat(system_prompt: str | None, shots: tuple[Doc, ...], turns: list[tuple[str, str]]) -> None:
    prompt = build_prompt(DOC, shots, system_prompt=system_prompt, use_chat_template=True)

    assert prompt == tuple(_message(role, content) for role, content in turns)


def test_an_example_is_shown_with_the_first_of_its_golds() -> None:
    shot = replace(SHOTS[0], gold=(1, 0))

    assert build_prompt(DOC, (shot,)) == "Answer.\n\nQ1: no\n\nQ0:"


def test_a_prompt_of_nothing_but_its_separator_is_empty() -> None:
    empty = Doc(id="test:0", query="", choices=("",), gold=(0,))

    assert build_prompt(empty, (empty,)) == ""


def test_a_query_that_does_not_begin_with_its_instruction_is_an_error() -> None:
    with pytest.raises(PromptError, match=r"^test:0: the query does not begin with its instruction 'Say\.'$"):
        build_prompt(replace(DOC, instruction="Say."))


def test_a_document_without_a_gold_cannot_be_an_example() -> None:
    with pytest.raises(PromptError, match=r"^test:1: a document without a right answer cannot be a few-shot example$"):
        build_prompt(DOC, (replace(SHOTS[0], gold=()),))


def _characters(prompt: Prompt) -> int:
    return len(prompt) if isinstance(prompt, str) else sum(len(message.content) for message in prompt)


@pytest.mark.parametrize(
    ("max_length", "generation_size", "use_chat_template", "kept"),
    [
        pytest.param(28, None, False, 2, id="all fit exactly"),
        pytest.param(27, None, False, 1, id="one token short loses the last example"),
        pytest.param(28, 1, False, 1, id="new tokens need room too"),
        pytest.param(5, None, False, 0, id="too long without any example keeps none"),
        pytest.param(24, None, True, 2, id="turns are counted without separators"),
        pytest.param(23, None, True, 1, id="one token short in a chat"),
    ],
)
def test_examples_are_cut_from_the_end(max_length: int, generation_size: int | None, use_chat_template: bool, kept: int) -> None:
    shots = truncate_few_shots(
        DOC,
        SHOTS,
        count_tokens=_characters,
        max_length=max_length,
        generation_size=generation_size,
        use_chat_template=use_chat_template,
    )

    assert shots == SHOTS[:kept]


@pytest.mark.parametrize(
    ("max_length", "problem"),
    [
        pytest.param(None, "the backend does not say how long a sequence may be", id="no length"),
        pytest.param(10, "the backend cannot count tokens", id="no counter"),
    ],
)
def test_a_backend_that_cannot_tell_is_an_error_and_not_an_uncut_prompt(max_length: int | None, problem: str) -> None:
    with pytest.raises(BackendError, match=problem):
        truncate_few_shots(DOC, SHOTS, count_tokens=lambda _: None, max_length=max_length)
