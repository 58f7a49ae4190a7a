"""Compared runs as a page: the runs side by side, their verdicts and their flips."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_lighteval.commands.compared_run import Compared, ComparedRun
from pytest_lighteval.reports.groups import group_results
from pytest_lighteval.reports.json_report import results_json
from pytest_lighteval.reports.page.data import PageComparison, PageData, PageDocument, PageRun, PageTask
from pytest_lighteval.reports.page.stored_run import page_flips, stored_tasks
from pytest_lighteval.reports.rows import ordered_keys


def comparison_page(reference: ComparedRun, compared: Sequence[Compared], *, only_flips: bool = False) -> PageData:
    """The page. Runs that keep texts have their documents in it.

    Args:
        reference: what the others are compared with.
        compared: the others, with their verdicts.
        only_flips: documents that flipped in no run are left out, so that the page stays small.
    """
    flipped: dict[str, set[str]] = {}
    for one in compared:
        for key, metrics in one.flips.items():
            flipped.setdefault(key, set()).update(entry.flip.id for flips in metrics.values() for entry in flips)
    chosen = flipped if only_flips else None
    names = _names([reference, *(one.run for one in compared)])
    runs = [
        _run(reference, names[0], None, chosen),
        *(_run(one.run, name, one, chosen) for one, name in zip(compared, names[1:], strict=True)),
    ]
    comparisons = [
        PageComparison(
            candidate=number,
            reference=0,
            label=names[0],
            verdicts=runs[number].results["verdicts"],
            flips=page_flips(one.flips),
        )
        for number, one in enumerate(compared, start=1)
    ]
    notes = [*reference.notes, *(notice for one in compared for notice in one.judged.notices)]
    if only_flips:
        notes.append("only documents that flipped are in this page: its plots show them alone")
    order = [*range(1, len(runs)), 0] if len(compared) == 1 else [*range(len(runs))]
    places = {number: place for place, number in enumerate(order)}
    return PageData(
        title=" and ".join(names) if len(names) == 2 else f"{len(names)} runs",
        runs=tuple(runs[number] for number in order),
        comparisons=tuple(
            PageComparison(
                candidate=places[entry.candidate],
                reference=places[0],
                label=entry.label,
                verdicts=entry.verdicts,
                flips=entry.flips,
            )
            for entry in comparisons
        ),
        notes=tuple(dict.fromkeys(notes)),
    )


def _names(runs: Sequence[ComparedRun]) -> list[str]:
    """The models, where they are known and all different; otherwise the names of the folders and files, or the whole paths."""
    paths = [run.name for run in runs]
    for names in ([run.model or run.name for run in runs], [Path(path).name for path in paths]):
        if len(set(names)) == len(names) and all(names):
            return names
    return paths


def _run(run: ComparedRun, name: str, compared: Compared | None, flipped: Mapping[str, Collection[str]] | None) -> PageRun:
    results: Mapping[str, Any]
    if compared is not None:
        results = json.loads(results_json(compared.judged.report))
    elif run.recorded is not None:
        report = run.recorded.report  # the file keeps no averages, which follow from its results
        results = json.loads(results_json(replace(report, groups=group_results(report.results))))
    else:
        tasks = [run.baselines.find(key) for key in run.baselines.keys]
        metrics = {
            str(task.key): {
                metric: {"value": of.value, "stderr": of.stderr, "n": of.n, "higher_is_better": of.higher_is_better}
                for metric, of in task.metrics.items()
            }
            for task in tasks
            if task is not None
        }
        results = {"metrics": metrics, "verdicts": {}}
    if run.recorded is None:
        return PageRun(name=name, results=results)
    stored = stored_tasks([Path(run.name)], ordered_keys(map(str, run.baselines.keys)))
    if flipped is None:
        return PageRun(name=name, results=results, tasks=stored)
    kept = [
        PageTask(key=task.key, documents=_Chosen(task, flipped[task.key]), is_partial=task.is_partial)
        for task in stored
        if task.key in flipped
    ]
    return PageRun(name=name, results=results, tasks=tuple(kept))


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Some documents of a task, read anew by each loop."""

    task: PageTask
    ids: Collection[str]

    def __iter__(self) -> Iterator[PageDocument]:
        return (document for document in self.task.documents if document.id in self.ids)
