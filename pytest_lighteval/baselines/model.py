"""What a baseline holds: per task the scores and prompt digests of its documents, and in numbers what measured them. Reads no file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_lighteval.types import SampleValue, TaskKey

Repeated = tuple[SampleValue | None, ...]
"""A document's values of one metric, one a repeat. None: this repeat was not scored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What measured a task. Numbers, versions and digests: no person, host, path or time."""

    backend: str | None
    """The name it is selected by. None: unknown."""
    model_fingerprint: str | None
    """Digest of all that may change an answer. None: unknown."""
    dtype: str | None
    python: str | None
    packages: Mapping[str, str]
    """Name -> version."""
    hardware: Mapping[str, str | int]
    """The class of machine: platform, processors, threads, device."""
    settings: Mapping[str, str | int | None]
    """What was asked of every task: `use_chat_template`, `few_shot_seeds`, and of the system prompt a digest. Only what is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineMetric:
    """One reported number, for people who read the file; the gate compares documents."""

    value: float
    """The mean over the repeats."""
    stderr: float | None
    """Of one repeat: the documents are the same in all. None: cannot be known."""
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
    """12 hex digits a row. None: what was asked is unknown, so nothing shows that it is the same."""
    scores: Mapping[str, tuple[Repeated, ...]]
    """By reported name, for every row its repeats."""
    repeats: int
    """Runs that were merged, the same for every row."""
    dataset_fingerprint: str | None
    """None: unknown."""
    data_revision: str | None = None
    """The revision of the data set that was asked for. None: no particular one."""
    effective_few_shots: float | None = None
    """None: unknown."""
    num_truncated: int = 0
    """Rows whose prompt lost tokens, the most of any run."""
    max_samples: int | None = None
    """The limit under which it was measured. None: all documents."""
    provenance: tuple[Provenance, ...] = ()
    """What measured it; one for each run that differs from the others in it."""

    @property
    def documents(self) -> int:
        """Documents, each counted once however many few-shot seeds asked it."""
        return len(set(self.ids))


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """A refresh for which a reason was given."""

    reason: str
    date: str | None = None
    """ISO 8601, as the caller told it."""
    worsened: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)
    """Task key -> metric -> before and after, in the direction that is worse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What later runs are compared with."""

    tasks: Mapping[TaskKey, BaselineTask]
    history: tuple[HistoryEntry, ...] = ()
    """Oldest first."""
