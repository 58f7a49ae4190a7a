"""The multilingual families are those of Lighteval v0.9.2: every name with its settings, every recorded document and prompt."""

from __future__ import annotations

import gzip
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.metrics import metric
from pytest_lighteval.prompts.assembly import build_prompt
from pytest_lighteval.prompts.documents import render_docs
from pytest_lighteval.prompts.few_shots import resolve_few_shots_split
from pytest_lighteval.prompts.languages.words import WORDS, language_codes, words_of
from pytest_lighteval.prompts.templates import compile_expression
from pytest_lighteval.tasks.suite_file import load_suite
from pytest_lighteval.types import Doc, Task
from tests.shared import GOLDEN, ROOT, SHARED, needs_shared

pytestmark = needs_shared

SUITES = ROOT / "suites" / "multilingual"
FOLDER = GOLDEN / "multilingual"
FAMILIES = sorted(path.stem for path in SUITES.glob("*.yaml"))

SUBSETS = {
    ("xcopa", "hti"): "ht",
    ("xcsqa", "jpn"): "X-CSQA-jap",
    ("xcodah", "jpn"): "X-CODAH-jap",
    ("xwinograd", "jpn"): "jp",
    ("mlmm_hellaswag", "nor"): "nb",
    ("mlmm_truthfulqa", "nor"): "nb",
}
"""Subsets that the data set calls otherwise than the reference asks for."""
REPOSITORIES = {"xcopa": "cambridgeltl/xcopa"}
"""Old names of data sets that have moved."""
MENDED = {"KeyError: <Language.SLOVENIAN: 'slv'>", "AttributeError: 'int' object has no attribute 'rstrip'"}
"""What the reference raises by a plain defect."""
SEEDED = {"alghafa_sciqa", "agieval"}
"""Families in which the reference draws the order of some choices from streams of the whole process."""

Record = dict[str, Any]


