"""The recorded runs of Lighteval v0.9.2: which task, which rows, what was asked, and what the real model answered."""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_lighteval.errors import DataError, UserInputError, did_you_mean
from pytest_lighteval.reports.json_report import LIGHTEVAL_NAMES
from pytest_lighteval.tasks.suite_file import load_suite
from pytest_lighteval.types import SampleValue, Task

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("LIGHTEVAL_SHARED", ROOT / "../shared")).resolve()
"""The reference material, which is not part of the repository."""
RUNS = SHARED / "golden" / "e2e"
PROMPTS = SHARED / "golden" / "prompts"
SUITES = ROOT / "suites"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRun:
    """One run, and how to repeat it."""

    name: str
    task: Task
    """As the suites declare it, but with the rows of the recording and the run's own limit of new tokens."""
    few_shots: int
    truncate: bool
    max_length: int
    documents: tuple[Mapping[str, Any], ...]
    """In the order of evaluation; the fields are those of the recording."""
    results: Mapping[str, float]
    """By recorded name, with `<name>_stderr`."""

    @property
    def spec(self) -> str:
        """`suite|task|few_shots|truncate`."""
        return f"{self.task.id}|{self.few_shots}|{int(self.truncate)}"

    @property
    def samples(self) -> Mapping[str, tuple[str, ...]]:
        """Context -> the texts that were sampled for it."""
        return {
            document["context"]: tuple(request["generated_text"])
            for document in self.documents
            for request in document["requests"]
            if request.get("do_sample")
        }

    def value(self, document: Mapping[str, Any], reported: str) -> SampleValue:
        """The value of the reference's metric for this document, in our form."""
        recorded = document["metrics"][recorded_name(reported)]
        if isinstance(recorded, list) and all(isinstance(one, bool) for one in recorded):
            return (sum(recorded), len(recorded))  # IFEval's instructions
        if isinstance(recorded, dict):
            return (recorded["logprobs"], recorded["weights"])
        return float(recorded[0] if isinstance(recorded, list) else recorded)


def recorded_name(reported: str) -> str:
    """The reference's name of a reported number."""
    return LIGHTEVAL_NAMES.get(reported, reported)


def run_names() -> list[str]:
    """All recorded runs, sorted. Raises DataError if there are none."""
    names = sorted(path.stem for path in RUNS.glob("*.jsonl"))
    if not names:
        raise DataError(f"no recorded runs in {RUNS}; LIGHTEVAL_SHARED names the folder that holds golden/e2e")
    return names


def read_run(name: str, folder: Path) -> RecordedRun:
    """The run, with its rows written to `folder` as the data files of its task.

    Raises UserInputError for a name that is not recorded or whose task is not declared.
    """
    known = run_names()
    if name not in known:
        raise UserInputError(f"there is no recorded run {name!r}{did_you_mean(name, known)}")
    summary = json.loads((RUNS / "summary.json").read_text("utf-8"))[name]
    suite, task_name, few_shots, truncate = summary["spec"].split("|")
    task = declared_task(suite, task_name)
    files = _write_rows(name, folder)
    task = replace(task, hf_repo=None, hf_subset=None, data_files=files, path=folder / f"{name}.yaml")
    if summary["generation_size_used"] != summary["generation_size_task"]:
        task = replace(task, generation_size=summary["generation_size_used"])
    return RecordedRun(
        name=name,
        task=task,
        few_shots=int(few_shots),
        truncate=truncate == "1",
        max_length=summary["max_length"],
        documents=tuple(_read_lines(RUNS / f"{name}.jsonl")),
        results=summary["results"],
    )


def declared_task(suite: str, name: str) -> Task:
    """The task as `suites/` declares it. Raises UserInputError if it does not."""
    for path in sorted((SUITES / suite).glob("*.yaml")):
        for task in load_suite(path):
            if name in (task.name, *task.aliases):
                return task
    raise UserInputError(f"{suite}|{name} is not declared in {SUITES}")


def count_undeclared() -> tuple[int, int]:
    """How many tasks with recorded prompts are not declared in `suites/`, and of how many."""
    recorded = set()
    for path in PROMPTS.glob("*.jsonl"):
        for record in _read_lines(path):
            recorded |= {f"{record['suite']}|{record['task']}", *record["registered_as"]}
    declared = {
        f"{task.suite}|{name}" for path in SUITES.glob("*/*.yaml") for task in load_suite(path) for name in (task.name, *task.aliases)
    }
    return len(recorded - declared), len(recorded)


def count_skipped() -> Counter[str]:
    """Declared tasks that cannot be scored, by reason."""
    return Counter(task.skip for path in SUITES.glob("*/*.yaml") for task in load_suite(path) if task.skip)


def _write_rows(name: str, folder: Path) -> dict[str, str]:
    rows: defaultdict[str, list[str]] = defaultdict(list)
    for line in _read_lines(RUNS / "data" / f"{name}.jsonl"):
        rows[line["split"]].append(json.dumps(line["row"], ensure_ascii=False) + "\n")
    files = {}
    for split, lines in rows.items():
        files[split] = f"{name}.{split}.jsonl"
        (folder / files[split]).write_text("".join(lines), "utf-8")
    return files


def _read_lines(path: Path) -> Sequence[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
