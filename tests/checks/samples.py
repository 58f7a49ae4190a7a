"""Small benchmarks, each with one thing wrong, and what the linter says of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_lighteval.checks.check import check_task
from pytest_lighteval.types import Finding, PromptTemplate, Task, TaskCheck

Rows = Sequence[Mapping[str, Any]]


def written(folder: Path, rows: Rows, *, metric: str = "exact_match", pool: Rows | None = None, **fields: Any) -> Task:
    """A task whose answers are written: `q` is asked and `a` is right, a text or a list of accepted ones."""
    prompt = PromptTemplate(query="Q: {{ q }}\nA:", choices=("{{ a }}",))
    return _task(folder, rows, pool, **{"prompt": prompt, "metrics": (metric,), **fields})


def choosing(folder: Path, rows: Rows, *, metric: str = "loglikelihood_acc", pool: Rows | None = None, **fields: Any) -> Task:
    """A task whose choices are compared: `q` is asked, and `c[g]` is right."""
    prompt = PromptTemplate(query="Q: {{ q }}\nA:", choices="{{ c }}", gold="{{ g }}")
    return _task(folder, rows, pool, **{"prompt": prompt, "metrics": (metric,), **fields})


def _task(folder: Path, rows: Rows, pool: Rows | None, **fields: Any) -> Task:
    splits = {"test": rows} | ({"train": pool} if pool is not None else {})
    for split, lines in splits.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines), "utf-8")
    return Task(
        **{
            "suite": "s",
            "name": "t",
            "path": folder / "s.yaml",
            "line": 1,
            "data_files": {split: f"{split}.jsonl" for split in splits},
            "hf_avail_splits": tuple(splits),
            "evaluation_splits": ("test",),
            "few_shots_select": "sequential",
            **fields,
        }
    )


def found(task: Task, *, few_shots: Sequence[int] = (0,), forms: bool = False, **options: Any) -> dict[str, Finding]:
    """Kind -> finding, of a task in which no kind occurs twice. `forms`: with the note about other forms, which most written tasks have."""
    findings = faults(check_task(task, few_shots=few_shots, **options), forms=forms)
    kinds = [finding.kind for finding in findings]
    assert len(kinds) == len(set(kinds)), kinds
    return {finding.kind: finding for finding in findings}


def faults(check: TaskCheck, *, forms: bool = False) -> tuple[Finding, ...]:
    """The findings, without the note about other forms of the gold."""
    return tuple(finding for finding in check.findings if forms or finding.kind != "form-marked-wrong")
