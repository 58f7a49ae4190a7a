"""Every document that a declared task makes of a recorded row is Lighteval v0.9.2's, byte for byte, and so are the task's settings."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import pytest

from pytest_lighteval.prompts.documents import render_docs
from pytest_lighteval.prompts.few_shots import resolve_few_shots_split
from pytest_lighteval.tasks.suite_file import load_suite
from pytest_lighteval.types import Doc, Task
from tests.golden.listed import DOCUMENT, Difference, listed_differences
from tests.shared import GOLDEN, ROOT, SHARED, needs_shared

pytestmark = needs_shared

SUITES = ROOT / "suites"
OWN_SUITES = ("code", "corrected", "demo", "multilingual")
"""Suites that the reference does not have, and one that it has in another place (`test_multilingual`)."""
RENAMED = {"helm|boolq:contrastset": "helm|boolq:contrastset_labelled", "helm|raft:": "helm|raft_train:"}
"""Tasks of the reference whose data have no labels -> those on data that have some. A key that ends in a colon is a family."""

Record = dict[str, Any]


@cache
def declared() -> dict[str, Task]:
    tasks = [task for path in sorted(SUITES.glob("*/*.yaml")) if path.parent.name not in OWN_SUITES for task in load_suite(path)]
    return {task.id: task for task in tasks}


@cache
def recorded() -> dict[str, list[Record]]:
    """By `suite|task`, the records of the configuration that this name selects where there are several."""
    records = defaultdict(list)
    for path in sorted((GOLDEN / "prompts").glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            for name in {f"{record['suite']}|{record['task']}", *record["registered_as"]}:
                records[name].append(record)
    return {name: [record for record in found if name in record["registered_as"]] or found for name, found in records.items()}


@cache
def configured() -> dict[str, Record]:
    """The settings of every task, also of those of which no row is recorded."""
    tasks = json.loads((SHARED / "reference" / "tasks_v092_core.json").read_text(encoding="utf-8"))["tasks"]
    return {f"{suite}|{task['name']}": task for task in tasks for suite in task["suite"]}


def names(task: Task) -> Iterator[str]:
    """What the reference may call it: a name that no node id can carry is an alias here."""
    yield task.id
    for alias in task.aliases:
        yield f"{task.suite}|{alias}"


@cache
def differences(task_id: str) -> tuple[Difference, ...]:
    task = declared()[task_id]
    records = next((recorded()[name] for name in names(task) if name in recorded()), [])
    reference = records[0] if records else next((configured()[name] for name in names(task) if name in configured()), None)
    if reference is None:
        return (Difference(task=task_id, field="name", ours=task.name, theirs=None),)
    found = list(settings_differences(task, reference))
    for record in records:
        found += document_differences(task, record, record["doc"], few_shots=False)
        found += document_differences(task, record, record.get("doc_fewshot", record["doc"]), few_shots=True)
    return tuple(found)


def settings_differences(task: Task, reference: Record) -> Iterator[Difference]:
    ours = {
        "evaluation_splits": list(task.evaluation_splits),
        "few_shots_split": resolve_few_shots_split(task),
        "few_shots_select": task.few_shots_select,
        "generation_size": task.generation_size,
        "stop_sequence": list(task.stop_sequence),
        "metrics": sorted(task.metrics),
        "hf_filter": task.hf_filter is not None,
        "must_remove_duplicate_docs": task.must_remove_duplicate_docs,
        "version": task.version,
    }
    theirs = {
        "evaluation_splits": reference["evaluation_splits"],
        "few_shots_split": few_shots_split(reference),
        "few_shots_select": reference["few_shots_select"] or "balanced",
        "generation_size": reference["generation_size"],
        "stop_sequence": reference["stop_sequence"] or [],
        "metrics": sorted(metric.removeprefix("dyn:") for metric in reference["metrics"]),
        "hf_filter": reference["has_hf_filter"] if "has_hf_filter" in reference else reference["hf_filter"] is not None,
        "must_remove_duplicate_docs": reference["must_remove_duplicate_docs"],
        "version": reference["version"],
    }
    yield from compared(task.id, "", ours, theirs)


def few_shots_split(reference: Record) -> str | None:
    if "resolved_few_shots_split" in reference and not reference["instantiation_error"]:
        resolved = reference["resolved_few_shots_split"]
        return resolved[0] if resolved else None
    if reference["few_shots_split"]:
        split = reference["few_shots_split"]
        return str(split[0] if isinstance(split, list) else split)
    others = [split for split in reference["hf_avail_splits"] if split not in reference["evaluation_splits"]]
    return next((split for name in ("train", "dev", "valid", "default") for split in others if name in split), None)


def document_differences(task: Task, record: Record, recorded_docs: Any, *, few_shots: bool) -> Iterator[Difference]:
    where = f"{record['row_split']}:{record['row_index']}" + (" as an example" if few_shots else "")
    rows = [(record["row_index"], record["row"])]
    ours = [fields(doc) for doc in render_docs(task, rows, record["row_split"], few_shots=few_shots).docs]
    if "error" in record:
        yield Difference(task=task.id, field="documents", ours=len(ours), theirs=record["error"], where=where)
        return
    docs = recorded_docs if isinstance(recorded_docs, list) else [recorded_docs] if recorded_docs else []
    if len(ours) != len(docs):
        yield Difference(task=task.id, field="documents", ours=len(ours), theirs=len(docs), where=where)
        return
    for one, other in zip(ours, docs, strict=True):
        yield from compared(task.id, where, one, recorded_fields(other))


def fields(doc: Doc) -> Record:
    return {
        "query": doc.query,
        "choices": list(doc.choices),
        "gold": list(doc.gold),
        "instruction": doc.instruction,
        "original_query": doc.original_query,
        "unconditioned_query": doc.unconditioned_query,
        "fewshot_sorting_class": doc.fewshot_sorting_class,
        "specific": doc.specific,
    }


def recorded_fields(doc: Record) -> Record:
    """A choice that is a list of spellings is as many choices, and its index means them all, as in Lighteval's `get_golds`."""
    places: list[list[int]] = []
    choices: list[str] = []
    for choice in doc["choices"] or []:  # none where a text is measured
        spellings = choice if isinstance(choice, list) else [choice]
        places.append(list(range(len(choices), len(choices) + len(spellings))))
        choices += spellings
    gold = doc["gold_index"] if isinstance(doc["gold_index"], list) else [doc["gold_index"]]
    return {
        "query": doc["query"],
        "choices": choices,
        # helm|narrativeqa counts a list of spellings as many choices: what is beyond the list adds nothing to the spellings;
        # community|hellaswag_okapi_ar has texts for indices
        "gold": [place for index in map(int, gold) if index < len(places) for place in places[index]] if choices else [],
        "instruction": doc.get("instruction", ""),
        "original_query": doc.get("original_query") or None,
        "unconditioned_query": doc.get("uncond_query"),
        "fewshot_sorting_class": doc.get("fewshot_sorting_class"),
        "specific": doc.get("specific") or {},
    }


