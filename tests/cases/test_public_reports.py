"""Every input of the shared list of public reports has a check: one of these, or a test that the table names."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.backends.fake import FakeBackend
from pytest_lighteval.data.data_sets import DataSets
from pytest_lighteval.errors import PromptError
from pytest_lighteval.evaluate import evaluate
from pytest_lighteval.metrics import metric
from pytest_lighteval.prompts.documents import render_docs
from pytest_lighteval.prompts.reasoning import DEFAULT_TAGS, strip_reasoning
from pytest_lighteval.tasks.catalogue import Catalogue, shipped_suites
from pytest_lighteval.tasks.suite_file import load_suite
from pytest_lighteval.types import Doc, GenerateResponse
from tests.metrics.corrected.test_public_reports import REPORTS, cases
from tests.shared import ROOT

pytestmark = pytest.mark.skipif(not REPORTS.is_file(), reason=f"there is no {REPORTS} (LIGHTEVAL_SHARED names another place)")

Report = dict[str, Any]


def reports() -> dict[str, Report]:
    lines = REPORTS.read_text("utf-8").splitlines() if REPORTS.is_file() else ()
    return {report["id"]: report for report in map(json.loads, lines)}


# ------------------------------------------------------------------------------------------------ a suite and its rows


def data_set(report: Report, folder: Path) -> Path:
    """The report's suite with its rows, which stand in its last line as a list of rows or of lines."""
    suite, _, rows = report["input"].rpartition("\n")
    lines = [row if isinstance(row, str) else json.dumps(row) for row in ast.literal_eval(rows) or ()]
    (folder / "d.jsonl").write_text("".join(f"{line}\n" for line in lines))
    (folder / "s.yaml").write_text(suite)
    return folder / "s.yaml"


def is_one_line_about_the_row(report: Report, folder: Path) -> None:
    (task,) = load_suite(data_set(report, folder))

    with pytest.raises(PromptError) as raised:
        evaluate(task, FakeBackend(accuracy=1.0), few_shots=0)

    assert re.fullmatch(r"mine\|t: test:\d+: prompt\.\w+.*", str(raised.value))  # no line break


