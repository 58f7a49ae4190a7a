"""Judges are told what Lighteval v0.9.2 and the benchmarks tell them, and under parity their replies are read as there."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from pytest_lighteval.graders.judge import combined
from pytest_lighteval.graders.rubrics import RUBRICS, Conversation, Parity
from pytest_lighteval.metrics import metric
from pytest_lighteval.types import Doc, Grade, Mark
from tests.shared import GOLDEN, needs_shared

pytestmark = needs_shared


def records(name: str, kind: str) -> list[dict[str, Any]]:
    lines = (GOLDEN / "judges" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    found = [record for line in lines if (record := json.loads(line))["kind"] == kind]
    assert found
    return found


def plain(conversation: Conversation) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.content} for turn in conversation]


def talk(record: Mapping[str, Any]) -> Doc:
    first, *later = record["row"]["turns"]
    specific = {name: record["row"].get(name) for name in ("reference", "category")}
    return Doc(id="train:0", query=first, choices=(), gold=(), specific=specific, turns=tuple(later))


def question(record: Mapping[str, Any]) -> Doc:
    options = record.get("options", record.get("golds", [record.get("gold")]))
    golds = record.get("golds", [record.get("gold")])
    specific = {"question": record["question"]}
    return Doc(id="test:0", query="", choices=tuple(options), gold=tuple(options.index(gold) for gold in golds), specific=specific)


def number(rubric: str, reply: str, parity: Parity) -> Any:
    """The value of a document with this one reply, as it counts in the mean before the unit is divided out."""
    verdict = RUBRICS[rubric].verdict(reply, parity)
    return verdict.value


@pytest.mark.parametrize(
    ("file", "rubric"), [("mt_bench", "judge_score_turn_1+judge_score_turn_2"), ("mt_bench_own_definition", "mt_bench")]
)  # fmt: skip
def test_mt_bench_judges_are_told_what_was_recorded(file: str, rubric: str) -> None:
    for record in records(file, "case"):
        if "error" in record:  # the reference raises where a reference answer is missing
            continue
        told = RUBRICS[rubric].conversations(talk(record), record["answers"], "lighteval")

        assert [plain(conversation) for conversation in told] == record["judge_inputs"]


def test_a_missing_reference_of_a_turn_is_no_error_as_it_is_in_the_reference() -> None:
    (record,) = [record for record in records("mt_bench", "case") if "error" in record]

    told = RUBRICS["judge_score_turn_1+judge_score_turn_2"].conversations(talk(record), record["answers"], "lighteval")

    assert "the reference answer is:\nsum(xs)" in told[0][0].content
    assert "How well the response answers the question?" in told[1][0].content


@pytest.mark.parametrize(
    ("file", "judge", "rubric"),
    [
        ("mixeval_freeform", "flow", "llm_judge_mixeval_flow#1"),
        ("mixeval_freeform", "gpt-3.5", "llm_judge_mixeval_gpt3#1"),
        ("mixeval_multichoice", "flow", "llm_judge_mixeval_flow"),
        ("mixeval_multichoice", "gpt-3.5", "llm_judge_mixeval_gpt3"),
        ("simpleqa", None, "simpleqa_judge"),
        ("hle", None, "hle_metrics"),
    ],
)
def test_a_judge_is_told_what_was_recorded(file: str, judge: str | None, rubric: str) -> None:
    for record in records(file, "case"):
        if judge in (None, record.get("judge")):
            (told,) = RUBRICS[rubric].conversations(question(record), [record["answer"]], "lighteval")

            assert plain(told) == record["judge_input"]


def test_the_judge_of_alrage_is_told_what_was_recorded_and_its_replies_are_read_as_there() -> None:
    for record in records("alrage_qa", "case"):
        doc = Doc(id="train:0", query=record["doc"]["query"], choices=tuple(record["doc"]["choices"]), gold=(0,))
        rubric = RUBRICS["llm_as_judge"]
        (told,) = rubric.conversations(doc, [record["answer"]], "lighteval")

        assert plain(told) == record["judge_input"]
        assert combined(rubric, [rubric.verdict(record["judge_output"], "lighteval")]) == record["expected"]["llm_as_judge"]


@pytest.mark.parametrize(
    ("file", "judge", "rubric"),
    [
        ("mt_bench", None, "judge_score_turn_1+judge_score_turn_2"),
        ("mixeval_freeform", "flow", "llm_judge_mixeval_flow#1"),
        ("mixeval_freeform", "gpt-3.5", "llm_judge_mixeval_gpt3#1"),
        ("mixeval_multichoice", "flow", "llm_judge_mixeval_flow"),
        ("mixeval_multichoice", "gpt-3.5", "llm_judge_mixeval_gpt3"),
    ],
)
def test_replies_are_read_as_the_reference_reads_them(file: str, judge: str | None, rubric: str) -> None:
    for record in records(file, "verdict"):
        if judge in (None, record.get("judge")):
            assert number(rubric, record["judge_output"], "lighteval") == record["score"], record["judge_output"]


def test_grades_are_read_as_the_reference_and_as_the_benchmark_read_them() -> None:
    for record in records("simpleqa", "verdict"):
        assert (number("simpleqa_judge", record["judge_output"], "lighteval") == "A") == (record["score"] == 1.0)
    for record in records("simpleqa_own_definition", "verdict"):
        assert number("simpleqa_judge", record["judge_output"], "benchmark") == record["letter"]


def test_ratings_are_read_as_the_benchmark_reads_them_and_none_is_its_minus_one() -> None:
    for record in records("mt_bench_own_definition", "verdict"):
        value = number("mt_bench", record["judge_output"], "benchmark")

        assert (-1 if value is None else value) == record["rating"]


@pytest.mark.parametrize(
    ("file", "judge", "name", "unit"),
    [
        ("mixeval_freeform", "flow", "llm_judge_mixeval_flow#1", 5),
        ("mixeval_freeform", "gpt-3.5", "llm_judge_mixeval_gpt3#1", 1),
        ("mixeval_multichoice", "flow", "llm_judge_mixeval_flow", 1),
        ("mixeval_multichoice", "gpt-3.5", "llm_judge_mixeval_gpt3", 1),
        ("simpleqa", None, "simpleqa_judge", 1),
        ("alrage_qa", None, "llm_as_judge", 1),
    ],
)
def test_means_are_the_references(file: str, judge: str | None, name: str, unit: float) -> None:
    for record in records(file, "corpus"):
        if judge in (None, record.get("judge")):
            ((reported, expected),) = record["expected"].items()

            assert metric(name).corpus[reported].aggregate([value / unit for value in record["values"]]) == pytest.approx(expected)


def test_grades_add_up_as_in_the_benchmarks_own_script() -> None:
    (record,) = records("simpleqa_own_definition", "corpus")
    documents = [
        metric("simpleqa_judge").sample(doc, Grade(marks=(Mark(value=tuple(float(letter == one) for one in "ABC"), outcome="judged"),)))
        for doc in [Doc(id="test:0", query="", choices=(), gold=())]
        for letter in record["letters"]
    ]
    numbers = {
        name: corpus.aggregate([values[name] for values in documents])
        for name, corpus in metric("simpleqa_judge").corpus.items()
        if name in documents[0]
    }

    expected = record["expected"]
    assert numbers == pytest.approx(
        {
            "simpleqa_judge": expected["is_correct"],
            "is_incorrect": expected["is_incorrect"],
            "is_not_attempted": expected["is_not_attempted"],
            "accuracy_given_attempted": expected["accuracy_given_attempted"],
            "f1": expected["f1"],
        }
    )


def test_hle_reports_the_references_numbers_on_request() -> None:
    rubric = RUBRICS["hle_metrics_lighteval"]
    for record in records("hle", "corpus"):
        values = []
        for score in record["scores"]:
            correct, confidence = score.values() if isinstance(score, dict) else score
            verdict = rubric.verdict(json.dumps({"correct": correct, "confidence": confidence}), "lighteval")
            values.append(combined(rubric, [verdict]))
        corpus = metric("hle_metrics_lighteval").corpus
        numbers = {name: corpus[name].aggregate(values) for name in record["expected"]}
        assert numbers == pytest.approx(record["expected"], abs=1e-9)
        if len(values) >= 200:
            # with confidence and accuracy in one unit, without the last bin of the recorded order
            order = np.argsort(np.asarray([100 * confidence for _, confidence in values]))
            binned = len(values) // 100 * 100 - 100
            without_last = metric("hle_metrics").corpus["calibration_error"].aggregate([values[place] for place in order[:binned]])
            in_percent = 100 * without_last * math.sqrt(binned / len(values))
            assert in_percent == pytest.approx(record["with_the_benchmarks_scale"]["calibration_error"], abs=0.5)


def test_the_judge_of_hle_is_held_to_the_recorded_schema_and_its_reply_is_read() -> None:
    (task,) = records("hle", "task")
    rubric = RUBRICS["hle_metrics"]
    expected = task["judge"]["response_format"]

    assert rubric.schema is not None
    assert {name: rubric.schema[name] for name in ("properties", "required", "title", "type")} == expected
    for record in records("hle", "case"):
        verdict = rubric.verdict(json.dumps(record["judge_output"]), None)

        assert verdict.value == float(record["expected"]["correct"] == "yes")
        assert verdict.confidence == record["expected"]["confidence"] / 100
