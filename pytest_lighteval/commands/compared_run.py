"""What `compare` takes: run folders, baseline files and samples of lm-evaluation-harness, each as either side of a comparison."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_lighteval.baselines.importers.lm_eval import lm_eval_baseline
from pytest_lighteval.baselines.model import BaselineTask
from pytest_lighteval.baselines.read import BaselineFile, Baselines, read_baselines
from pytest_lighteval.commands.joined_runs import JoinedRuns
from pytest_lighteval.commands.judged_runs import JudgedRuns
from pytest_lighteval.errors import UserInputError
from pytest_lighteval.gates.missing_tasks import DeclaredSuites
from pytest_lighteval.gates.run_baselines import baseline_of_run
from pytest_lighteval.reports.answers import StoredAnswer, read_answers
from pytest_lighteval.reports.flips import ExplainedFlip
from pytest_lighteval.reports.recorded_run import RecordedRun, check_one_run, is_run_folder, read_run
from pytest_lighteval.reports.rows import model_name
from pytest_lighteval.tasks.catalogue import Catalogue
from pytest_lighteval.tasks.task_spec import TaskSpec
from pytest_lighteval.types import DocumentScore, MetricResult, RunReport, Task, TaskKey, TaskResult


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedRun:
    """One of the runs that are compared."""

    name: str
    """The path, as the user wrote it."""
    baselines: Baselines
    """What it measured, as the side that others are compared with."""
    recorded: RecordedRun | None = None
    """None: a file that keeps scores alone."""
    notes: tuple[str, ...] = ()
    """What of it cannot be compared, one line each."""

    @property
    def model(self) -> str | None:
        """The model that it measured. None: it does not say."""
        return None if self.recorded is None else model_name(self.recorded.report)

    def answers(self, key: TaskKey, ids: Sequence[str]) -> Mapping[str, StoredAnswer]:
        """What its model answered to these documents. Empty: it keeps no texts. Raises DataError for damaged details."""
        return {} if self.recorded is None else read_answers(Path(self.name), key, ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One run with its verdicts against the reference."""

    run: ComparedRun
    judged: JudgedRuns
    flips: Mapping[str, Mapping[str, tuple[ExplainedFlip, ...]]]
    """Task -> metric -> the documents that flipped, and why."""
    absent: tuple[TaskKey, ...]
    """Tasks of the reference that the run does not have."""

    def fails(self, on: str) -> bool:
        """Whether `--fail-on` says so."""
        if on == "red":
            return self.judged.is_red
        verdicts = [verdict for of_key in self.judged.report.verdicts.values() for verdict in of_key]
        return on == "regressed" and any(
            verdict.outcome == "failed" and verdict.paired is not None and verdict.paired.red and verdict.paired.outcome == "REGRESSED"
            for verdict in verdicts
        )


def read_compared(name: str) -> ComparedRun:
    """The run of that path. Raises LightevalError: it is not there, is damaged, or is none of what can be compared."""
    path = Path(name)
    if path.name == "results.json" and is_run_folder(path.parent):
        path = path.parent
    if path.is_dir() and is_run_folder(path):
        recorded = read_run(path)
        file = baseline_of_run(path, recorded)
        notes = () if file.note is None else (f"{name}: {file.note}",)
        return ComparedRun(name=str(path), baselines=Baselines(places=((file,),)), recorded=recorded, notes=notes)
    if path.is_dir():
        check_one_run(path)
        return ComparedRun(name=name, baselines=read_baselines([path]))
    if not path.exists():
        raise UserInputError(f"{name}: there is no such file or folder")
    results = _harness_results(path)
    if results is None:
        return ComparedRun(name=name, baselines=read_baselines([path]))
    imported = lm_eval_baseline(results, samples=[path] if path.suffix == ".jsonl" else None)
    place = (BaselineFile(path=path, baseline=imported.baseline),)
    return ComparedRun(
        name=name,
        baselines=Baselines(places=(place,)),
        notes=tuple(f"{name}: not compared: {line}" for line in imported.unmapped),
    )


def _harness_results(path: Path) -> Path | None:
    """The results file of lm-evaluation-harness that a file is or belongs to. None: it is no file of the harness."""
    if path.suffix == ".jsonl":
        fitting = [file for file in path.parent.glob("results_*.json") if path.stem.endswith(file.stem.removeprefix("results"))]
        if not path.name.startswith("samples_") or not fitting:
            raise UserInputError(f"{path}: no results_<date>.json lies beside it; lm-eval writes both with --log_samples")
        return max(fitting, key=lambda file: len(file.name))
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None  # reading it as a baseline says what is wrong
    return path if isinstance(content, dict) and "format" not in content and isinstance(content.get("results"), dict) else None


