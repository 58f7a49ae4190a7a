"""Adapters make of stored rows what the prompts of their suite files name."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from typing import Any

import pytest

from pytest_lighteval.errors import UserInputError
from pytest_lighteval.prompts.adapters.babi import split_questions
from pytest_lighteval.prompts.adapters.bigbench import parse_targets, permute_choices
from pytest_lighteval.prompts.adapters.gpqa import place_answers
from pytest_lighteval.prompts.adapters.legal import find_labels
from pytest_lighteval.prompts.adapters.livecodebench import unpack_tests
from pytest_lighteval.prompts.adapters.musr import parse_choices
from pytest_lighteval.prompts.adapters.olympiad_bench import name_answer_kinds


def test_babi_asks_each_question_after_the_story_up_to_it_and_not_after_other_questions() -> None:
    story = {
        "text": ["Mary went to the garden.", "Where is Mary?", "John left.", "Mary sat down.", "Where is Mary?"],
        "answer": ["", "garden", "", "", "garden"],
    }

    whole = "Mary went to the garden. Where is Mary? John left. Mary sat down. Where is Mary?"  # its questions are one cluster

    assert split_questions({"story": story}) == [
        {"passage": "Mary went to the garden.", "question": "Where is Mary?", "answer": "garden", "story": whole},
        {"passage": "Mary went to the garden. John left. Mary sat down.", "question": "Where is Mary?", "answer": "garden", "story": whole},
    ]


def test_bigbench_choices_are_permuted_alike_whatever_order_they_are_stored_in() -> None:
    permuted = permute_choices({"input": "?", "choices": ["b", "d", "a", "c"], "target_idx": 1})

    assert permuted == permute_choices({"input": "?", "choices": ["a", "b", "c", "d"], "target_idx": 3})
    assert (sorted(permuted["choices"]), permuted["choices"][permuted["target_idx"]]) == (["a", "b", "c", "d"], "d")


@pytest.mark.parametrize(
    ("stored", "choices", "answers"),
    [
        pytest.param({"target_scores": "{'yes': 0, 'no': 1}"}, ["yes", "no"], [1], id="scores as text"),
        pytest.param({"target_scores": {"joy": 0.5, "fear": 0.1, "trust": 0.5}}, ["joy", "fear", "trust"], [0, 2], id="all of the best"),
        pytest.param({"target": "42"}, ["42"], [0], id="one target"),
        pytest.param({"target": ["42", "forty-two"]}, ["42", "forty-two"], [0, 1], id="several targets"),
    ],
)
def test_bigbench_targets_are_choices_and_right_answers(stored: dict[str, Any], choices: list[str], answers: list[int]) -> None:
    assert parse_targets(stored) == {**stored, "choices": choices, "answers": answers}


def test_gpqa_places_right_answers_everywhere_and_each_always_at_the_same_place() -> None:
    wrong = {"Incorrect Answer 1": "a", "Incorrect Answer 2": "b", "Incorrect Answer 3": "c"}
    rows = [{"Question": f"What is {number}? ", "Correct Answer": " right", **wrong} for number in range(40)]
    placed = [place_answers(row) for row in rows]

    assert placed == [place_answers(row) for row in reversed(rows)][::-1]
    assert {made["answer"] for made in placed} == {0, 1, 2, 3}
    assert all(made["options"][made["answer"]] == "right" for made in placed)
    assert all([option for option in made["options"] if option != "right"] == ["a", "b", "c"] for made in placed)


def test_legal_labels_keep_their_order() -> None:
    assert find_labels({"references": ["a", "b", "c"], "gold": ["c", "a"]})["answers"] == [2, 0]


def test_musr_choices_are_read_out_of_their_text() -> None:
    assert parse_choices({"choices": "['Mackenzie', \"O'Hara\"]"}) == {"choices": ["Mackenzie", "O'Hara"]}


@pytest.mark.parametrize(
    ("answer_type", "language", "kinds"),
    [
        pytest.param("Numerical", "English", ["a numerical value"], id="one"),
        pytest.param("Numerical,Numerical", "Chinese", ["数值"], id="alike"),
        pytest.param("Expression,Interval", "English", ["an expression", "an interval"], id="different"),
        pytest.param("Tuple", "English", [], id="a tuple may be anything"),
    ],
)
def test_olympiad_bench_names_the_kinds_of_answers(answer_type: str, language: str, kinds: list[str]) -> None:
    assert name_answer_kinds({"answer_type": answer_type, "language": language})["kinds"] == kinds


def _problem(hidden: str) -> dict[str, Any]:
    return {
        "public_test_cases": json.dumps([{"input": "1", "output": "2"}]),
        "private_test_cases": hidden,
        "metadata": json.dumps({"func_name": "double"}),
    }


def _packed(value: Any) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(value))).decode()


HIDDEN = json.dumps([{"input": "2", "output": "4"}])


@pytest.mark.parametrize("hidden", [pytest.param(HIDDEN, id="plain"), pytest.param(_packed(HIDDEN), id="packed")])
def test_livecodebench_tests_are_the_public_ones_and_then_the_hidden_ones(hidden: str) -> None:
    made = unpack_tests(_problem(hidden))

    assert (made["inputs"], made["outputs"], made["function"]) == (["1", "2"], ["2", "4"], "double")


def test_livecodebench_rows_cannot_run_code() -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return print, ("ran",)

    with pytest.raises(UserInputError, match=r"the pickle names builtins\.print, which is not read"):
        unpack_tests(_problem(_packed(Evil())))
