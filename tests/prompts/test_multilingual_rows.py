"""Rows of multilingual tasks as inputs of their templates, by the reproduced adapters and by the sound ones."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_lighteval.prompts.adapters import multilingual


def asked(language: str, formulation: str = "cf", **row: Any) -> dict[str, Any]:
    return {**row, "__language": language, "__formulation": formulation}


CIRCLED = "下列说法正确的是____。①水是冷的。②火是热的；③雪是白的。"


def test_chinese_marks_are_chinese_in_the_sound_ceval() -> None:
    row = asked("zho", "mcf", question=CIRCLED, A="①②", B="②和③", C="①③", D="①②③", answer="B")
    reproduced, sound = multilingual.ceval(row), multilingual.ceval_sound(row)

    assert reproduced is not None
    assert sound is not None
    assert (reproduced["question"], reproduced["choices"][1]) == ("下列说法正确的是?", "火是热的；, 雪是白的")
    assert (sound["question"], sound["choices"][1], sound["gold"]) == ("下列说法正确的是？", "火是热的；，雪是白的", 1)


def test_statements_stand_on_lines_of_their_own_where_options_are_scored() -> None:
    row = asked("zho", question=CIRCLED, A="①", B="②", C="③", D="①③", answer="D")
    made = multilingual.ceval(row)

    assert made is not None
    assert made["choices"] == ["水是冷的", "火是热的；", "雪是白的", "水是冷的\n雪是白的"]


@pytest.mark.parametrize("question", ["选择____", "选择____。①一 ②二"])
def test_choices_that_stay_numbers_leave_the_row_out(question: str) -> None:
    assert multilingual.ceval(asked("zho", question=question, A="①", B="②", C="③", D="①②", answer="A")) is None


def test_text_behind_the_gap_goes_on_with_the_question() -> None:
    made = multilingual.ceval_sound(asked("zho", question="水在____ 度沸腾。", A="五十", B="一百", C="二百", D="零", answer="B"))

    assert made == {"question": "水在 度沸腾？", "choices": ["五十", "一百", "二百", "零"], "gold": 1}


def test_several_right_options_are_one_at_a_place_that_the_row_decides() -> None:
    query = "材料。问题：哪些是水果？ 选项：(A)苹果 (B)石头 (C)梨 (D)铁 答案：从A到D, 我们应选择"
    row = asked("zho", query=query, choices=["(A)苹果", "(B)石头", "(C)梨", "(D)铁"], gold=[0, 2])
    first, again = multilingual.agieval(row), multilingual.agieval({**row})

    assert first == again
    assert first is not None
    assert sorted(first["choices"]) == sorted(["苹果\n梨", "石头", "铁"])
    assert [first["choices"][index] for index in first["gold"]] == ["苹果\n梨"]
    assert (first["context"], first["question"]) == ("材料。", "哪些是水果？")


def test_what_options_share_is_asked_in_every_script_by_the_sound_codah() -> None:
    row = asked("zho", question={"choices": {"text": ["他吃苹果", "他吃石头"], "label": ["A", "B"]}}, answerKey="A")
    spaced = asked("deu", question={"choices": {"text": ["er isst Äpfel", "er isst Äste"], "label": ["A", "B"]}}, answerKey="B")

    assert multilingual.xcodah(row) == {"question": "", "choices": ["他吃苹果", "他吃石头"], "gold": 0}
    assert multilingual.xcodah_sound(row) == {"question": "他吃", "choices": ["苹果", "石头"], "gold": 0}
    assert (
        multilingual.xcodah(spaced)
        == multilingual.xcodah_sound(spaced)
        == {"question": "er isst", "choices": [" Äpfel", " Äste"], "gold": 1}
    )


def test_no_space_stands_behind_an_option_in_the_sound_winograd() -> None:
    row = asked("jpn", sentence="太郎は_を食べた。", option1="パン", option2="石", answer="1")

    assert (multilingual.xwinograd(row) or {})["choices"] == ["パン を食べた。", "石 を食べた。"]
    assert (multilingual.xwinograd_sound(row) or {})["choices"] == ["パンを食べた。", "石を食べた。"]
    assert multilingual.xwinograd(row | {"sentence": "_を食べた。"}) is None


def test_the_place_of_an_answer_follows_from_the_question() -> None:
    row = {"question": "?", "distractor1": "a", "distractor2": "b", "distractor3": "c", "correct_answer": "d"}
    made = multilingual.sciqa(row)

    assert made == multilingual.sciqa(row)
    assert made["choices"][made["gold"]] == "d"
    assert len({multilingual.sciqa(row | {"question": str(number)})["gold"] for number in range(20)}) == 4