def as_candidate(run: ComparedRun, reference: ComparedRun, catalogue: Catalogue) -> JoinedRuns:
    """A run as the side that is judged against a reference.

    Raises UserInputError: the two have no task in common, or no suite declares a task of a file.
    """
    common = set(run.baselines.keys) & set(reference.baselines.keys)
    if not common:
        has = [f"{side.name} has {_first(side.baselines.keys)}" for side in (reference, run)]
        raise UserInputError(f"no task is in both: {', and '.join(has)}")
    if run.recorded is not None:
        recorded = run.recorded
        return JoinedRuns(
            report=replace(recorded.report, errors=dict(recorded.report.errors)),
            items=recorded.items,
            suites=DeclaredSuites(),
            options=recorded.options,
            digests=recorded.digests,
            notes=(*run.notes, *_early_notes(recorded.report)),
        )
    known = {} if reference.recorded is None else dict(reference.recorded.items)
    items = tuple((key, known.get(key) or _declared(key, run, catalogue)) for key in run.baselines.keys)
    measured = {} if reference.recorded is None else {result.key: result for result in reference.recorded.report.results}
    results = tuple(_result(key, run, reference, measured.get(key)) for key, _ in items)
    report = RunReport(
        run_id=run.name, started="", seconds=0.0, backend={}, settings={}, environment={}, results=results, groups={}, verdicts={},
        errors={}, skipped={},
    )  # fmt: skip
    notes = [*run.notes]
    if reference.recorded is None:
        notes.append("neither side knows which documents belong together, such as questions on one passage: each counts alone")
    return JoinedRuns(report=report, items=items, suites=DeclaredSuites(), options={}, digests={}, notes=tuple(notes))


def comparable(reference: ComparedRun, run: ComparedRun) -> Baselines:
    """The reference's baselines for this candidate: without prompts, where the candidate does not know its own."""
    without = {key for key in run.baselines.keys if (task := run.baselines.find(key)) is not None and task.prompt_digests is None}
    if not without:
        return reference.baselines

    def stripped(file: BaselineFile) -> BaselineFile:
        tasks = {key: replace(task, prompt_digests=None) if key in without else task for key, task in file.baseline.tasks.items()}
        return replace(file, baseline=replace(file.baseline, tasks=tasks))

    return Baselines(places=tuple(tuple(map(stripped, place)) for place in reference.baselines.places))


def _early_notes(report: RunReport) -> list[str]:
    stopped = [str(result.key) for result in report.results if result.num_saved]
    if not stopped:
        return []
    return [f"stopped early by its own session, so that its p-values here are too small: {', '.join(stopped)}"]


def _first(keys: Sequence[TaskKey]) -> str:
    return ", ".join(map(str, keys[:3])) + (", ..." if len(keys) > 3 else "")


def _declared(key: TaskKey, run: ComparedRun, catalogue: Catalogue) -> Task:
    spec = TaskSpec(suite=key.suite, task=key.task, few_shots=key.few_shots)
    try:
        (selected,) = (chosen for chosens in catalogue.select([spec]).values() for chosen in chosens)
    except (UserInputError, ValueError) as error:
        problem = "no suite declares it; --custom-tasks DIR names a folder of suites, and a run folder keeps its tasks"
        raise UserInputError(f"{run.name}: {key}: {problem}") from error
    return selected.task


def _result(key: TaskKey, run: ComparedRun, reference: ComparedRun, measured: TaskResult | None) -> TaskResult:
    """A file's scores as a result: of several repeats the first. What the file does not say is as in the reference."""
    task, other = run.baselines.find(key), reference.baselines.find(key)
    assert task is not None
    clusters = {} if measured is None else {document.id: document.cluster for document in measured.documents}
    documents = tuple(
        DocumentScore(
            id=name,
            prompt_digest="" if task.prompt_digests is None else task.prompt_digests[row],
            values={metric: rows[row][0] for metric, rows in task.scores.items()},
            few_shot_seed=task.few_shot_seeds[row],
            cluster=clusters.get(name),
            soft={metric: rows[row][0] for metric, rows in task.soft.items()},
        )
        for row, name in enumerate(task.ids)
    )
    texts = 0 if task.cut_share is None else len(task.ids)
    return TaskResult(
        key=key,
        version=_first_known(task.version, other and other.version, 0),
        metrics={
            name: MetricResult(value=number.value, stderr=number.stderr, n=number.n, higher_is_better=number.higher_is_better)
            for name, number in task.metrics.items()
        },
        documents=documents,
        dataset_fingerprint=_first_known(task.dataset_fingerprint, other and other.dataset_fingerprint, ""),
        row_sources={} if measured is None else measured.row_sources,
        prompt_digest="",
        effective_few_shots=_first_known(task.effective_few_shots, float(key.few_shots)),
        num_truncated=task.num_truncated,
        num_cut=round((task.cut_share or 0.0) * texts),
        num_texts=texts,
        max_samples=task.max_samples,
        notes=_repeat_note(task),
        language=None if measured is None else measured.language,
    )


def _repeat_note(task: BaselineTask) -> tuple[str, ...]:
    return (f"the first of its {task.repeats} repeats is judged",) if task.repeats > 1 else ()


def _first_known(*values: Any) -> Any:
    return next(value for value in values if value is not None)
