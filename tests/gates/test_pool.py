"""The pooled test has every row once, whatever gates and tasks ask it, with the losses of all in one unit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from pytest_lighteval.baselines.model import Baseline
from pytest_lighteval.baselines.repeats import merge_runs
from pytest_lighteval.comparison.compare import compare
from pytest_lighteval.comparison.decision import Policy
from pytest_lighteval.comparison.paired import Paired, pair
from pytest_lighteval.gates.compare import Side
from pytest_lighteval.gates.plan import PairedGate
from pytest_lighteval.gates.pool import PoolPart, pool_part, pooled_documents
from pytest_lighteval.types import GateSpec, TaskKey, TaskResult
from tests.gates.test_compare import FALLING, UNKNOWN, A, B, baseline, gate, measured, side


def pooled(*gates: tuple[PairedGate, Sequence[Side]]) -> Paired:
    parts = [pool_part(of, sides, Policy()) for of, sides in gates]
    return pooled_documents([part for part in parts if isinstance(part, PoolPart)], Policy())


def two_metrics(before: Sequence[tuple[float, float]], after: Sequence[tuple[float, float]], *, clusters: int | None = None) -> Side:
    """A task that reports m, of which more is better, and l, of which less is."""

    def result(values: Sequence[tuple[float, float]]) -> TaskResult:
        one = measured([value for value, _ in values], clusters=clusters)
        documents = [replace(document, values={"m": high, "l": low}) for document, (high, low) in zip(one.documents, values, strict=True)]
        falling = replace(one.metrics["m"], value=sum(value for _, value in values) / len(values), higher_is_better=False)
        return replace(one, documents=tuple(documents), metrics={**one.metrics, "l": falling})

    return Side(result=result(after), baseline=baseline(result(before)))


LOW = replace(gate(FALLING), metric="l")


def test_every_document_is_pooled_once_however_many_gates_it_has() -> None:
    """Two metrics of one task, and a superset with a task that is a gate too."""
    alone, other = side([1.0] * 100, [0.0] * 8 + [1.0] * 92), side([1.0] * 50, [1.0] * 50, key=B)
    both = two_metrics([(1.0, 0.0)] * 100, [(0.0, 1.0)] * 8 + [(1.0, 0.0)] * 92)

    metrics = pooled((gate(), [both]), (LOW, [both]))
    member = pooled((gate(), [alone]), (gate(members=(A, B)), [alone, other]))

    once = pair([1.0] * 100, [0.0] * 8 + [1.0] * 92)
    assert (metrics.n, metrics.lost) == (100, 8)
    assert metrics.loss == pytest.approx(0.08)
    assert compare(metrics, alpha=0.05).p == pytest.approx(compare(once, alpha=0.05).p) == pytest.approx(2.0**-8)
    assert (member.n, member.lost) == (150, 8)
    assert compare(member, alpha=0.05).p == pytest.approx(2.0**-8)


def test_gates_of_a_document_that_disagree_cancel_each_other() -> None:
    both = two_metrics([(1.0, 1.0)] * 100, [(0.0, 0.0)] * 10 + [(1.0, 1.0)] * 90)

    together = pooled((gate(), [both]), (LOW, [both]))

    assert (together.n, together.lost, together.won, together.loss) == (100, 0, 0, 0.0)


def test_documents_of_several_gates_keep_their_clusters() -> None:
    both = two_metrics([(1.0, 0.0)] * 100, [(0.0, 1.0)] * 20 + [(1.0, 0.0)] * 80, clusters=10)

    assert compare(pooled((gate(), [both]), (LOW, [both])), alpha=0.05).p == pytest.approx(2.0**-2)


def test_losses_in_other_units_are_pooled_as_shares_of_what_is_allowed() -> None:
    accuracy = side([1.0] * 100, [0.0] * 5 + [1.0] * 95)
    perplexity = side([20.0] * 100, [20.4] * 100, key=B, corpus=FALLING)

    together = pooled((gate(), [accuracy]), (gate(FALLING, spec=GateSpec(max_drop=0.4)), [perplexity]))

    # 2.5 times what is allowed in one half of the documents, exactly what is allowed in the other
    assert together.loss == pytest.approx((0.05 + 0.02) / 2)
    assert together.n == 200


def test_metrics_of_a_task_in_other_units_are_averaged_as_shares_of_what_is_allowed() -> None:
    both = two_metrics([(1.0, 20.0)] * 100, [(0.0, 20.4)] * 5 + [(1.0, 20.4)] * 95)

    together = pooled((gate(), [both]), (replace(LOW, spec=GateSpec(max_drop=0.4)), [both]))

    assert together.loss == pytest.approx((0.05 + 0.02) / 2)
    assert (together.n, together.lost) == (100, 100)
    assert together.worst == pytest.approx(1.0)


def test_a_mean_without_a_range_may_be_pooled() -> None:
    same = side([5.0 + row % 7 for row in range(60)], [5.0 + row % 7 for row in range(60)])

    assert pooled((gate(UNKNOWN), [same]), (gate(), [side([1.0] * 60, [1.0] * 60, key=B)])).worst == math.inf


# --------------------------------------------------------------------------------------------- rows of several tasks

SAME = {"test": "owner/name|default|test"}
BEFORE, AFTER = [1.0] * 100, [0.0] * 8 + [1.0] * 92


def asked(key: TaskKey, *, sources: Mapping[str, str] = SAME, after: Sequence[float] = AFTER, clusters: int | None = None) -> Side:
    one = side(BEFORE[: len(after)], after, key=key, clusters=clusters)
    return replace(one, result=replace(one.result, row_sources=sources))


def keyed(suite: str, task: str, few_shots: int = 0) -> TaskKey:
    return TaskKey(suite=suite, task=task, few_shots=few_shots)


@pytest.mark.parametrize("copies", [2, 10])
def test_a_benchmark_in_several_suites_is_no_more_evidence_than_in_one(copies: int) -> None:
    together = pooled(*((gate(), [asked(keyed(f"s{copy}", f"t{copy}"))]) for copy in range(copies)))

    assert (together.n, together.lost) == (100, 8)
    assert together.loss == pytest.approx(0.08)
    assert compare(together, alpha=0.05).p == pytest.approx(2.0**-8)


def test_few_shot_counts_of_a_task_share_its_rows_even_if_nobody_knows_where_they_are_stored() -> None:
    together = pooled(*((gate(), [asked(keyed("s", "t", count), sources={})]) for count in (0, 1, 5)))

    assert together.n == 100
    assert compare(together, alpha=0.05).p == pytest.approx(2.0**-8)


@pytest.mark.parametrize(
    "sources",
    [{}, {"test": "owner/other|default|test"}, {"test": "owner/name|other|test"}, {"test": "owner/name|default|dev"}],
    ids=["unknown", "repository", "subset", "split"],
)
def test_other_rows_are_further_evidence(sources: Mapping[str, str]) -> None:
    together = pooled((gate(), [asked(keyed("a", "t"))]), (gate(), [asked(keyed("b", "u"), sources=sources)]))

    assert (together.n, together.lost) == (200, 16)
    assert compare(together, alpha=0.05).p == pytest.approx(2.0**-16)


def test_tasks_that_share_a_part_of_their_rows_count_these_once() -> None:
    together = pooled((gate(), [asked(keyed("a", "t"))]), (gate(), [asked(keyed("b", "u"), after=[0.0] * 4 + [1.0] * 46)]))

    # four rows are lost in both tasks, four in the one that the other does not disagree with, and half of it each
    assert together.n == 100
    assert together.loss == pytest.approx((4 + 4 * 0.5) / 100)


def test_a_cluster_of_one_task_holds_the_rows_of_the_other_together() -> None:
    together = pooled((gate(), [asked(keyed("a", "t"), clusters=4)]), (gate(), [asked(keyed("b", "u"))]))

    assert (together.n, len(together.gains)) == (100, 25)
    assert compare(together, alpha=0.05).p == pytest.approx(2.0**-2)


def test_runs_of_a_row_are_averaged_run_by_run_where_all_tasks_have_as_many() -> None:
    """Two tasks with two runs in the baseline; a third with one run has none that would belong to them."""

    def twice(key: TaskKey) -> Side:
        runs = [replace(measured(scores, key=key), row_sources=SAME) for scores in ([1.0, 0.0, 1.0], [0.0, 0.0, 1.0])]
        merged = merge_runs([Baseline(tasks={key: baseline(run)}) for run in runs]).tasks[key]
        return Side(result=replace(measured([0.0, 0.0, 1.0], key=key), row_sources=SAME), baseline=merged)

    def shapes(paired: Paired) -> set[tuple[int, int]]:
        return {(runs.baseline.shape[1], runs.candidate.shape[1]) for runs in paired.runs}

    two = pooled((gate(), [twice(keyed("a", "t"))]), (gate(), [twice(keyed("b", "u"))]))
    three = pooled(*((gate(), [one]) for one in (twice(keyed("a", "t")), twice(keyed("b", "u")), asked(keyed("c", "v"), after=[1.0] * 3))))

    assert shapes(two) == {(2, 1)}
    assert two.loss == pytest.approx(0.5 / 3)
    assert (shapes(three), three.n) == ({(1, 1)}, 3)