@cache
def configured() -> dict[str, dict[str, Record]]:
    """Family -> name -> the later definition of it."""
    found: dict[str, dict[str, Record]] = defaultdict(dict)
    with gzip.open(SHARED / "reference" / "multilingual_tasks.json.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            found[record["family"]][record["name"]] = record
    return found


def family_tasks(family: str, wanted: set[str] | None = None) -> dict[str, Task]:
    """By every name, aliases too."""
    tasks = load_suite(SUITES / f"{family}.yaml", wanted=None if wanted is None else wanted.__contains__)
    return {name: task for task in tasks for name in (task.name, *task.aliases)}


def test_there_is_a_file_for_every_family() -> None:
    assert sorted(configured()) == FAMILIES
    assert sum(map(len, configured().values())) == 34_101


@pytest.mark.parametrize("family", FAMILIES)
def test_every_name_is_known_with_the_settings_of_the_reference(family: str) -> None:
    reference, tasks = configured()[family], family_tasks(family)

    assert reference.keys() <= tasks.keys()
    assert len({task.name for task in tasks.values()}) == len(reference)
    different = {}
    for name, record in reference.items():
        ours, theirs = settings_of(tasks[name]), settings_of_reference(record)
        if ours != theirs:
            different[name] = {field: (ours[field], theirs[field]) for field in ours if ours[field] != theirs[field]}
    assert different == {}


def settings_of(task: Task) -> Record:
    return {
        "suite": task.suite,
        "language": task.language,
        "formulation": task.prompt.formulation,
        "template": task.prompt.template,
        "hf_repo": task.hf_repo,
        "hf_subset": task.hf_subset,
        "hf_revision": task.hf_revision,
        "has_filter": task.hf_filter is not None,
        "evaluation_splits": task.evaluation_splits,
        "few_shots_split": resolve_few_shots_split(task),
        "few_shots_select": task.few_shots_select,
        "generation_size": task.generation_size,
        "stop_sequence": task.stop_sequence,
        "num_samples": task.num_samples,
        "must_remove_duplicate_docs": task.must_remove_duplicate_docs,
        "version": task.version,
        "reported": [name for entry in task.metrics for name in metric(entry).corpus],
        "is_refused": task.skip is not None,
    }


def settings_of_reference(record: Record) -> Record:
    """As ours are where it is sound."""
    resolved, select = record["resolved_few_shots_split"], record["few_shots_select"]
    subset = SUBSETS.get((record["family"], record["language"]), record["hf_subset"])
    return {
        "suite": record["suite"][0],
        "language": record["language_of_literals"],
        # the formulation is a matter of the name there, also where the template has only one
        "formulation": None if record["template"] == "qa" else record["formulation"],
        "template": record["template"],
        "hf_repo": REPOSITORIES.get(record["hf_repo"], record["hf_repo"]),
        "hf_subset": subset,
        "hf_revision": record["hf_revision"],
        "has_filter": record["hf_filter"] is not None,
        "evaluation_splits": tuple(record["evaluation_splits"]),
        "few_shots_split": resolved[0] if resolved else None,
        "few_shots_select": select or "balanced",
        # -1 generates one token, and is said only of tasks that generate nothing
        "generation_size": record["generation_size"] if (record["generation_size"] or 0) > 0 else None,
        "stop_sequence": tuple(record["stop_sequence"]),
        "num_samples": None,
        "must_remove_duplicate_docs": record["must_remove_duplicate_docs"],
        "version": record["version"],
        "reported": [entry["name"] for entry in record["metrics"]],
        "is_refused": any(reason not in MENDED for reason in record.get("raises", ())),
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_every_recorded_document_is_made(family: str) -> None:
    path = FOLDER / "prompts_multilingual" / f"{family}.jsonl"
    if not path.is_file():
        pytest.skip("no row of it is recorded")
    records = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    tasks = family_tasks(family, {record["task"] for record in records})

    different = [difference for record in records for difference in document_differences(tasks[record["task"]], record)]
    assert different == []


def document_differences(task: Task, record: Record) -> Iterator[Any]:
    expected = record.get("doc_without_index", record["doc"])
    error = record.get("error")
    if error is not None and error not in MENDED:
        if task.skip is None or missing_word(error) not in task.skip:
            yield record["task"], "is not refused by the missing word", error
        return
    if task.skip is not None:
        if expected is not None:  # where the reference drops the row, it never comes to the word
            yield record["task"], "is refused", task.skip
        return
    keeps = task.hf_filter is None or bool(compile_expression(task.hf_filter)({**record["row"], "row": record["row"]}))
    if record.get("filter_keeps", keeps) != keeps:
        yield record["task"], "the filter keeps the row", keeps
    docs = render_docs(task, [(record["row_index"], record["row"])], record["row_split"]).docs if keeps else []
    ours = shown(docs[0]) if docs else None
    theirs = None if expected is None else {**expected, "gold_index": listed(expected["gold_index"])}
    if error is not None and expected is None:  # Slovenian, which the reference has no words for
        return
    if task.name.partition("_zho")[0].partition("_ara")[0] in SEEDED and ours is not None and theirs is not None:
        ours, theirs = without_order(ours), without_order(theirs)
    if ours != theirs:
        yield record["task"], ours, theirs


def missing_word(error: str) -> str:
    """`AttributeError: Translation for 'answer' is needed for ...` -> `'answer'`."""
    return f"'{error.split(chr(39))[1]}'"


def shown(doc: Doc) -> Record:
    return {
        "query": doc.query,
        "choices": list(doc.choices),
        "gold_index": list(doc.gold),
        "golds": list(doc.golds),
        "uncond_query": doc.unconditioned_query,
    }


def listed(gold: Any) -> list[int]:
    return gold if isinstance(gold, list) else [gold]


def without_order(doc: Record) -> Record:
    """The same for any order of the choices; letters say nothing then."""
    lines = [re.sub(r"^ ?[A-H](\. |。)", "", line) for line in doc["query"].split("\n")]
    kept = {name: [text for text in doc[name] if not re.fullmatch(" ?[A-H]", text)] for name in ("choices", "golds")}
    return {"query": sorted(lines), "choices": sorted(kept["choices"]), "golds": kept["golds"]}


def contexts() -> list[Record]:
    path = FOLDER / "contexts_multilingual.jsonl"
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []


def test_every_recorded_prompt_is_put_together() -> None:
    records = [record for record in contexts() if record["family"] not in SEEDED]
    wanted: dict[str, set[str]] = defaultdict(set)
    for record in records:
        wanted[record["family"]].add(record["task"])
    tasks = {family: family_tasks(family, names) for family, names in wanted.items()}

    different = [record["task"] for record in records if not is_recorded_prompt(tasks[record["family"]][record["task"]], record)]
    assert records
    assert different == []


def is_recorded_prompt(task: Task, record: Record) -> bool:
    numbered = [(int(number), row) for number, row in record["rows"].items()]
    docs = {int(doc.id.split(":")[1]): doc for doc in render_docs(task, numbered, "test").docs}
    doc, shots = docs[record["asked"]], [docs[number] for number in record["examples"]]
    made = {
        "plain": build_prompt(doc, shots),
        "plain_system": build_prompt(doc, shots, system_prompt="Be brief."),
        "chat": turns(build_prompt(doc, shots, use_chat_template=True)),
        "chat_system": turns(build_prompt(doc, shots, system_prompt="Be brief.", use_chat_template=True)),
        "sorting_classes": [docs[number].golds[0] for number in sorted(docs)],
    }
    return made == {name: record[name] for name in made}


def turns(prompt: Any) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in prompt]


def test_the_file_of_words_has_every_word_of_the_reference() -> None:
    literals = json.loads(Path(SHARED / "reference" / "translation_literals.json").read_text("utf-8"))
    known = {code: entry for code, entry in literals.items() if "english_name" in entry}

    assert set(known) | {"slv"} == set(language_codes())
    for code, entry in known.items():
        assert {name: getattr(words_of(code), name) for name in WORDS} == {name: entry[name] for name in WORDS}, code
