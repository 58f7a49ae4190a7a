"""The gate of a series of checkpoints: shares of alpha that sum to one, and the best so far."""

from __future__ import annotations

import datetime
import math
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_lighteval.backends.fake import FakeBackend
from pytest_lighteval.evaluate import evaluate
from pytest_lighteval.gates.gate_file import load_gates
from pytest_lighteval.gates.gate_settings import GateSettings, read_gate_settings
from pytest_lighteval.gates.history import history_rows
from pytest_lighteval.gates.series import best_point, comparison_share, judge_of_point, without_floors, without_spent_documents
from pytest_lighteval.reports.history import curve_lines, history_jsonl, history_markdown, read_history
from pytest_lighteval.tasks.suite_file import load_suite
from pytest_lighteval.types import GateSpec, HistoryPoint, Task, TaskKey
from tests.plugin.gated import write_gated


def gate_settings() -> GateSettings:
    """Those of a session without an option of the gate."""
    return read_gate_settings(defaultdict(lambda: None), Path(), today=datetime.date(2026, 1, 2))


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> dict[TaskKey, Task]:
    tasks = load_suite(write_gated(tmp_path_factory.mktemp("gated"), documents=200))
    return {TaskKey(suite=task.suite, task=task.name, few_shots=0): task for task in tasks}


def a_point(items: dict[TaskKey, Task], step: int, **model: float) -> HistoryPoint:
    backend = FakeBackend(**model)
    results = {key: evaluate(task, backend, few_shots=0) for key, task in items.items()}
    return HistoryPoint(name=f"step-{step}", step=step, results=results)


def test_the_shares_of_a_series_without_an_end_sum_to_alpha() -> None:
    spent = [(position - 1) * comparison_share(position) for position in range(2, 100_000)]

    assert math.fsum(spent) == pytest.approx(1, abs=1e-4)
    assert math.fsum(spent) < 1
    assert comparison_share(2) == 0.5


def test_the_best_is_chosen_by_the_metric_and_its_direction_and_the_first_wins_a_tie(items: dict[TaskKey, Task]) -> None:
    low, high, same = a_point(items, 1, accuracy=0.3), a_point(items, 2, accuracy=0.6), a_point(items, 3, accuracy=0.6)
    keys = [*items]

    assert best_point([low, high, same], keys, "acc") is high
    falling = [
        replace(point, results={key: replace(result, metrics={"acc": replace(result.metrics["acc"], higher_is_better=False)})
                                for key, result in point.results.items()})
        for point in (low, high)
    ]  # fmt: skip
    assert best_point(falling, keys, "acc") is falling[0]
    partial = replace(high, results={keys[0]: high.results[keys[0]]})
    assert best_point([partial], keys, "acc") is None
    assert best_point([], keys, "acc") is None


def test_each_task_is_compared_with_its_own_best_and_a_supersets_tasks_with_one_point(items: dict[TaskKey, Task]) -> None:
    first, second = a_point(items, 1, accuracy=0.6), a_point(items, 2, accuracy=0.6, lose=0.3)
    alone = next(key for key in items if key.task == "alone")
    second = replace(second, results={**second.results, alone: a_point(items, 9, accuracy=0.9).results[alone]})

    judge = judge_of_point(gate_settings(), [*items.items()], [first, second], facts={}, settings={})

    assert judge.gate.baselines is not None
    assert judge.gate.baselines.chosen == {key: "step-2" if key == alone else "step-1" for key in items}  # type: ignore[union-attr]
    assert judge.plan is not None
    gates = judge.plan.gates
    assert [gate.alpha for gate in gates] == [0.05 * comparison_share(3) / len(gates)] * len(gates)
    assert judge.plan.family.pooled_alpha is None


def test_the_first_point_is_held_to_nothing_and_no_point_to_a_floor(items: dict[TaskKey, Task], tmp_path: Path) -> None:
    path = tmp_path / "gates.yaml"
    path.write_text("gated|alone: {acc: {min: 0.99}}\ngated|many:first: {acc: {min: 0.99, max_drop: 0.05}}\n")
    gate = replace(gate_settings(), file=load_gates(path))

    judge = judge_of_point(gate, [*items.items()], [], facts={}, settings={})

    assert judge.plan is None
    assert not any(judge.has_floor(key, task) for key, task in items.items())
    assert judge.gate.file is not None
    assert [entry.gates["acc"].max_drop for entry in judge.gate.file.entries] == [0.05]
    bare = without_floors(replace(next(iter(items.values())), gates={"acc": GateSpec(min=0.4), "x": GateSpec(min=1, max_drop=0.1)}))
    assert bare.gates == {"x": GateSpec(max_drop=0.1)}


def test_a_row_has_the_paired_differences_to_the_one_before_and_to_the_best(items: dict[TaskKey, Task], tmp_path: Path) -> None:
    points = [a_point(items, 1, accuracy=0.6, gain=0.2), a_point(items, 2, accuracy=0.6), a_point(items, 3, accuracy=0.6)]

    rows = [row for place, point in enumerate(points) for row in history_rows(point, points[:place], items, {})]

    last = next(row for row in rows if row.point == "step-3" and row.task == "gated|alone|0" and row.metric == "acc")
    assert (last.before and (last.before.point, last.before.loss, last.before.lost)) == ("step-2", 0.0, 0)
    assert last.best is not None
    assert last.best.point == "step-1"
    assert last.best.lower <= last.best.loss <= last.best.upper
    assert last.best.loss == pytest.approx(points[0].results[items_key(items)].metrics["acc"].value - last.score)
    assert last.stderr is not None
    assert last.upper == pytest.approx(last.score + 1.96 * last.stderr, abs=1e-4)
    assert any(row.task == "gated|many:_average|0" and row.best is not None for row in rows)
    (tmp_path / "history.jsonl").write_text(history_jsonl(rows))
    assert read_history(tmp_path / "history.jsonl") == rows
    assert len(curve_lines(rows)) == 3 * 5
    page = history_markdown("run/*", rows)
    assert page.count("| step-3 |") == len([row for row in rows if row.point == "step-3"])
    assert "gated\\|alone\\|0 acc" in page


def test_only_documents_that_a_later_point_may_need_stay_in_memory(items: dict[TaskKey, Task]) -> None:
    points = [a_point(items, step, accuracy=accuracy) for step, accuracy in ((1, 0.5), (2, 0.8), (3, 0.6), (4, 0.7))]

    kept = without_spent_documents(points)

    assert [[bool(result.documents) for result in point.results.values()] for point in kept] == [
        [False] * len(items),
        [True] * len(items),
        [False] * len(items),
        [True] * len(items),
    ]
    new = a_point(items, 5, accuracy=0.65)
    assert history_rows(new, kept, items, {}) == history_rows(new, points, items, {})


def items_key(items: dict[TaskKey, Task]) -> TaskKey:
    return next(key for key in items if key.task == "alone")
