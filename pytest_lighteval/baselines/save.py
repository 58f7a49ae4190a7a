"""From a run to a baseline, and into its file: a refresh that would lower a demand needs a reason."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_lighteval.baselines.file_format import render_baseline
from pytest_lighteval.baselines.model import Baseline, BaselineMetric, BaselineTask, HistoryEntry, Provenance
from pytest_lighteval.baselines.read import read_baseline, read_baselines
from pytest_lighteval.baselines.repeats import merge_runs
from pytest_lighteval.common.file_names import file_name
from pytest_lighteval.common.files import write_atomic
from pytest_lighteval.errors import UserInputError
from pytest_lighteval.types import RunReport, SampleValue, TaskKey, TaskResult

_TIE = 1e-12
_WORD = re.compile(r"[\w.+:() -]{1,80}")
_HARDWARE = ("device", "device_name", "devices", "gpu", "gpus", "threads")
"""Keys of a backend's description that are about the class of machine."""


# ------------------------------------------------------------------------------------------------ from a run


def baseline_of(report: RunReport, *, data_revisions: Mapping[TaskKey, str] | None = None) -> Baseline:
    """The tasks of a run that have a score of all their documents, with what measured them and their repeats.

    A task that stopped early is left out.

    Args:
        report: the run.
        data_revisions: the requested revisions of data sets.
    """
    provenance = provenance_of(backend=report.backend, environment=report.environment, settings=report.settings)
    revisions = data_revisions or {}
    tasks: dict[TaskKey, BaselineTask] = {}
    for result in report.results:
        if not result.num_saved:
            revision = revisions.get(result.key)
            runs = [baseline_task(run, provenance, data_revision=revision) for run in (result, *report.repeats.get(str(result.key), ()))]
            tasks |= merge_runs([Baseline(tasks={run.key: run}) for run in runs]).tasks
    return Baseline(tasks=tasks)


def baseline_task(result: TaskResult, provenance: Provenance, *, data_revision: str | None = None) -> BaselineTask:
    """One task's result as a baseline of one repeat."""
    return BaselineTask(
        key=result.key,
        version=result.version,
        metrics={
            name: BaselineMetric(value=number.value, stderr=number.stderr, n=number.n, higher_is_better=number.higher_is_better)
            for name, number in result.metrics.items()
        },
        ids=tuple(document.id for document in result.documents),
        few_shot_seeds=tuple(document.few_shot_seed for document in result.documents),
        prompt_digests=tuple(document.prompt_digest for document in result.documents),
        scores={name: tuple((_score(document.values.get(name)),) for document in result.documents) for name in result.metrics},
        repeats=1,
        dataset_fingerprint=result.dataset_fingerprint,
        data_revision=data_revision,
        effective_few_shots=result.effective_few_shots,
        num_truncated=result.num_truncated,
        cut_share=result.num_cut / result.num_texts if result.num_texts else None,
        max_samples=result.max_samples,
        provenance=(provenance,),
    )


def _score(value: SampleValue | None) -> SampleValue | None:
    # a metric may give 1 or True for 1.0; the file must be the same whichever it was
    return value if value is None or isinstance(value, tuple) else float(value)


def provenance_of(*, backend: Mapping[str, Any], environment: Mapping[str, Any], settings: Mapping[str, Any]) -> Provenance:
    """The part of a run's description that names no person, host, path or time.

    A text that could be a path (it has a slash) is left out. The device is named without its number: `cuda`, not `cuda:0`.
    """
    packages = {**_mapping(environment.get("packages")), **_mapping(backend.get("versions"))}
    hardware = {name: environment.get(name) for name in ("platform", "processors")} | {name: backend.get(name) for name in _HARDWARE}
    if isinstance(device := hardware["device"], str):
        hardware["device"] = device.partition(":")[0]
    return Provenance(
        backend=_word(backend.get("name")),
        model_fingerprint=_word(backend.get("fingerprint")),
        dtype=_word(backend.get("dtype")),
        python=_word(environment.get("python")),
        packages={name: version for name, version in packages.items() if isinstance(version, str) and _word(version)},
        hardware={name: fact for name, fact in hardware.items() if fact is not None and (type(fact) is int or _word(fact))},
        settings=describe_settings(settings),
    )


