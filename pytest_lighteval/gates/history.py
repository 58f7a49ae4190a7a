"""Scores over time as rows: each number at each point, with its interval and its paired differences to earlier points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pytest_lighteval.baselines.align import AlignedScores, align
from pytest_lighteval.baselines.save import baseline_task, provenance_of
from pytest_lighteval.gates.compare import compare_aligned
from pytest_lighteval.gates.plan import reported_metrics
from pytest_lighteval.gates.series import best_point
from pytest_lighteval.reports.groups import group_results
from pytest_lighteval.types import CorpusMetric, HistoryPoint, HistoryRow, MetricResult, PairedDifference, Task, TaskKey, Verdict

_LEVEL = 0.025
"""Of each of the two bounds of an interval."""
_Z = 1.959963984540054
"""The normal quantile of 1 - `_LEVEL`."""
_NOBODY = provenance_of(backend={}, environment={}, settings={})


def history_rows(
    point: HistoryPoint, earlier: Sequence[HistoryPoint], items: Mapping[TaskKey, Task], verdicts: Mapping[str, Sequence[Verdict]]
) -> list[HistoryRow]:
    """The rows of one point: its tasks, then its supersets.

    Args:
        point: what was measured.
        earlier: the points before, in order.
        items: the definition of each task.
        verdicts: what gates say of the point, by task or superset.
    """
    return [*_task_rows(point, earlier, items, verdicts), *_group_rows(point, earlier, items, verdicts)]


def _task_rows(
    point: HistoryPoint, earlier: Sequence[HistoryPoint], items: Mapping[TaskKey, Task], verdicts: Mapping[str, Sequence[Verdict]]
) -> Iterator[HistoryRow]:
    for key, result in sorted(point.results.items()):
        corpora = reported_metrics(items[key]) if key in items else {}
        for metric, number in result.metrics.items():
            yield _row(point, earlier, str(key), metric, number, (key,), corpora.get(metric), verdicts)


def _group_rows(
    point: HistoryPoint, earlier: Sequence[HistoryPoint], items: Mapping[TaskKey, Task], verdicts: Mapping[str, Sequence[Verdict]]
) -> Iterator[HistoryRow]:
    for name, metrics in group_results(list(point.results.values())).items():
        members = tuple(sorted(key for key in point.results if str(key.superset) == name))
        if not members or members[0] not in items:
            continue
        corpora = reported_metrics(items[members[0]])
        for metric, number in metrics.items():
            yield _row(point, earlier, name, metric, number, members, corpora.get(metric), verdicts)


def _row(
    point: HistoryPoint,
    earlier: Sequence[HistoryPoint],
    name: str,
    metric: str,
    number: MetricResult,
    keys: Sequence[TaskKey],
    corpus: CorpusMetric | None,
    verdicts: Mapping[str, Sequence[Verdict]],
) -> HistoryRow:
    before = next((one for one in reversed(earlier) if all(key in one.results for key in keys)), None)
    best = best_point(earlier, keys, metric)
    lower, upper = _interval(number, corpus)
    gates = [verdict.paired for verdict in verdicts.get(name, ()) if verdict.metric == metric and verdict.paired is not None]
    return HistoryRow(
        point=point.name,
        step=point.step,
        task=name,
        metric=metric,
        n=number.n,
        score=number.value,
        stderr=number.stderr,
        lower=lower,
        upper=upper,
        higher_is_better=number.higher_is_better,
        before=_difference(point, before, keys, metric, corpus),
        best=_difference(point, best, keys, metric, corpus),
        verdict=next((paired.outcome for paired in gates if not paired.advisory), None),
    )


def _interval(number: MetricResult, corpus: CorpusMetric | None) -> tuple[float | None, float | None]:
    if number.stderr is None:
        return None, None
    least, most = (corpus and corpus.range) or (-float("inf"), float("inf"))
    return max(least, number.value - _Z * number.stderr), min(most, number.value + _Z * number.stderr)


def _difference(
    point: HistoryPoint, other: HistoryPoint | None, keys: Sequence[TaskKey], metric: str, corpus: CorpusMetric | None
) -> PairedDifference | None:
    if other is None or corpus is None or not corpus.is_mean:
        return None
    aligned = [align(point.results[key], baseline_task(other.results[key], _NOBODY), metric) for key in keys]
    same = [entry for entry in aligned if isinstance(entry, AlignedScores)]
    if len(same) < len(aligned):
        return None
    comparison = compare_aligned(same, corpus, alpha=_LEVEL, certify_alpha=_LEVEL)
    return PairedDifference(
        point=other.name,
        loss=comparison.loss + 0.0,  # never minus zero
        lower=comparison.lower,
        upper=comparison.upper,
        p=comparison.p,
        lost=comparison.lost,
        won=comparison.won,
    )