def compared(task: str, where: str, ours: Record, theirs: Record) -> Iterator[Difference]:
    for field, value in ours.items():
        if value != theirs[field]:
            yield Difference(task=task, field=field, ours=value, theirs=theirs[field], where=where)


def unlisted(found: Sequence[Difference]) -> list[str]:
    return [str(difference) for difference in found if not any(entry.covers(difference) for entry in listed_differences())]


@pytest.mark.parametrize("task", sorted(declared()) if GOLDEN.is_dir() else [])
def test_a_task_asks_what_the_reference_asks(task: str) -> None:
    assert "\n".join(unlisted(differences(task))) == ""


def test_every_listed_difference_is_needed() -> None:
    found = [difference for task in declared() for difference in differences(task)]
    unneeded = [f"{DOCUMENT.name}:{entry.line}" for entry in listed_differences() if not any(map(entry.covers, found))]

    assert unneeded == []


def test_every_recorded_task_is_declared() -> None:
    ours = {name for task in declared().values() for name in names(task)}
    renamed = {name for name in recorded() for old, new in RENAMED.items() if name.startswith(old) and new + name.removeprefix(old) in ours}
    assert renamed
    missing = sorted(recorded().keys() - ours - renamed)
    families = Counter(f"{name.partition(':')[0]}:*" if ":" in name else name for name in missing)
    listing = ", ".join(f"{family} ({count})" if count > 1 else family for family, count in families.items())
    print(f"{len(missing)} of {len(recorded())} recorded tasks are not declared")  # noqa: T201 # shown by -rP, as the count to watch

    assert not missing, listing
