"""Several attempts of a run at one task, joined document by document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pytest_lighteval.baselines.align import AlignedScores
from pytest_lighteval.baselines.model import BaselineTask
from pytest_lighteval.types import SampleValue


def join_attempts(attempts: Sequence[AlignedScores], baseline: BaselineTask) -> AlignedScores:
    """Each document of any attempt, with the scores of all attempts that have it as the candidate's repeats.

    Args:
        attempts: each aligned with `baseline`, in order; not empty.
        baseline: gives the order of the documents.
    """
    if len(attempts) == 1:
        return attempts[0]
    before: dict[str, tuple[SampleValue, ...]] = {}
    after: dict[str, tuple[SampleValue, ...]] = {}
    clusters: dict[str, str | None] = {}
    for attempt in attempts:
        names = attempt.clusters or (None,) * len(attempt.ids)
        for document, old, new, cluster in zip(attempt.ids, attempt.baseline, attempt.candidate, names, strict=True):
            before[document] = old
            after[document] = (*after.get(document, ()), *new)
            clusters[document] = cluster
    ids = tuple(document for document in dict.fromkeys(baseline.ids) if document in before)
    return replace(
        attempts[-1],
        ids=ids,
        baseline=tuple(before[document] for document in ids),
        candidate=tuple(after[document] for document in ids),
        clusters=tuple(clusters[document] for document in ids) if any(clusters.values()) else None,
        notes=tuple(dict.fromkeys(note for attempt in attempts for note in attempt.notes)),
    )
