"""Lighteval's own prompt functions, served by shipped tasks, make the documents that were recorded there."""

from __future__ import annotations

import json
from collections import defaultdict
from functools import cache
from typing import Any

import pytest

from pytest_lighteval.guests.lighteval.default_prompts import DeclaredPrompt, default_prompt, served_names
from pytest_lighteval.guests.lighteval.documents import as_list
from tests.golden.test_prompts import Record, recorded, recorded_fields
from tests.guests.lighteval.samples import load
from tests.shared import SHARED, needs_shared

DRAWN = ("gpqa", "gpqa_instruct")
"""These draw the place of the right answer from the process's random stream there."""


@cache
def records_of() -> dict[str, list[Record]]:
    """By the function's name, one record of each of its tasks."""
    tasks = json.loads((SHARED / "reference" / "tasks_v092_core.json").read_text("utf-8"))["tasks"]
    found: dict[str, list[Record]] = defaultdict(list)
    for task in tasks:
        name = task["prompt_function"].removeprefix("default_prompts.")
        if task["origin"] == "default_tasks":
            found[name] += [record for suite in task["suite"] for record in recorded().get(f"{suite}|{task['name']}", [])[:1]]
    return found


def plain(doc: Any) -> dict[str, Any]:
    fields = {name: getattr(doc, name) for name in ("query", "choices", "gold_index", "instruction", "original_query", "specific")}
    return recorded_fields(fields | {"uncond_query": doc.unconditioned_query, "fewshot_sorting_class": doc.fewshot_sorting_class})


@needs_shared
def test_each_served_function_makes_the_recorded_documents() -> None:
    compared, different = 0, []
    for name in served_names():
        for record in records_of().get(name, [])[:1]:
            if "error" in record or name in DRAWN:
                continue
            for few_shots, key in ((False, "doc"), (True, "doc_fewshot")):
                theirs = [recorded_fields(doc) for doc in as_list(record.get(key, record["doc"])) if doc]
                row = {**record["row"], "__few_shots": few_shots, "__index": record["row_index"]}
                ours = [plain(doc) for doc in as_list(default_prompt(name)(row, "task")) if doc]
                compared += 1
                if ours != theirs:
                    different.append(f"{name}: {record['task']}: {ours} != {theirs}")

    assert different == []
    assert compared > 300


def test_a_configuration_may_name_one_and_a_function_may_call_one(tmp_path: Any) -> None:
    text = """
import lighteval.tasks.default_prompts as prompt
from lighteval.metrics.metrics import Metrics
from lighteval.tasks.lighteval_task import LightevalTaskConfig

def louder(line, task_name: str = None):
    doc = prompt.gsm8k(line, task_name)
    doc.query = doc.query.upper()
    return doc

TASKS_TABLE = [
    LightevalTaskConfig(name="a", prompt_function=prompt.gsm8k, hf_repo="gsm8k", hf_subset="main", metric=[Metrics.exact_match]),
    LightevalTaskConfig(name="b", prompt_function=louder, hf_repo="gsm8k", hf_subset="main", metric=[Metrics.exact_match]),
]
"""
    from pytest_lighteval.prompts.documents import render_docs

    row = {"question": "How many?", "answer": "2 #### 2"}
    plain_doc, loud_doc = [render_docs(task, [(0, row)], "test").docs[0] for task in load(tmp_path, text).tasks]

    assert plain_doc.query == "Question: How many?\nAnswer:"
    assert (loud_doc.query, loud_doc.choices) == (plain_doc.query.upper(), plain_doc.choices)


def test_names_that_are_not_served_are_told() -> None:
    assert isinstance(default_prompt("mmlu_harness"), DeclaredPrompt)
    assert default_prompt("LETTER_INDICES")[:2] == ["A", "B"]
    with pytest.raises(AttributeError, match=r"default_prompts.mmlu_harnes is not served \(did you mean 'mmlu_harness'"):
        default_prompt("mmlu_harnes")