def describe_settings(settings: Mapping[str, Any]) -> dict[str, str | int | None]:
    """The run's options that change the prompts of every task, as a baseline keeps them: the system prompt as a digest."""
    system_prompt = settings.get("system_prompt")
    seeds = settings.get("few_shot_seeds")
    facts: dict[str, str | int | None] = {}
    if "use_chat_template" in settings:
        facts["use_chat_template"] = int(bool(settings["use_chat_template"]))
    if type(seeds) is int:
        facts["few_shot_seeds"] = seeds
    if "system_prompt" in settings:
        facts["system_prompt"] = None if system_prompt is None else hashlib.sha256(str(system_prompt).encode()).hexdigest()[:12]
    return facts


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) and _WORD.fullmatch(value) else None


# ----------------------------------------------------------------------------------------------- into its file


@dataclass(frozen=True, slots=True, kw_only=True)
class Refresh:
    """What changed in a baseline file, for the terminal."""

    added: tuple[TaskKey, ...]
    replaced: tuple[TaskKey, ...]
    kept: tuple[TaskKey, ...]
    """Tasks of the file that the run did not measure."""
    worse: tuple[str, ...]
    """Where the new baseline demands less than the old one, one line each; the reason covers all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A baseline file, ready to be written."""

    path: Path
    text: str
    refresh: Refresh

    def write(self) -> Refresh:
        """Write the file atomically. Raises OSError."""
        write_atomic(self.path, self.text)
        return self.refresh


def write_baseline(path: Path, baseline: Baseline, *, reason: str | None = None, date: str | None = None) -> Refresh:
    """`prepare_baseline` and write. Raises UserInputError, OSError."""
    return prepare_baseline(path, baseline, reason=reason, date=date).write()


def prepare_baseline(
    path: Path, baseline: Baseline, *, reason: str | None = None, date: str | None = None, is_repeat: bool = False
) -> Prepared:
    """The new content of the file: tasks of this run replace those of the file; all other tasks and the history stay.

    Args:
        path: the file; it and its folder are created if they do not exist.
        baseline: of this run.
        reason: why the new scores are right, kept in the file's history with the scores that it lowered. None or blank: no reason.
        date: ISO 8601, kept with the reason.
        is_repeat: the run's tasks are further repeats of those in the file, not a refresh: they need no reason.

    Raises:
        UserInputError: there is no reason, and the new baseline would demand less than the file (a score that is worse in its own
            direction, a metric that is gone, fewer documents or repeats); a repeat is of another measurement; the run has no scores; the
            path is a folder; the existing file is damaged.
    """
    if not baseline.tasks:
        raise UserInputError(f"--save-baseline {path}: no task has a score, so there is nothing to save")
    if path.is_dir():
        raise UserInputError(f"--save-baseline {path}: is a folder; name a file in it, such as {path / 'baseline.json'}")
    old = read_baseline(path) if path.exists() else Baseline(tasks={})
    added = tuple(sorted(baseline.tasks.keys() - old.tasks.keys()))
    if is_repeat:
        repeated = {key: task for key, task in old.tasks.items() if key in baseline.tasks}
        baseline = merge_runs([Baseline(tasks=repeated), baseline])
    worsened = {key: _worsened(old.tasks[key], task) for key, task in baseline.tasks.items() if key in old.tasks and not is_repeat}
    worse = tuple(
        line for key in sorted(worsened) for line in (*_lines(key, worsened[key]), *_weakened(old.tasks[key], baseline.tasks[key]))
    )
    reason = (reason or "").strip()
    if worse and not reason:
        more = "" if len(worse) == 1 else f", and {len(worse) - 1} more"
        raise UserInputError(
            f"--save-baseline {path}: would demand less than the file does: {worse[0]}{more}; "
            'if that is right, say why with --baseline-reason "..."'
        )
    history = old.history
    if reason:
        lowered = {str(key): metrics for key, metrics in worsened.items() if metrics}
        history = (*history, HistoryEntry(reason=reason, date=date, worsened=lowered))
    refresh = Refresh(
        added=added,
        replaced=tuple(sorted(baseline.tasks.keys() & old.tasks.keys())),
        kept=tuple(sorted(old.tasks.keys() - baseline.tasks.keys())),
        worse=worse,
    )
    refreshed = Baseline(tasks={**old.tasks, **baseline.tasks}, history=history, is_complete=old.is_complete)
    return Prepared(path=path, text=render_baseline(refreshed), refresh=refresh)