def float_years_are_written_as_years(report: Report, folder: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    suite = data_set(report, folder)
    parquet.write_table(pyarrow.table({"q": ["a", "b"], "y": [1999.0, 2000.0]}), folder / "d.parquet")
    (task,) = load_suite(suite)

    docs = render_docs(task, DataSets().rows(task, "test"), "test").docs

    assert [doc.golds[0] for doc in docs] == report["right"]


# --------------------------------------------------------------------------------------------------------- answers


def answered(name: str, text: str, *, choices: list[str], specific: dict[str, Any] | None = None) -> Any:
    """The metric's value of a text."""
    entry = metric(name)
    doc = Doc(id="test:0", query="q", choices=tuple(choices), gold=tuple(range(len(choices))), specific=specific or {})
    values = entry.sample(doc, GenerateResponse(texts=(text,) * entry.num_samples, finish_reasons=("stop",) * entry.num_samples))
    return next(iter(values.values()))


def corrected_drop(report: Report, folder: Path) -> None:
    """The corrected task scores spans, and lets an answer end with its line, not at a full stop."""
    golds = {"drop-number-newline": ["10"], "drop-float-cut": ["12.5"], "drop-multi-span": ["Smith", "Jones"]}[report["id"]]
    text = {"drop-number-newline": "10", "drop-float-cut": "12.5", "drop-multi-span": "Smith, Jones"}[report["id"]]
    (task,) = Catalogue().load(shipped_suites() / "corrected" / "drop.yaml")

    assert task.stop_sequence == ("\n",)
    assert answered("drop_corrected", text, choices=[", ".join(golds)], specific={"spans": [golds]}) == report["right"]


def a_root_in_brackets_is_another_number(report: Report, folder: Path) -> None:
    """The parity metric keeps what its library says; the project states it, and the corrected one is anchored to the whole answer."""
    assert answered("latex_gold_metric", "$4\\sqrt(2)$", choices=["$4$"]) == report["got"]


def a_tag_that_is_named_stays(report: Report, folder: Path) -> None:
    assert strip_reasoning(ast.literal_eval(report["input"]), DEFAULT_TAGS) == report["right"]


def corrected_stops(report: Report, folder: Path) -> None:
    """A worked answer is not cut at the stop sequences of the corrected tasks."""
    file, answer = {
        "math-stop": ("math.yaml", "We add.\n\nSo it is $\\boxed{9}$."),
        "mgsm-equals": ("mgsm.yaml", " First we add 5 + 4 = 9. The answer is 9."),
    }[report["id"]]

    tasks = Catalogue().load(shipped_suites() / "corrected" / file)

    assert tasks
    assert [stop for task in tasks for stop in task.stop_sequence if stop in answer] == []


CHECKS: dict[str, Callable[[Report, Path], None]] = {
    **dict.fromkeys(
        ("data-surrogate", "data-null-in-text", "data-null-gold-space", "data-key-title", "data-nan", "data-empty-golds-mock"),
        is_one_line_about_the_row,
    ),
    "pq-float-year": float_years_are_written_as_years,
    **dict.fromkeys(("drop-number-newline", "drop-float-cut", "drop-multi-span"), corrected_drop),
    "mv-41-sqrt": a_root_in_brackets_is_another_number,
    "rs-mention": a_tag_that_is_named_stays,
    **dict.fromkeys(("math-stop", "mgsm-equals"), corrected_stops),
}
"""Run here, with the report's own input."""

ELSEWHERE = {
    "srv-null-stop": "tests/backends/openai/test_wrong_answers.py::test_what_a_chat_says_is_its_answer_though_it_may_be_empty",
    "srv-refusal": "tests/backends/openai/test_wrong_answers.py::test_what_a_chat_says_is_its_answer_though_it_may_be_empty",
    "srv-parts": "tests/backends/openai/test_wrong_answers.py::test_what_a_chat_says_is_its_answer_though_it_may_be_empty",
    "srv-200-emptychoices": "tests/backends/openai/test_wrong_answers.py::test_an_error_with_status_200_is_tried_again",
    "srv-o1-stop": "tests/backends/openai/test_generation.py::test_stop_sequences_that_a_server_refuses_are_applied_here",
    "srv-think-stop": "tests/prompts/test_reasoning.py::test_stop_sequences_act_on_what_is_left_after_the_thoughts",
    "lp-200-error-first": "tests/backends/openai/test_wrong_answers.py::test_an_error_with_status_200_at_the_first_question_is_an_outage",
    "chat-instruction": "tests/prompts/test_assembly.py::test_a_system_prompt_that_stands_apart_is_a_message_of_its_own",
    "tqa-adapter": "tests/metrics/corrected/test_answers.py::test_an_answer_has_the_right_score",
    "maj-none": "tests/metrics/corrected/test_answers.py::test_texts_without_an_answer_do_not_vote",
    "aimo-task": "tests/benchmarks/test_corrected.py::test_recorded_answers_are_counted_by_both_tasks",
}
"""Reports of servers, chats and votes: a test of the same input in the project's own words."""


@pytest.mark.parametrize("name", list(CHECKS))
def test_a_report_is_answered_rightly(name: str, tmp_path: Path) -> None:
    CHECKS[name](reports()[name], tmp_path)


def test_every_report_has_a_check() -> None:
    scored = {case[0] for case in cases()}

    assert reports().keys() == scored | CHECKS.keys() | ELSEWHERE.keys()


@pytest.mark.parametrize("place", sorted({*ELSEWHERE.values()}))
def test_a_test_that_the_table_names_is_there(place: str) -> None:
    file, _, name = place.partition("::")

    assert f"\ndef {name}(" in (ROOT / file).read_text("utf-8")
