"""From a run to a baseline, and into its file: a refresh that changes what is demanded needs a reason."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
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
            runs = [baseline_task(run, provenance, data_revision=revision) for run in report.runs_of(result)]
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
        soft={
            name: tuple((document.soft[name],) for document in result.documents)
            for name in result.metrics
            if all(name in document.soft for document in result.documents)
        },
        repeats=1,
        dataset_fingerprint=result.dataset_fingerprint,
        data_revision=data_revision,
        effective_few_shots=result.effective_few_shots,
        num_truncated=result.num_truncated,
        grader=result.grader,
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

MOST_REPEATS = 8
"""Of a document, that merging may gather: more would hardly sharpen a gate, and could pull a baseline far in small steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A way in which a run is not what the file holds: a score that changed by more than chance, or another measurement."""

    text: str
    """One line."""
    key: TaskKey | None = None
    """None: it is about all tasks together."""
    metric: str | None = None
    """None: it is about the whole task."""


Pairs = Mapping[TaskKey, tuple[BaselineTask, BaselineTask]]
"""Of each task that is measured again: what the file holds, and what the run measured."""
FindDifferences = Callable[[Pairs], Sequence[Difference]]


def changed_values(pairs: Pairs) -> list[Difference]:
    """Every score that is another number than before, by more than rounding: the rule where nothing can say what chance does."""
    found = []
    for key, (old, new) in sorted(pairs.items()):
        for name in old.metrics.keys() & new.metrics.keys():
            before, after = old.metrics[name].value, new.metrics[name].value
            if not math.isclose(before, after, rel_tol=_TIE, abs_tol=0) and not (math.isnan(before) and math.isnan(after)):
                found.append(Difference(key=key, metric=name, text=f"{key}: {name} {before:.4f} -> {after:.4f}"))
    return sorted(found, key=lambda difference: difference.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refresh:
    """What changed in a baseline file, for the terminal."""

    added: tuple[TaskKey, ...]
    replaced: tuple[TaskKey, ...]
    kept: tuple[TaskKey, ...]
    """Tasks of the file that the run did not measure."""
    changes: tuple[str, ...]
    """What is demanded otherwise than before, one line each; the reason covers all of them."""


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


def write_baseline(
    path: Path, baseline: Baseline, *, reason: str | None = None, date: str | None = None, differences: FindDifferences = changed_values
) -> Refresh:
    """Refresh one file: as `SaveTarget.save`. Raises UserInputError, OSError."""
    if path.is_dir():
        raise UserInputError(f"--save-baseline {path}: is a folder; name a file in it, such as {path / 'baseline.json'}")
    reason = (reason or "").strip() or None
    return SaveTarget(path=path, is_folder=False, reason=reason).save(baseline, date=date, differences=differences)[path]


def _held(path: Path) -> Baseline:
    return read_baseline(path) if path.exists() else Baseline(tasks={})


def _prepare(path: Path, old: Baseline, new: Baseline, *, changes: Sequence[Difference], reason: str | None, date: str | None) -> Prepared:
    """The new content of a file: `new` replaces the tasks that it has; all other tasks and the history stay."""
    history = old.history
    if reason is not None:
        changed: dict[str, dict[str, tuple[float, float]]] = {}
        for change in changes:
            if change.key is not None and change.metric is not None:
                before, after = (tasks.tasks[change.key].metrics[change.metric].value for tasks in (old, new))
                changed.setdefault(str(change.key), {})[change.metric] = (before, after)
        history = (*history, HistoryEntry(reason=reason, date=date, changed=changed))
    refresh = Refresh(
        added=tuple(sorted(new.tasks.keys() - old.tasks.keys())),
        replaced=tuple(sorted(new.tasks.keys() & old.tasks.keys())),
        kept=tuple(sorted(old.tasks.keys() - new.tasks.keys())),
        changes=tuple(change.text for change in changes),
    )
    refreshed = Baseline(tasks={**old.tasks, **new.tasks}, history=history, is_complete=old.is_complete)
    return Prepared(path=path, text=render_baseline(refreshed), refresh=refresh)


def _weakened(pairs: Pairs) -> Iterator[Difference]:
    """Where the new baseline would promise less, whatever the scores are."""
    for key, (old, new) in sorted(pairs.items()):
        for name in old.metrics:
            if name not in new.metrics:
                yield Difference(key=key, text=f"{key}: {name} is not reported any more")
        if new.documents < old.documents:
            yield Difference(key=key, text=f"{key}: {new.documents} documents instead of {old.documents}")
        if new.repeats < old.repeats:
            yield Difference(key=key, text=f"{key}: {new.repeats} repeats of a document instead of {old.repeats}")


def _and_more(lines: Sequence[str]) -> str:
    return lines[0] if len(lines) == 1 else f"{lines[0]}, and {len(lines) - 1} more"


# ------------------------------------------------------------------------------------- which file `--save-baseline` means


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveTarget:
    """The file or folder of `--save-baseline`, with the options that belong to it."""

    path: Path
    is_folder: bool
    """Tasks are refreshed in the file that has them; each new task gets a file of its own."""
    reason: str | None = None
    is_repeat: bool = False
    """The run is a further repeat of what is in the file."""
    is_pinned: bool = False
    """It is the file of `--baseline-pinned`, which only `--baseline-repin` writes, and always with a reason."""

    @property
    def option(self) -> str:
        """The option with its path, as messages name it."""
        return f"--baseline-repin: {self.path}" if self.is_pinned else f"--save-baseline {self.path}"

    @classmethod
    def parse(cls, text: str, *, folder: Path, reason: str | None = None, is_repeat: bool = False, is_pinned: bool = False) -> SaveTarget:
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
        return cls(path=path, is_folder=is_folder, reason=(reason or "").strip() or None, is_repeat=is_repeat, is_pinned=is_pinned)

    def save(
        self,
        baseline: Baseline,
        *,
        differences: FindDifferences = changed_values,
        recalled: Mapping[TaskKey, int] | None = None,
        date: str | None = None,
    ) -> dict[Path, Refresh]:
        """Write all files; none if one of them is refused. Tasks of the run replace those of the files; all others stay.

        Args:
            baseline: of this run.
            differences: finds what is not as the files have it; each needs the reason.
            recalled: answers of a task that came from the cache. None: none did.
            date: ISO 8601, kept with the reason.

        Raises:
            UserInputError: there is no reason, and the run differs from the files, or would promise less (a metric that is gone, fewer
                documents or repeats); a repeat is of another measurement, differs, came from the cache, or is one too many; the run has no
                scores; an existing file is damaged.
            OSError: a file cannot be written.
        """
        if not baseline.tasks:
            raise UserInputError(f"{self.option}: no task has a score, so there is nothing to save")
        parts = self._parts(baseline)
        old = {path: _held(path) for path in parts}
        pairs = {
            key: (old[path].tasks[key], task) for path, part in parts.items() for key, task in part.tasks.items() if key in old[path].tasks
        }
        found = list(differences(pairs))
        if self.is_repeat:
            self._check_repeats(pairs, found, recalled or {})
            parts = {
                path: merge_runs([Baseline(tasks={key: task for key, task in old[path].tasks.items() if key in part.tasks}), part])
                for path, part in parts.items()
            }
            found = []
        else:
            found += _weakened(pairs)
        if found and self.reason is None:
            raise UserInputError(
                f"{self.option}: would change what the file demands: {_and_more([difference.text for difference in found])}; "
                'if that is right, say why with --baseline-reason "..."'
            )
        prepared = [
            _prepare(
                path,
                old[path],
                part,
                changes=[difference for difference in found if difference.key is None or difference.key in part.tasks],
                reason=self.reason,
                date=date,
            )
            for path, part in parts.items()
        ]
        return {file.path: file.write() for file in prepared}

    def _check_repeats(self, pairs: Pairs, found: Sequence[Difference], recalled: Mapping[TaskKey, int]) -> None:
        """Raise UserInputError unless all tasks of the run are new measurements that differ by chance alone."""
        merge_runs([Baseline(tasks={key: pair[side] for key, pair in pairs.items()}) for side in (0, 1)])
        anew = "--save-baseline without --baseline-merge"
        problems = [
            f"{key}: {recalled[key]} answers came from the cache, and are no new measurement: --no-cache asks the model"
            for key in sorted(pairs)
            if recalled.get(key)
        ]
        problems += [
            f"{key}: it would have {old.repeats + new.repeats} repeats, and {MOST_REPEATS} are the most; {anew} begins again"
            for key, (old, new) in sorted(pairs.items())
            if old.repeats + new.repeats > MOST_REPEATS
        ]
        problems += [f"{difference.text}: that is no repeat; {anew} replaces what is there" for difference in found]
        if problems:
            raise UserInputError(f"{self.option}: not merged: {_and_more(problems)}")

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
