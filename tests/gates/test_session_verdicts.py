"""The verdicts of a whole session: what the pooled test says of the gates that have no part in it."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_lighteval.comparison.decision import Family, Policy
from pytest_lighteval.gates.compare import Side
from pytest_lighteval.gates.plan import GatePlan, PairedGate
from pytest_lighteval.gates.session_verdicts import SessionGates
from pytest_lighteval.gates.waivers import load_waivers
from pytest_lighteval.types import CorpusMetric, TaskKey
from tests.gates.test_compare import MEAN, gate, side

KEYS = [TaskKey(suite="s", task=name, few_shots=0) for name in "abcde"]
CORPUS = CorpusMetric(aggregate=lambda values: sum(values) / len(values), higher_is_better=True, is_mean=False)


def session(sides: Mapping[TaskKey, Side], *gates: PairedGate) -> SessionGates:
    plan = GatePlan(family=Family(alpha=0.05, gates=len(gates)), tasks={one.key: (one,) for one in gates})
    return SessionGates(
        plan=plan,
        find=lambda key: sides[key].baseline if key in sides else None,
        results={key: one.result for key, one in sides.items()},
        policy=Policy(),
        today=datetime.date(2026, 1, 1),
    )


def gates(*corpora: CorpusMetric) -> list[PairedGate]:
    return [replace(gate(corpus), key=key) for key, corpus in zip(KEYS, corpora, strict=False)]


def same(key: TaskKey, *, version: int = 0) -> Side:
    one = side([1.0] * 50, [1.0] * 50, key=key)
    return Side(result=replace(one.result, version=version), baseline=one.baseline)


def test_a_gate_that_is_left_out_of_the_pooled_test_is_named_by_its_reason() -> None:
    pooled = session({key: same(key) for key in KEYS[:3]}, *gates(MEAN, MEAN, CORPUS)).pooled()

    assert pooled is not None
    assert pooled.notes == ("2 gates", "1 left out: corpus metric")


def test_several_reasons_to_leave_gates_out_are_counted_one_by_one() -> None:
    sides = {key: same(key) for key in KEYS[:3]} | {KEYS[3]: same(KEYS[3], version=9)}

    pooled = session(sides, *gates(MEAN, MEAN, CORPUS, MEAN, MEAN)).pooled()

    assert pooled is not None
    assert pooled.notes == ("2 gates", "3 left out: 1 corpus metric, 1 baseline does not fit, 1 no score")


def test_a_waiver_leaves_its_gate_out_of_the_pooled_test(tmp_path: Path) -> None:
    waivers = tmp_path / "waivers.yaml"
    waivers.write_text("- {task: s|c, reason: known, until: 2026-12-31, floor: 0.1}\n")
    gated = session({key: same(key) for key in KEYS[:3]}, *gates(MEAN, MEAN, MEAN))

    pooled = replace(gated, waivers=load_waivers(waivers)).pooled()

    assert pooled is not None
    assert pooled.notes == ("2 gates", "1 left out: waiver")


@pytest.mark.parametrize(
    ("superset", "tasks"),
    [
        ("mmlu", ["mmlu:law", "mmlu:art", "mmlu:logic"]),
        ("belebele_cf", ["belebele_tha_Thai_cf", "belebele_deu_Latn_cf", "belebele_fra_Latn_cf"]),
    ],
)
def test_a_superset_says_how_many_of_its_tasks_are_compared(superset: str, tasks: list[str]) -> None:
    keys = [TaskKey(suite="s", task=name, few_shots=0) for name in tasks]
    others = [replace(keys[0], few_shots=5), TaskKey(suite="s", task="belebele_tha_Thai_mcf", few_shots=0)]
    group = replace(gate(MEAN), key=TaskKey(suite="s", task=f"{superset}:_average", few_shots=0), members=tuple(keys[:2]))
    gated = session({key: same(key) for key in keys[:2]})
    gated = replace(gated, plan=replace(gated.plan, groups={group.key: (group,)}), promised=[*keys, *others])

    (verdict,) = gated.group(group.key).values()

    assert verdict.notes[0] == "2 of the 3 tasks of the baseline are compared"
