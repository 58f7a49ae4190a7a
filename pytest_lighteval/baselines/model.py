"""A baseline: per task the scores and prompt digests of its documents, and what measured them. Reads no file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_lighteval.types import SampleValue, TaskKey

Repeated = tuple[SampleValue | None, ...]
"""A document's values of one metric, one a repeat. None: this repeat was not scored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What measured a task: numbers, versions and digests; no person, host, path or time."""

    backend: str | None
    """The name of the backend's entry point. None: unknown."""
    model_fingerprint: str | None
    """Digest of everything about the model that may change an answer. None: unknown."""
    dtype: str | None
    python: str | None
    packages: Mapping[str, str]
    """Name -> version."""
    hardware: Mapping[str, str | int]
    """The class of machine: platform, processors, threads, device."""
    settings: Mapping[str, str | int | None]
    """Settings of every task, as far as known: `use_chat_template`, `few_shot_seeds`, and a digest of the system prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineMetric:
    """One reported number, for readers of the file; the gate compares documents."""

    value: float
    """The mean over the repeats."""
    stderr: float | None
    """Of one repeat, since all repeats have the same documents. None: unknown."""
    n: int
    """Documents."""
    higher_is_better: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineTask:
    """One task's documents in canonical order, as columns of equal length.

    A document under a further few-shot seed is a row of its own, as in `TaskResult.documents`.
    """

    key: TaskKey
    version: int | None
    """None: measured by another program."""
    metrics: Mapping[str, BaselineMetric]
    ids: tuple[str, ...]
    few_shot_seeds: tuple[int, ...]
    """The seed of every row."""
    prompt_digests: tuple[str, ...] | None
    """12 hex digits per row. None: the prompts are unknown, so they cannot be compared."""
    scores: Mapping[str, tuple[Repeated, ...]]
    """By reported name, for every row its repeats."""
    soft: Mapping[str, tuple[tuple[float, ...], ...]] = field(default_factory=dict)
    """By reported name, for every row the soft score of each repeat. Metrics of which a row has none are left out, as are older files'."""
    repeats: int
    """Runs that were merged, the same for every row."""
    dataset_fingerprint: str | None
    """None: unknown."""
    data_revision: str | None = None
    """The requested revision of the data set. None: none was requested."""
    effective_few_shots: float | None = None
    """None: unknown."""
    num_truncated: int = 0
    """Rows whose prompt lost tokens: the largest number in any run."""
    grader: Mapping[str, str] = field(default_factory=dict)
    """As `TaskResult.grader`. Empty: no metric has a grader, or it is unknown."""
    cut_share: float | None = None
    """Of the generated texts, those that ended at the limit of new tokens: the mean over the runs. None: unknown, or nothing generated."""
    max_samples: int | None = None
    """The limit under which it was measured. None: all documents."""
    provenance: tuple[Provenance, ...] = ()
    """What measured it, without duplicates: runs may differ in it."""

    @property
    def documents(self) -> int:
        """Documents, each counted once however many few-shot seeds asked it."""
        return len(set(self.ids))


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """A refresh for which a reason was given."""

    reason: str
    date: str | None = None
    """ISO 8601, from the caller."""
    changed: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)
    """Task key -> metric -> (before, after), for scores that changed by more than chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What later runs are compared with."""

    tasks: Mapping[TaskKey, BaselineTask]
    history: tuple[HistoryEntry, ...] = ()
    """Oldest first."""
    is_complete: bool = False
    """The file says so itself: a task that it does not hold fails the session."""
    has_digests: bool = True
    """Its scores were checked against their digests. False: it was read from a file of version 1, which has none."""
