"""What is left of a text after its thoughts: all of the answer, nothing of the thoughts, cut where the task says."""

from __future__ import annotations

import random

import pytest

from pytest_lighteval.prompts.reasoning import Answer, answer_after_thoughts, strip_reasoning

TAGS = (("<think>", "</think>"),)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        pytest.param("<think>a\nb</think>\n\n4\n", "4", id="thoughts before the answer"),
        pytest.param("  <THINK>a</Think> 4", "4", id="tags in any case of letters"),
        pytest.param("<think>a</think><think>b</think>4", "4", id="two thoughts at once"),
        pytest.param(
            "<think>a</think>so far 4\n<think>b</think>\nno, 5", "so far 4\n\nno, 5", id="thoughts between two parts of the answer"
        ),
        pytest.param("a</think>4", "4", id="thoughts that began in the prompt"),
        pytest.param("a\n</think>\n\n4", "4", id="the same on lines of their own"),
        pytest.param("a <think> tag, I think\n</think>\n\n4", "4", id="the same, which name the tag"),
        pytest.param("<think>a</think> b</think>4", "4", id="a closing tag within the thoughts"),
        pytest.param("The tag <think> marks thoughts. Answer: 4", "The tag <think> marks thoughts. Answer: 4", id="a named opening tag"),
        pytest.param("The tag </think> ends thoughts. 4", "The tag </think> ends thoughts. 4", id="a named closing tag"),
        pytest.param("`<think>a</think>` marks. 4", "`<think>a</think>` marks. 4", id="both named"),
        pytest.param("From <think> to </think>. 4", "From <think> to </think>. 4", id="both named, apart"),
        pytest.param("<think>a</think>The tag <think> marks. 4", "The tag <think> marks. 4", id="named after thoughts"),
        pytest.param("<think>a</think>The tag </think> ends. 4", "The tag </think> ends. 4", id="its end named after thoughts"),
        pytest.param("4\n<think> is a tag", "4\n<think> is a tag", id="named where a line begins"),
        pytest.param("4", "4", id="no thoughts"),
    ],
)
def test_thoughts_are_removed_and_a_tag_that_is_named_costs_nothing(text: str, answer: str) -> None:
    assert answer_after_thoughts(text, TAGS) == Answer(text=answer)
    assert strip_reasoning(text, TAGS) == answer


@pytest.mark.parametrize(
    ("text", "opened", "at_limit", "answer"),
    [
        pytest.param("<think>a", False, False, Answer(text="", is_cut=True), id="thoughts that never end"),
        pytest.param("so I wonder", True, True, Answer(text="", is_cut=True), id="thoughts that the template opened"),
        pytest.param("so I wonder", False, True, Answer(text="so I wonder"), id="an answer that is cut"),
        pytest.param("a </think> 4", True, False, Answer(text="4"), id="the end of what the template opened, within a line"),
        pytest.param("<think>a</think>4", True, False, Answer(text="4"), id="a model that opens the tag again"),
        pytest.param("<think>a</think>4\n<think>or", False, True, Answer(text="4", is_cut=True), id="later thoughts that are cut"),
        pytest.param("4 or <think>", False, True, Answer(text="4 or <think>"), id="a named tag where the text is cut"),
    ],
)
def test_thoughts_that_the_length_cuts_are_no_answer(text: str, opened: bool, at_limit: bool, answer: Answer) -> None:
    assert answer_after_thoughts(text, TAGS, opened="<Think>" if opened else None, at_limit=at_limit) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        pytest.param("<think>one\ntwo</think>4\nQuestion", "4", id="never within the thoughts"),
        pytest.param("<think>one\ntwo</think>\n\n4\nQuestion", "4", id="nor between them and the answer"),
        pytest.param("\n4", "", id="at the begin of a text without thoughts, as without the option"),
        pytest.param(" 4\nQuestion", "4", id="in a text without thoughts"),
        pytest.param("<think>a</think>4Q:5\n", "4", id="the first of several"),
    ],
)
def test_stop_sequences_act_on_what_is_left_after_the_thoughts(text: str, answer: str) -> None:
    assert answer_after_thoughts(text, TAGS, stop_sequence=("\n", "Q:", "")).text == answer


def test_several_pairs_of_tags() -> None:
    tags = (*TAGS, ("[THINK]", "[/THINK]"))

    assert strip_reasoning("[think]a[/think]<think>b</think>4", tags) == "4"
    assert answer_after_thoughts("a[/think]<think>b</think>4", tags, opened="[think]").text == "4"


def test_any_text_is_separated_without_an_error_and_loses_only_what_it_has() -> None:
    stream = random.Random(3)
    texts = ["".join(stream.choices(["<t>", "</T>", "a", " ", "\n", "<"], k=stream.randrange(0, 12))) for _ in range(2000)]
    answers = [
        answer_after_thoughts(text, (("<t>", "</t>"),), opened="<t>" if index % 3 == 0 else None) for index, text in enumerate(texts)
    ]

    assert all(len(answer.text) <= len(text) for answer, text in zip(answers, texts, strict=True))
    assert all(answer.text == text.strip() for answer, text in zip(answers[1::3], texts[1::3], strict=True) if "t>" not in text.lower())
