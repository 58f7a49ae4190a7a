"""The documents of a superset: its tasks may ask the same rows, which are then one unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from pytest_lighteval.baselines.align import AlignedScores, align
from pytest_lighteval.comparison.compare import compare
from pytest_lighteval.comparison.corpus import DocumentRuns
from pytest_lighteval.gates.compare import Side
from pytest_lighteval.gates.documents import corpus_documents, paired_documents
from pytest_lighteval.types import SampleValue
from tests.gates.test_compare import A, B, baseline, measured, side

BEFORE, AFTER = [1.0] * 60, [0.0] * 6 + [1.0] * 54


def aligned(one: Side, *, source: str | None = None) -> AlignedScores:
    result = one.result if source is None else replace(one.result, row_sources={"test": source})
    found = align(result, one.baseline, "m")
    assert isinstance(found, AlignedScores)
    return found


def test_two_questions_about_one_row_are_one_unit() -> None:
    apart = paired_documents([aligned(side(BEFORE, AFTER), source="x"), aligned(side(BEFORE, AFTER, key=B), source="y")], 1.0)
    together = paired_documents([aligned(side(BEFORE, AFTER), source="x"), aligned(side(BEFORE, AFTER, key=B), source="x")], 1.0)

    assert [(paired.n, paired.lost, paired.loss) for paired in (apart, together)] == [(120, 12, 0.1)] * 2
    assert compare(apart, alpha=0.05).p == pytest.approx(2.0**-12)
    assert compare(together, alpha=0.05).p == pytest.approx(2.0**-6)


def test_a_row_links_the_clusters_of_two_tasks() -> None:
    parts = [aligned(side(BEFORE, AFTER, clusters=3), source="x"), aligned(side(BEFORE, AFTER, key=B), source="x")]

    assert compare(paired_documents(parts, 1.0), alpha=0.05).p == pytest.approx(2.0**-2)


def _corpus(values: Sequence[SampleValue], *, source: str) -> AlignedScores:
    one = measured([1.0] * len(values), key=A if source == "x" else B)
    documents = tuple(replace(document, values={"m": value}) for document, value in zip(one.documents, values, strict=True))
    of = replace(one, documents=documents, row_sources={"test": source})
    return aligned(Side(result=of, baseline=baseline(of)))


def test_rows_of_a_corpus_metric_are_linked_too_and_stand_alone_if_no_task_shares_them() -> None:
    first, other = _corpus([(1,), (2,)], source="x"), _corpus([(3,)], source="y")

    assert corpus_documents([first, other]).clusters is None
    assert corpus_documents([first, replace(other, rows=first.rows[:1])]).clusters == ["unit 0", "unit 1", "unit 0"]
    assert corpus_documents([first, other]).runs is None


def test_rows_of_repeats_stay_with_their_document() -> None:
    one = _corpus([(1,), (2,)], source="x")
    twice = replace(one, baseline=tuple((value, value) for (value,) in one.baseline))

    found = corpus_documents([twice])

    assert (found.baseline, found.candidate) == ([(1,), (1,), (2,), (2,)], [(1,), (1,), (2,), (2,)])
    assert found.clusters == ["document 0", "document 0", "document 1", "document 1"]
    assert found.runs == [DocumentRuns(1, 2, 1)] * 2
