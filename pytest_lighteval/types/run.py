"""One whole run, of which every report is a view."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_lighteval.types.score import MetricResult, TaskResult
from pytest_lighteval.types.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How much several runs of one model differ in one metric of a task."""

    runs: int
    n: int
    """Documents."""
    values: tuple[float, ...]
    """The metric in each run."""
    discordance: float | None
    """Variance of the difference of a document's scores in two runs; for 0/1 scores, the share of documents that differ. None: a corpus
    metric, which has no score per document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One of several attempts at an item in one session, such as those of `--reruns`."""

    result: TaskResult | None = None
    """None: it ended without a score."""
    verdicts: tuple[Verdict, ...] = ()
    """After this attempt, of its answers together with those of the attempts before it."""
    error: str | None = None
    """Why it has no score. None: it has one."""

    @property
    def counts(self) -> bool:
        """Something was said about its answers, so that they are judged together with those of later attempts."""
        return self.result is not None and any(verdict.paired is None or verdict.paired.outcome != "STALE" for verdict in self.verdicts)


def results_that_count(attempts: Iterable[Attempt]) -> tuple[TaskResult, ...]:
    """The results that are judged together with a later one, in order."""
    return tuple(attempt.result for attempt in attempts if attempt.result is not None and attempt.counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """One whole run. results.json, summary.md, the index and the terminal table are views of it."""

    run_id: str
    started: str
    """ISO 8601, UTC."""
    seconds: float
    backend: Mapping[str, Any]
    """Name, fingerprint, arguments and `describe()` of the backend. Empty: no item used a backend."""
    settings: Mapping[str, Any]
    """The options that may change a score: max_samples, chat template, system prompt, seeds..."""
    environment: Mapping[str, Any]
    """Versions of packages, Python, platform."""
    results: tuple[TaskResult, ...]
    """Sorted by key. Of several attempts, the documents are those of the last one, and the metrics are the means over those that count."""
    groups: Mapping[str, Mapping[str, MetricResult]]
    """`suite|group:_average|n` and `all` -> metric -> number."""
    verdicts: Mapping[str, tuple[Verdict, ...]]
    """By task or group key."""
    errors: Mapping[str, str]
    """Task key -> why it has no score."""
    skipped: Mapping[str, str]
    """Task key -> reason."""
    own_runs: Mapping[str, tuple[TaskResult, ...]] = field(default_factory=dict)
    """Node id of a test -> what `lighteval.run` measured in it. Not in `results`, because a test may ask any part of a task."""
    references: tuple[TaskResult, ...] = ()
    """Results of the reference model of `--against-...`, with which the session's model is compared; sorted by key."""
    reference_backend: Mapping[str, Any] = field(default_factory=dict)
    """Like `backend`, of the reference model. Empty: there is none."""
    repeats: Mapping[str, tuple[TaskResult, ...]] = field(default_factory=dict)
    """Task key -> results of further runs of the same model."""
    calibration: Mapping[str, Mapping[str, Calibration]] = field(default_factory=dict)
    """Task key -> metric -> how much the runs differ."""
    attempts: Mapping[str, tuple[Attempt, ...]] = field(default_factory=dict)
    """Task key -> all attempts at a task that was tried more than once in this session, in order."""
    graders: Mapping[str, Any] = field(default_factory=dict)
    """By kind, what is known of what graded answers, and in `use` what that took. Empty: no answer was graded."""
    cache: Mapping[str, int] = field(default_factory=dict)
    """`misses`: answers that were computed. `hits`: all others. `recalled`: hits that an earlier session computed. The other hits
    are answers to requests that equal another one of the same task."""
    baselines: tuple[Mapping[str, Any], ...] = ()
    """The files that scores are compared with: `path`, `sha256`, number of `tasks`, `models`, and `is_pinned`."""
    model_args: Mapping[str, Any] = field(default_factory=dict)
    """The model arguments that differ from their defaults."""
    command: str | None = None
    """What was typed to start the run, as a line for a shell, without keys. None: unknown."""
    exit_status: str = "ok"
    """How the session ended, for pytest: ok, tests_failed, interrupted... After others than the first two, results may be missing."""

    def runs_of(self, result: TaskResult) -> tuple[TaskResult, ...]:
        """Every run of the session's model on a task: the attempts that were judged together, then the repeats of `--gate-calibrate`."""
        *earlier, last = self.attempts.get(str(result.key), (Attempt(result=result),))
        return (*results_that_count(earlier), last.result or result, *self.repeats.get(str(result.key), ()))