def _worsened(old: BaselineTask, new: BaselineTask) -> dict[str, tuple[float, float]]:
    """Metrics whose score is worse than before, in the direction of the old baseline."""
    found = {}
    for name, before in old.metrics.items():
        after = new.metrics.get(name)
        if after is None or math.isnan(before.value) or after.value == before.value:
            continue
        loss = before.value - after.value if before.higher_is_better else after.value - before.value
        # `not ... <=`: a score that became not-a-number is worse
        if not loss <= _TIE * max(abs(before.value), abs(after.value)):
            found[name] = (before.value, after.value)
    return found


def _lines(key: TaskKey, worsened: Mapping[str, tuple[float, float]]) -> list[str]:
    return [f"{key}: {name} {before:.4f} -> {after:.4f}" for name, (before, after) in worsened.items()]


def _weakened(old: BaselineTask, new: BaselineTask) -> list[str]:
    gone = [f"{old.key}: {name} is not reported any more" for name in old.metrics if name not in new.metrics]
    if new.documents < old.documents:
        gone.append(f"{old.key}: {new.documents} documents instead of {old.documents}")
    if new.repeats < old.repeats:
        gone.append(f"{old.key}: {new.repeats} repeats of a document instead of {old.repeats}")
    return gone


# ------------------------------------------------------------------------------------- which file `--save-baseline` means


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveTarget:
    """The file or folder of `--save-baseline`, with the options that belong to it."""

    path: Path
    is_folder: bool
    """Tasks are refreshed in the file that has them; each new task gets a file of its own."""
    reason: str | None
    is_repeat: bool
    """The run is a further repeat of what is in the file."""

    @classmethod
    def parse(cls, text: str, *, folder: Path, reason: str | None = None, is_repeat: bool = False) -> SaveTarget:
        """A folder is written with a slash at its end, or exists already.

        Existing files are read, so that a damaged one is reported before anything is evaluated. Raises UserInputError.
        """
        path = folder / text
        if text.endswith("/") and path.exists() and not path.is_dir():
            raise UserInputError(f"--save-baseline {text}: is a file; write it without the slash")
        is_folder = text.endswith("/") or path.is_dir()
        if path.is_file():
            read_baseline(path)
        elif any(path.glob("*.json")):
            read_baselines([path])
        return cls(path=path, is_folder=is_folder, reason=reason, is_repeat=is_repeat)

    def save(self, baseline: Baseline, *, date: str | None = None) -> dict[Path, Refresh]:
        """Write all files; none if one of them is refused. Raises UserInputError as `prepare_baseline`, and OSError."""
        prepared = [
            prepare_baseline(path, part, reason=self.reason, date=date, is_repeat=self.is_repeat)
            for path, part in self._parts(baseline).items()
        ]
        return {file.path: file.write() for file in prepared}

    def _parts(self, baseline: Baseline) -> Mapping[Path, Baseline]:
        if not self.is_folder or not baseline.tasks:
            return {self.path: baseline}
        held: dict[TaskKey, Path] = {}
        if any(self.path.glob("*.json")):
            (files,) = read_baselines([self.path]).places
            held = {key: file.path for file in files for key in file.baseline.tasks}
        parts: dict[Path, Baseline] = {}
        for key, task in sorted(baseline.tasks.items()):
            path = held.get(key, self.path / _file_name(key))
            parts[path] = Baseline(tasks={**(parts[path].tasks if path in parts else {}), key: task})
        return parts


def _file_name(key: TaskKey) -> str:
    suite = file_name(key.suite).replace(".", "%3A")  # suite `a:b` with task `c` is not suite `a` with task `b:c`
    return f"{suite}.{file_name(key.task)}.{key.few_shots}-shot{'.trunc' * key.truncate}.json"
