"""Collects what the items of a session report, from every process, and makes the `RunReport` of it. Knows nothing of pytest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from pytest_lighteval.common.statistics import mean_of_runs
from pytest_lighteval.reports.serialize import attempt_from_plain, task_result_from_plain, to_plain, verdict_from_plain
from pytest_lighteval.types import Attempt, Calibration, MetricResult, RunReport, TaskKey, TaskResult, Verdict, results_that_count

REFERENCE = "reference"
"""Marks what the reference model did: `suite|task|5 (reference)` is the key of its error."""


@dataclass(slots=True)
class RunCollector:
    """The results of one session, keyed by `str` of their task.

    When an item is run again, its last attempt replaces one that ended without a verdict, and joins those that have one.
    """

    results: dict[str, TaskResult] = field(default_factory=dict)
    verdicts: dict[str, tuple[Verdict, ...]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    own_runs: dict[str, tuple[TaskResult, ...]] = field(default_factory=dict)
    """By node id of the test."""
    attempts: dict[str, tuple[Attempt, ...]] = field(default_factory=dict)
    """Of tasks that were tried more than once: all attempts, in order."""
    _strangers: set[str] = field(default_factory=set)
    """Tasks whose last attempt knew nothing of those before it, as it ran in another process."""
    repeats: dict[str, tuple[TaskResult, ...]] = field(default_factory=dict)
    references: dict[str, TaskResult] = field(default_factory=dict)
    backend: dict[str, Any] = field(default_factory=dict)
    reference_backend: dict[str, Any] = field(default_factory=dict)
    uses: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """Worker -> what it has used so far. Without workers the only key is ""."""
    graders: dict[str, dict[str, Mapping[str, Any]]] = field(default_factory=dict)
    """Kind -> worker -> what it said last of its grader."""
    cache: dict[str, int] = field(default_factory=lambda: {"hits": 0, "recalled": 0, "misses": 0})
    recalled: dict[str, int] = field(default_factory=dict)
    """Task key -> answers in its result, and in its repeats, that an earlier session computed. Absent: none."""
    cache_problems: list[str] = field(default_factory=list)

    @property
    def is_used(self) -> bool:
        """Whether anything was evaluated, or should have been."""
        return bool(self.results or self.errors or self.skipped or self.own_runs or self.references)

    def take(self, payload: Mapping[str, Any], *, nodeid: str, worker: str = "", is_reference: bool = False) -> tuple[TaskResult, ...]:
        """Take what one item reports, as plain values. Returns what the reference model measured in it.

        Args:
            payload: Any of `outcomes`, `errors`, `skipped`, `attempts` (those before this one), `own_runs`, `repeats`, `backend`,
                `graders`, `cache`, `references`, `reference_backend`.
            nodeid: The item's.
            worker: The process that ran it.
            is_reference: Whether the item is a reference's own, so that its result replaces the error of an earlier attempt.

        Raises:
            msgspec.ValidationError: The payload is not what `to_plain` made of results.
        """
        for key, outcome in payload.get("outcomes", {}).items():
            before = self._take_earlier(payload, key)
            self._forget(key)
            result = task_result_from_plain(outcome["result"])
            self.results[key] = replace(result, metrics=mean_of_runs([*results_that_count(before), result]))
            self.verdicts[key] = tuple(verdict_from_plain(verdict) for verdict in outcome["verdicts"])
            self._keep_attempts(key, before, Attempt(result=result, verdicts=self.verdicts[key]))
        for reasons, name in ((self.errors, "errors"), (self.skipped, "skipped")):
            for key, reason in payload.get(name, {}).items():
                before = self._take_earlier(payload, key)
                self._forget(key)
                reasons[key] = reason
                self._keep_attempts(key, before, Attempt(error=reason))
        if "own_runs" in payload:
            self.own_runs[nodeid] = _results(payload["own_runs"])
        self.repeats |= {key: _results(results) for key, results in payload.get("repeats", {}).items()}
        self.backend |= payload.get("backend", {})
        if "use" in payload.get("backend", {}):
            self.uses[worker] = payload["backend"]["use"]
        for kind, facts in payload.get("graders", {}).items():
            self.graders.setdefault(kind, {})[worker] = facts
        recalled = sum(lookups.get("recalled", 0) for lookups in payload.get("cache", ()))
        self.recalled |= {key: recalled for key in payload.get("outcomes", {}) if recalled}
        for lookups in payload.get("cache", ()):
            self.cache = {name: count + lookups[name] for name, count in self.cache.items()}
            if lookups["problem"] is not None and lookups["problem"] not in self.cache_problems:
                self.cache_problems.append(lookups["problem"])
        return self._take_references(payload, is_reference=is_reference)

    def _take_earlier(self, payload: Mapping[str, Any], key: str) -> tuple[Attempt, ...]:
        """The attempts at a task before the one that is reported now: as its item knows them, or as they were reported."""
        known = tuple(attempt_from_plain(attempt) for attempt in payload.get("attempts", {}).get(key, ()))
        reported = self._reported(key)
        if len(known) >= len(reported):
            return known
        self._strangers.add(key)
        return reported

    def _reported(self, key: str) -> tuple[Attempt, ...]:
        if key in self.attempts:
            return self.attempts[key]
        if key in self.results:
            return (Attempt(result=self.results[key], verdicts=self.verdicts[key]),)
        reason = self.errors.get(key, self.skipped.get(key))
        return () if reason is None else (Attempt(error=reason),)

    def _keep_attempts(self, key: str, earlier: tuple[Attempt, ...], last: Attempt) -> None:
        if earlier:
            self.attempts[key] = (*earlier, last)

    @property
    def earlier(self) -> dict[TaskKey, tuple[TaskResult, ...]]:
        """Results of earlier attempts that are judged together with those of `results`."""
        return {self.results[key].key: results_that_count(attempts[:-1]) for key, attempts in self.attempts.items() if key in self.results}

    @property
    def unjoined(self) -> dict[TaskKey, TaskResult]:
        """Last attempts whose verdicts are of their answers alone, though there were others before them in another process."""
        last = [self.attempts[key][-1].result for key in self._strangers if key in self.attempts]
        return {result.key: result for result in last if result is not None}

    def _forget(self, key: str) -> None:
        """Drop what an earlier attempt at the item left."""
        for left in (self.results, self.verdicts, self.errors, self.skipped, self.repeats, self.recalled):
            left.pop(key, None)

    def _take_references(self, payload: Mapping[str, Any], *, is_reference: bool) -> tuple[TaskResult, ...]:
        self.reference_backend |= payload.get("reference_backend", {})
        measured = {key: task_result_from_plain(result) for key, result in payload.get("references", {}).items()}
        self.references |= measured
        if is_reference:  # any other item that needs the reference may measure it too; that does not undo this item's error
            for key in measured:
                self.errors.pop(f"{key} ({REFERENCE})", None)
        return tuple(measured.values())

    @property
    def runs(self) -> dict[str, list[TaskResult]]:
        """Task key -> all runs of a task that was run more than once, the one that is judged first."""
        return {key: [self.results[key], *repeats] for key, repeats in sorted(self.repeats.items()) if key in self.results}

    def run_report(
        self,
        *,
        run_id: str,
        started: datetime,
        ended: datetime,
        settings: Mapping[str, Any],
        environment: Mapping[str, Any],
        arguments: Any,
        reference_arguments: Any = None,
        groups: Mapping[str, Mapping[str, MetricResult]],
        calibration: Mapping[str, Mapping[str, Calibration]],
        exit_status: str,
        baselines: Sequence[Mapping[str, Any]] = (),
        model_args: Mapping[str, Any] | None = None,
        command: str | None = None,
    ) -> RunReport:
        """What was collected so far as one run. `arguments` are those that the backends were made with; they may be any object."""
        return RunReport(
            run_id=run_id,
            started=started.isoformat(timespec="seconds"),
            seconds=(ended - started).total_seconds(),
            backend=self._backend_facts(arguments),
            settings=settings,
            environment=environment,
            results=_sorted(self.results.values()),
            groups=groups,
            verdicts=dict(sorted(self.verdicts.items())),
            errors=dict(sorted(self.errors.items())),
            skipped=dict(sorted(self.skipped.items())),
            own_runs=dict(sorted(self.own_runs.items())),
            references=_sorted(self.references.values()),
            reference_backend={**self.reference_backend, "arguments": to_plain(reference_arguments)} if self.reference_backend else {},
            repeats=dict(sorted(self.repeats.items())),
            calibration=calibration,
            attempts=dict(sorted(self.attempts.items())),
            graders={kind: together(list(said.values())) for kind, said in sorted(self.graders.items())},
            cache=self.cache,
            exit_status=exit_status,
            command=command,
            baselines=tuple(baselines),
            model_args=dict(to_plain(model_args or {})),
        )

    def _backend_facts(self, arguments: Any) -> dict[str, Any]:
        if not self.backend:
            return {}
        use = {"use": use_of_all(self.uses.values())} if self.uses else {}
        return {**self.backend, **use, "arguments": to_plain(arguments)}


def together(facts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What several processes say of their graders: the counts of `use` are added, notes are joined, of other facts the last one is kept."""
    merged: dict[str, Any] = {}
    for name in dict.fromkeys(name for one in facts for name in one):
        values = [one[name] for one in facts if name in one]
        if name == "use":
            merged[name] = use_of_all(values)
        elif all(isinstance(value, Mapping) for value in values):
            merged[name] = together(values)
        elif name == "notes":
            merged[name] = list(dict.fromkeys(note for value in values for note in value))
        else:
            merged[name] = values[-1]
    return merged


def use_of_all(uses: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What several processes used together.

    Counts are added. Of a `peak_...` the highest counts; of an `out_of_memory_...`, which says what a batch was reduced to, the
    lowest. Of anything that is not a number the last value that is not None is kept.
    """
    together: dict[str, Any] = {}
    for use in uses:
        for name, figure in use.items():
            before = together.get(name)
            if not isinstance(before, int | float) or not isinstance(figure, int | float):
                together[name] = before if figure is None else figure
            elif name.startswith("peak_"):
                together[name] = max(before, figure)
            elif name.startswith("out_of_memory_"):
                together[name] = min(before, figure)
            else:
                together[name] = before + figure
    return together


def _results(plain: Iterable[Any]) -> tuple[TaskResult, ...]:
    return tuple(task_result_from_plain(result) for result in plain)


def _sorted(results: Iterable[TaskResult]) -> tuple[TaskResult, ...]:
    return tuple(sorted(results, key=lambda result: result.key))
