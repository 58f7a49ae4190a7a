"""One whole run, of which every report is a view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_lighteval.types.score import MetricResult, TaskResult
from pytest_lighteval.types.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How much several runs of one model differ in one number of a task."""

    runs: int
    n: int
    """Documents."""
    values: tuple[float, ...]
    """The number in each run."""
    discordance: float | None
    """The variance of the difference of a document's scores in two runs; for 0/1 scores the share of documents that differ. None: a
    metric of the whole corpus."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """One whole run. results.json, summary.md, the index and the terminal table are views of it."""

    run_id: str
    started: str
    """ISO 8601, UTC."""
    seconds: float
    backend: Mapping[str, Any]
    """Name, fingerprint, arguments and `describe()` of the backend. Empty: no item got as far as one."""
    settings: Mapping[str, Any]
    """The options that may move a score: max_samples, chat template, system prompt, seeds..."""
    environment: Mapping[str, Any]
    """Versions of packages, Python, platform."""
    results: tuple[TaskResult, ...]
    """Sorted by key."""
    groups: Mapping[str, Mapping[str, MetricResult]]
    """`suite|group:_average|n` and `all` -> metric -> number."""
    verdicts: Mapping[str, tuple[Verdict, ...]]
    """By task or group key."""
    errors: Mapping[str, str]
    """Task key -> why it has no score."""
    skipped: Mapping[str, str]
    """Task key -> reason."""
    own_runs: Mapping[str, tuple[TaskResult, ...]] = field(default_factory=dict)
    """By the node id of a person's own test: what `lighteval.run` measured in it. Kept apart, as it may be any part of a task."""
    references: tuple[TaskResult, ...] = ()
    """What the model measured that the session's is held against, sorted by key."""
    reference_backend: Mapping[str, Any] = field(default_factory=dict)
    """As `backend`. Empty: there is no such model."""
    repeats: Mapping[str, tuple[TaskResult, ...]] = field(default_factory=dict)
    """Task key -> what further runs of the same model measured."""
    calibration: Mapping[str, Mapping[str, Calibration]] = field(default_factory=dict)
    """Task key -> metric -> how much all the runs differ."""
    cache: Mapping[str, int] = field(default_factory=dict)
    """Answers that were found and that had to be computed, by `hits` and `misses`."""
    exit_status: str = "ok"
    """How the session ended, in pytest's words: ok, tests_failed, interrupted... Anything but the first two means there may be more."""
