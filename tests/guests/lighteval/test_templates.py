"""Prompt functions that modules make of Lighteval's templates make the recorded documents."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from pytest_lighteval.guests.lighteval import templates
from pytest_lighteval.guests.lighteval.languages import make_language
from pytest_lighteval.prompts.languages.words import language_codes
from tests.shared import GOLDEN, needs_shared

LANGUAGE = make_language()
FORMULATIONS = {"mcf": templates.MCFFormulation(), "cf": templates.CFFormulation(), "hybrid": templates.HybridFormulation()}


def belebele(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "question": row["question"],
        "context": row["flores_passage"],
        "choices": [row[f"mc_answer{number}"] for number in range(1, 5)],
        "gold_idx": int(row["correct_answer_num"]) - 1,
    }


def xcopa(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "context": row["premise"],
        "cause_effect": row["question"],
        "continuations": [row["choice1"], row["choice2"]],
        "gold_idx": int(row["label"]),
    }


def xnli(row: dict[str, Any]) -> dict[str, Any]:
    return {"premise": row["premise"], "hypothesis": row["hypothesis"], "gold_idx": {0: 0, 2: 1}[int(row["label"])]}


def xquad(row: dict[str, Any]) -> dict[str, Any]:
    texts = [text for text in row["answers"]["text"] if text]
    return {"question": row["question"], "context": row["context"], "choices": texts}


def xstory_cloze(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "context": "".join(row[f"input_sentence_{number}"] for number in range(1, 5)),
        "continuations": [row["sentence_quiz1"], row["sentence_quiz2"]],
        "gold_idx": int(row["answer_right_ending"]) - 1,
    }


MADE: dict[str, Callable[[Any, Any], Callable[..., Any]]] = {
    "belebele": lambda language, form: templates.get_mcq_prompt_function(language, belebele, form),
    "xcopa": lambda language, form: templates.get_copa_prompt_function(language, xcopa, form),
    "xnli": lambda language, form: templates.get_nli_prompt_function(language, xnli, ["entailment", "contradiction"], form),
    "xquad": lambda language, form: templates.get_qa_prompt_function(language, xquad),
}


@needs_shared
@pytest.mark.parametrize("family", MADE)
def test_a_template_of_a_module_makes_the_recorded_documents(family: str) -> None:
    make = MADE[family]
    compared = 0
    for line in (GOLDEN / "multilingual" / "prompts_multilingual" / f"{family}.jsonl").read_text("utf-8").splitlines():
        record = json.loads(line)
        code = record["language"].partition("_")[0]
        if not record["doc"] or "error" in record or code not in language_codes():
            continue
        doc = make(LANGUAGE(code), FORMULATIONS.get(record["formulation"] or "cf"))(record["row"], "task")
        theirs = record["doc"]
        assert doc is not None
        assert (doc.query, list(doc.choices), doc.gold_index, doc.unconditioned_query) == (
            theirs["query"],
            theirs["choices"],
            theirs["gold_index"] if isinstance(theirs["gold_index"], list) else [theirs["gold_index"]],
            theirs["uncond_query"],
        )
        compared += 1

    assert compared >= 3


def test_columns_instructions_and_the_other_templates() -> None:
    columns = {"question": "q", "choices": "options", "gold_idx": "right", "instruction": "order"}
    row = {"q": "which one", "options": ["this", "that"], "right": 1, "order": "Choose."}

    doc = templates.get_mcq_prompt_function(LANGUAGE["ENGLISH"], columns)(row, "task")
    translated = templates.get_translation_prompt_function(
        LANGUAGE["ENGLISH"], LANGUAGE["FRENCH"], {"source_text": "en", "target_text": "fr"}, templates.CFFormulation()
    )({"en": "good day", "fr": "bonjour"})
    scene = templates.get_hellaswag_prompt_function(
        LANGUAGE["ENGLISH"],
        lambda line: {"ctx_a": "a man", "ctx_b": "he runs", "continuations": ["away.", "home."], "gold_idx": 0},
        templates.CFFormulation(),
    )({})
    told = templates.get_continuation_prompt_function(LANGUAGE["ENGLISH"], xstory_cloze, templates.CFFormulation())(
        {
            **{f"input_sentence_{n}": f"one {n}." for n in range(1, 5)},
            "sentence_quiz1": "a",
            "sentence_quiz2": "b",
            "answer_right_ending": 2,
        }
    )
    asked = templates.get_boolq_prompt_function(LANGUAGE["ENGLISH"], lambda line: {"question": "is it", "answer": True})({})

    assert doc is not None
    assert (doc.query, doc.choices, doc.gold_index, doc.instruction) == (
        "Choose.\nQuestion: Which one\n A. This\n B. That\nAnswer:",
        [" A", " B"],
        [1],
        "Choose.",
    )
    assert translated is not None
    assert (translated.query, translated.choices) == ("EN: Good day FR:", [" Bonjour"])
    assert scene is not None
    assert scene.choices == [" away.", " home."]
    assert told is not None
    assert told.gold_index == [1]
    assert asked is not None
    assert (asked.choices, asked.gold_index) == ([" A", " B"], [0])
    assert templates.get_metrics_for_formulation(templates.MCFFormulation(), ["x"])[0].name == "loglikelihood_acc_none"
    assert templates.get_metrics_for_formulation(templates.CFFormulation(), ["x"]) == ["x"]
    assert templates.normalize_subset("Law (Professional)") == "law_professional"


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (
            lambda: templates.get_mcq_prompt_function(LANGUAGE["DZONGKHA"], belebele),
            r"get_mcq_prompt_function: there are no words of dzongkha \(dzo\)",
        ),
        (
            lambda: templates.get_copa_prompt_function(LANGUAGE["FRENCH"], xcopa, templates.MCFFormulation("Numbers")),
            "get_copa_prompt_function: the choice_prefix 'Numbers' is not served",
        ),
        (
            lambda: templates.get_continuation_prompt_function(LANGUAGE["FRENCH"], xcopa, fix_formatting=False),
            "get_continuation_prompt_function: fix_formatting=False is not served",
        ),
    ],
)
def test_what_is_not_served_is_refused_with_the_templates_name(make: Callable[[], Any], problem: str) -> None:
    with pytest.raises(NotImplementedError, match=problem):
        make()
