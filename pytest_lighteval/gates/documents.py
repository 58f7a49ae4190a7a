"""The documents of a gate's tasks, as the tests take them: pairs of scores, or rows for a metric of the whole corpus.

The tasks of a superset may have rows of a data set in common: several questions about one row depend on each other, so they are one unit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_lighteval.baselines.align import AlignedScores, corpus_rows, mean_scores, rows_of
from pytest_lighteval.common.units import linked
from pytest_lighteval.comparison.corpus import DocumentRuns
from pytest_lighteval.comparison.paired import Paired, Repeats, concatenate, pair
from pytest_lighteval.types import SampleValue


def paired_scores(aligned: AlignedScores, most: float | None) -> Paired:
    """The documents of one task for the tests. `most`: as `pair` takes it."""
    before, after = mean_scores(aligned)
    return pair(before, after, higher_is_better=aligned.higher_is_better, clusters=aligned.clusters, most=most)


def paired_documents(aligned: Sequence[AlignedScores], most: float | None) -> Paired:
    """The documents of all tasks of one metric; each counts the same. `most`: as `pair` takes it."""
    if not _have_common_rows(aligned):
        return concatenate([paired_scores(part, most) for part in aligned])
    before: list[Repeats] = []
    after: list[Repeats] = []
    for part in aligned:
        old, new = mean_scores(part)
        before += old
        after += new
    return pair(before, after, higher_is_better=aligned[0].higher_is_better, clusters=_clusters(aligned), most=most)


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusDocuments:
    """The arguments of `compare_corpus`: every document has the same number of rows, however many repeats its task has."""

    baseline: list[SampleValue]
    candidate: list[SampleValue]
    clusters: list[str | None] | None
    runs: list[DocumentRuns] | None


def corpus_documents(aligned: Sequence[AlignedScores]) -> CorpusDocuments:
    """The documents of all tasks of a metric of the whole corpus."""
    before: list[SampleValue] = []
    after: list[SampleValue] = []
    rows = math.lcm(*(rows_of(part) for part in aligned))
    for part in aligned:
        old, new, _ = corpus_rows(part, rows=rows)
        before += old
        after += new
    names = _clusters(aligned)
    if rows > 1:
        names = [f"document {number}" if name is None else name for number, name in enumerate(names)]
    clusters = [name for name in names for _ in range(rows)]
    sides = ((part.seeds[place], part.baseline[place], part.candidate[place]) for part in aligned for place in range(len(part.ids)))
    runs = [DocumentRuns(seeds, len(old) // seeds, len(new) // seeds) for seeds, old, new in sides]
    return CorpusDocuments(
        baseline=before,
        candidate=after,
        clusters=clusters if any(name is not None for name in clusters) else None,
        runs=runs if any((of.baseline, of.candidate) != (1, 1) for of in runs) else None,
    )


def _have_common_rows(aligned: Sequence[AlignedScores]) -> bool:
    return len(aligned) > 1 and len({row for part in aligned for row in part.rows}) < sum(len(part.rows) for part in aligned)


def _clusters(aligned: Sequence[AlignedScores]) -> list[str | None]:
    """The cluster of each document of all tasks, and with it of all documents of its row. None: it stands alone."""
    own = [f"{part.key} {name}" if name is not None else None for part in aligned for name in part.clusters or (None,) * len(part.ids)]
    if not _have_common_rows(aligned):
        return own
    rows = (row for part in aligned for row in part.rows)
    units = linked((("row", row), *((("cluster", name),) if name is not None else ())) for row, name in zip(rows, own, strict=True))
    return [f"unit {unit}" for unit in units]
