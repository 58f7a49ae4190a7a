"""Several attempts of a run at one task, joined document by document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from pytest_lighteval.baselines.align import AlignedScores, AlignedSoft
from pytest_lighteval.baselines.model import BaselineTask
from pytest_lighteval.types import SampleValue

Value = TypeVar("Value")


def join_attempts(attempts: Sequence[AlignedScores], baseline: BaselineTask) -> AlignedScores:
    """Each document of any attempt, with the scores and soft scores of all attempts that have it as the candidate's repeats.

    Args:
        attempts: each aligned with `baseline`, in order; not empty.
        baseline: gives the order of the documents.
    """
    if len(attempts) == 1:
        return attempts[0]
    before: dict[str, tuple[SampleValue, ...]] = {}
    after: dict[str, list[tuple[SampleValue, ...]]] = {}
    soft_before: dict[str, tuple[float, ...]] = {}
    soft_after: dict[str, list[tuple[float, ...]]] = {}
    rows: dict[str, str] = {}
    seeds: dict[str, int] = {}
    clusters: dict[str, str | None] = {}
    for attempt in attempts:
        names = attempt.clusters or (None,) * len(attempt.ids)
        for place, document in enumerate(attempt.ids):
            before[document] = attempt.baseline[place]
            after.setdefault(document, []).append(attempt.candidate[place])
            rows[document] = attempt.rows[place]
            seeds[document] = attempt.seeds[place] if seeds.get(document, attempt.seeds[place]) == attempt.seeds[place] else 1
            clusters[document] = names[place]
            if attempt.soft is not None:
                soft_before[document] = attempt.soft.baseline[place]
                soft_after.setdefault(document, []).append(attempt.soft.candidate[place])
    ids = tuple(document for document in dict.fromkeys(baseline.ids) if document in before)
    return replace(
        attempts[-1],
        ids=ids,
        rows=tuple(rows[document] for document in ids),
        baseline=tuple(before[document] for document in ids),
        candidate=tuple(_by_seed(after[document], seeds[document]) for document in ids),
        seeds=tuple(seeds[document] for document in ids),
        clusters=tuple(clusters[document] for document in ids) if any(clusters.values()) else None,
        soft=AlignedSoft(
            baseline=tuple(soft_before[document] for document in ids),
            candidate=tuple(_by_seed(soft_after[document], seeds[document]) for document in ids),
        )
        if all(attempt.soft is not None for attempt in attempts)
        else None,
        notes=tuple(dict.fromkeys(note for attempt in attempts for note in attempt.notes)),
    )


def _by_seed(attempts: Sequence[tuple[Value, ...]], seeds: int) -> tuple[Value, ...]:
    """The scores, or soft scores, of a document in all attempts, few-shot seed by few-shot seed."""
    found: list[Value] = []
    for seed in range(seeds):
        for scores in attempts:
            runs = len(scores) // seeds
            found += scores[seed * runs : (seed + 1) * runs]
    return tuple(found)
