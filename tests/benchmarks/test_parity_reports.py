"""What the comparing commands find and write, without a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.document import table, write_part
from benchmarks.harness_check import Asked, compare
from benchmarks.harness_side import to_json
from benchmarks.harness_tasks import PAIRS, Explained, Pair
from pytest_lighteval.types import (
    Ask,
    Detail,
    Doc,
    LoglikelihoodRequest,
    LoglikelihoodResponse,
    MetricResult,
    PromptTemplate,
    Task,
    TaskKey,
    TaskResult,
)

PAIR = Pair(ours="lighteval|colour", theirs="color", file="color.yaml", metrics={"acc": "acc"})
THEIRS: dict[str, Any] = {
    "documents": {
        "0": {
            "texts": ["The sky is blue", "The sky is red"],
            "continuations": [" blue", " red"],
            "logprobs": [-1.0, -3.0],
            "values": {"acc": 1.0},
        }
    },
    "scores": {"acc": 1.0},
}


def asked(pair: Pair = PAIR) -> Asked:
    """Our side: one document, answered rightly."""
    task = Task(suite="lighteval", name="colour", prompt=PromptTemplate(query=""), metrics=(), path=Path("colour.yaml"), line=1)
    detail = Detail(
        doc=Doc(id="test:0", query="The sky is", choices=(" blue", " red"), gold=(0,)),
        prompt="The sky is",
        few_shot_ids=(),
        few_shot_seed=0,
        requests={Ask.CHOICES: LoglikelihoodRequest(prompt="The sky is", choices=(" blue", " red"))},
        responses={Ask.CHOICES: LoglikelihoodResponse(logprobs=(-1.0, -3.0), greedy=(True, False), token_counts=(1, 1))},
        values={"acc": 1.0},
    )
    result = TaskResult(
        key=TaskKey(suite="lighteval", task="colour", few_shots=0),
        version=0,
        metrics={"acc": MetricResult(value=1.0, stderr=None, n=1, higher_is_better=True)},
        documents=(),
        dataset_fingerprint="",
        prompt_digest="",
        effective_few_shots=0.0,
    )
    return Asked(pair=pair, task=task, result=result, details=(detail,))


def theirs(**changes: Any) -> dict[str, Any]:
    """Their side, with other fields of its one document."""
    return {**THEIRS, "documents": {"0": {**THEIRS["documents"]["0"], **changes}}}


def test_a_task_that_the_harness_cannot_evaluate_is_a_problem_of_its_own() -> None:
    (row,) = compare(asked(), {"error": "KeyError: 'gold'"})

    assert row.problems == ("lighteval|colour: the harness cannot evaluate color: KeyError: 'gold'",)


def test_numbers_of_numpy_are_plain_numbers_in_the_result_file() -> None:
    values = {0: {"acc": np.float32(0.5), "gold": np.int64(2), "mc2": np.array([1, 2]), "all": [np.bool_(True)]}}

    assert to_json(values) == '{"0": {"acc": 0.5, "gold": 2, "mc2": [1, 2], "all": [true]}}'


def test_the_error_of_the_reference_grows_with_the_tokens() -> None:
    found = asked()
    (short,) = found.details
    response = LoglikelihoodResponse(logprobs=(-1.0, -3.0), greedy=(True, False), token_counts=(1, 60))
    long = replace(short, responses={Ask.CHOICES: response})
    problems = [compare(replace(found, details=(one,)), theirs(logprobs=[-1.0, -3.001]))[0].problems for one in (short, long)]

    assert [len(found) for found in problems] == [1, 0]


def test_what_both_answer_alike_is_no_problem() -> None:
    (row,) = compare(asked(), THEIRS)

    assert row.problems == ()
    assert row.cells == (r"lighteval\|colour\|0", "color", "1", "acc", "1.0000", "1.0000", "2 of 2", "0", "0")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        pytest.param({"logprobs": [-1.0, -3.001]}, "ours -3.0, theirs -3.001", id="log-likelihood"),
        pytest.param({"texts": ["The sky is blue", "The sky is  red"]}, "the harness asks 'The sky is  red', we do not", id="text"),
        pytest.param({"values": {"acc": 0.0}}, "acc: ours 1.0, theirs 0.0", id="value"),
    ],
)
def test_a_difference_without_an_explanation_is_a_problem(changes: dict[str, Any], problem: str) -> None:
    (row,) = compare(asked(), theirs(**changes))

    assert len(row.problems) == 1
    assert problem in row.problems[0]


def test_an_explanation_must_give_their_value() -> None:
    changed = theirs(values={"acc": 0.0})
    right = replace(PAIR, explained={"acc": Explained(reason="theirs counts from one", theirs=lambda doc, response: 0.0)})
    wrong = replace(PAIR, explained={"acc": Explained(reason="theirs counts from one", theirs=lambda doc, response: 0.5)})

    assert compare(asked(right), changed)[0].problems == ()
    assert compare(asked(wrong), changed)[0].problems == ("lighteval|colour: test:0: acc: theirs 0.0 is not what was explained",)


def test_only_documents_with_other_texts_may_score_otherwise_for_them() -> None:
    pair = replace(PAIR, other_texts="it writes two spaces")
    other = ["The sky is  blue", "The sky is  red"]

    assert compare(asked(pair), theirs(texts=other, values={"acc": 0.0}))[0].problems == ()
    assert len(compare(asked(pair), theirs(values={"acc": 0.0}))[0].problems) == 1


def test_whatever_asks_other_texts_is_compared_once_more_so_that_it_asks_the_same() -> None:
    unlike = [pair.theirs for pair in PAIRS if pair.other_texts]

    assert unlike == [pair.theirs for pair in PAIRS if pair.changed]


def test_writing_one_part_of_the_page_keeps_the_other(tmp_path: Path) -> None:
    page = tmp_path / "parity.md"

    write_part("harness", "first", document=page)
    write_part("recorded", "second", document=page)
    write_part("harness", "third", document=page)

    lines = page.read_text("utf-8").splitlines()
    assert [line for line in lines if line in ("first", "second", "third")] == ["second", "third"]
    assert not any(line.startswith("Not measured yet") for line in lines)


def test_a_table_is_aligned_markdown() -> None:
    assert table(("task", "n"), [("a", "10"), ("longer", "1")]) == "| task   | n  |\n| ------ | -- |\n| a      | 10 |\n| longer | 1  |"
