"""The demo suite's data is what a benchmark's must be: complete, without repeats, and with no pattern that gives answers away."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from typing import Any

import pytest

from pytest_lighteval.checks.check import check_task
from pytest_lighteval.data.data_sets import DataSets
from pytest_lighteval.metrics import metric
from pytest_lighteval.metrics.normalizers import helm
from pytest_lighteval.prompts.assembly import build_prompt
from pytest_lighteval.prompts.documents import render_docs
from pytest_lighteval.prompts.few_shots import pick_few_shots
from pytest_lighteval.tasks.suite_file import load_suite
from pytest_lighteval.types import Doc, Task
from tests.shared import ROOT

FOLDER = ROOT / "suites" / "demo"
TASKS = {task.name: task for task in load_suite(FOLDER / "demo.yaml")}
MULTIPLE_CHOICE = ["multiple_choice", "multiple_choice_dev", "completion"]


def _rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / "data" / f"{name}.jsonl").read_text("utf-8").splitlines()]


def _docs(task: Task, split: str = "test", *, few_shots: bool = False) -> list[Doc]:
    return render_docs(task, DataSets().rows(task, split), split, few_shots=few_shots, multiple_choice="acc" in _reported(task)).docs


def _reported(task: Task) -> list[str]:
    return [name for entry in task.metrics for name in metric(entry).corpus]


def _options(row: dict[str, Any]) -> list[str]:
    options: list[str] = row["choices"] if "choices" in row else row["endings"]
    return options


def test_the_suite_reports_these_numbers_about_so_many_documents() -> None:
    told = {name: (len(_docs(task)), task.few_shots, _reported(task)) for name, task in TASKS.items()}

    assert told == {
        "multiple_choice": (96, (0, 3), ["acc", "acc_norm"]),
        "completion": (24, (0,), ["acc", "acc_norm"]),
        "short_answer": (48, (3,), ["em", "qem", "pqem"]),
        "perplexity": (8, (0,), ["word_perplexity", "byte_perplexity", "bits_per_byte"]),
    }


def test_every_data_file_is_read_by_a_task() -> None:
    read = {f"{FOLDER.name}/{file}" for task in TASKS.values() for file in task.data_files.values()}

    assert read == {path.relative_to(FOLDER.parent).as_posix() for path in FOLDER.rglob("*.jsonl")}


@pytest.mark.parametrize("name", MULTIPLE_CHOICE)
def test_a_question_has_four_different_choices_and_one_of_them_is_gold(name: str) -> None:
    for row in _rows(name):
        options = _options(row)

        assert len({option.casefold() for option in options}) == 4, row
        assert all(option and option == option.strip() for option in options), row
        assert row["answer"] in range(4), row


@pytest.mark.parametrize("name", MULTIPLE_CHOICE)
def test_every_position_is_gold_equally_often_and_never_four_times_in_a_row(name: str) -> None:
    golds = [row["answer"] for row in _rows(name)]

    assert set(Counter(golds).values()) == {len(golds) // 4}
    assert not re.search(r"(.)\1\1\1", "".join(map(str, golds)))


@pytest.mark.parametrize("name", MULTIPLE_CHOICE)
def test_a_model_that_always_takes_the_longest_or_the_shortest_choice_gains_little(name: str) -> None:
    rows = _rows(name)

    for extreme in (max, min):
        # a tie is worth its share of a point
        score = sum(
            (len(options[row["answer"]]) == length) / sum(len(option) == length for option in options)
            for row in rows
            if (options := _options(row)) and (length := extreme(map(len, options)))
        )
        assert score / len(rows) < 0.4, extreme.__name__


@pytest.mark.parametrize("name", ["short_answer", "short_answer_dev"])
def test_an_answer_is_a_word_or_a_number_in_spellings_that_differ(name: str) -> None:
    for row in _rows(name):
        answers = row["answers"]

        assert answers, row
        assert len(set(answers)) == len(answers), row
        assert all(answer and answer == answer.strip() and len(helm(answer).split()) in (1, 2) for answer in answers), row


def test_no_question_is_asked_twice_not_even_as_an_example() -> None:
    asked = Counter(
        row[column].casefold()
        for name, column in [
            ("multiple_choice", "question"),
            ("multiple_choice_dev", "question"),
            ("short_answer", "question"),
            ("short_answer_dev", "question"),
            ("completion", "context"),
            ("perplexity", "text"),
        ]
        for row in _rows(name)
    )

    assert [text for text, times in asked.items() if times > 1] == []


def test_ids_are_unique_over_the_suite_and_count_the_rows_of_their_file() -> None:
    ids = [[row["id"] for row in _rows(path.stem)] for path in sorted(FOLDER.rglob("*.jsonl"))]

    assert all(own == [f"{own[0][:-3]}{number:03}" for number in range(1, len(own) + 1)] for own in ids)
    assert len({own[0] for own in ids}) == len(ids)


def test_paragraphs_are_of_one_line_and_sixty_to_a_hundred_and_fifty_words() -> None:
    for row in _rows("perplexity"):
        assert row["text"] == " ".join(row["text"].split()), row["id"]
        assert 60 <= len(row["text"].split()) <= 150, row["id"]


def test_a_few_shot_prompt_is_examples_from_the_other_file_then_the_open_question() -> None:
    task = TASKS["short_answer"]
    docs = _docs(task)[:1]
    shots = pick_few_shots(docs, _docs(task, "dev", few_shots=True), mode=task.few_shots_select, count=3, rng=random.Random(0))

    assert build_prompt(docs[0], shots[0]) == (
        "Answer each question with a single word or number.\n\n"
        "Question: What color is fresh snow?\nAnswer: white\n\n"
        "Question: What is the capital of England?\nAnswer: London\n\n"
        "Question: What is two plus two?\nAnswer: 4\n\n"
        "Question: How many days are there in one week?\nAnswer:"
    )


@pytest.mark.parametrize("name", TASKS)
def test_the_linter_finds_nothing_but_other_forms_of_answers(name: str) -> None:
    check = check_task(TASKS[name], few_shots=TASKS[name].few_shots)

    assert {finding.kind for finding in check.findings} <= {"form-marked-wrong"}
