"""The documents of judged tasks are Lighteval v0.9.2's, on rows that hold what the recorded benchmarks rarely do."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_lighteval.prompts.documents import render_docs
from tests.golden.test_prompts import declared
from tests.shared import GOLDEN, needs_shared

pytestmark = needs_shared

TASKS = {
    "mixeval_freeform": ("extended|mixeval_easy:freeform", "extended|mixeval_hard:freeform"),
    "mixeval_multichoice": ("extended|mixeval_easy:multichoice", "extended|mixeval_hard:multichoice"),
    "hle": ("lighteval|hle",),
}


def records(name: str) -> list[dict[str, Any]]:
    lines = (GOLDEN / "judges" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [record for line in lines if (record := json.loads(line))["kind"] == "prompt"]


def test_alrage_asks_what_the_reference_asks() -> None:
    lines = (GOLDEN / "judges" / "alrage_qa.jsonl").read_text(encoding="utf-8").splitlines()
    cases = [record for line in lines if (record := json.loads(line))["kind"] == "case"]
    docs = render_docs(declared()["community|alrage_qa"], [(index, case["row"]) for index, case in enumerate(cases)], "train").docs

    assert [(doc.query, list(doc.choices), doc.instruction) for doc in docs] == [
        (case["doc"]["query"], case["doc"]["choices"], case["doc"]["instruction"]) for case in cases
    ]


@pytest.mark.parametrize(("name", "task"), [(name, task) for name, tasks in TASKS.items() for task in tasks])
def test_a_judged_task_asks_what_the_reference_asks(name: str, task: str) -> None:
    asked = []
    for record in records(name):
        docs = render_docs(declared()[task], [(0, record["row"])], "test").docs
        # the reference raises for QuAc, which docs/differences-from-lighteval.md names
        if record.get("doc") is not None:
            expected = record["doc"]
            gold = expected["gold_index"] if isinstance(expected["gold_index"], list) else [expected["gold_index"]]
            asked.append((expected["query"], expected["choices"], [expected["choices"][place] for place in gold if expected["choices"]]))
            assert [(doc.query, list(doc.choices), list(doc.golds)) for doc in docs] == asked[-1:]
            assert docs[0].specific == (expected.get("specific") or {})
        elif "error" not in record:
            assert docs == []

    assert asked
