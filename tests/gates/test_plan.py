"""Which tasks are gates, on which metric, with which share of alpha: known before anything is evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from pytest_lighteval.comparison.decision import Policy
from pytest_lighteval.errors import UserInputError
from pytest_lighteval.gates.gate_file import GateEntry, GateFile
from pytest_lighteval.gates.plan import GatePlan, plan_gates
from pytest_lighteval.tasks.task_spec import TaskPattern
from pytest_lighteval.types import GateSpec, PromptTemplate, Task, TaskKey

POLICY = Policy()
METRICS = ("loglikelihood_acc", "loglikelihood_acc_norm", "mcc")
"""They report acc, acc_norm and mcc."""


def task(name: str, gates: Mapping[str, GateSpec] | None = None, *, skip: str | None = None) -> Task:
    prompt = PromptTemplate(query="q")
    return Task(suite="s", name=name, prompt=prompt, metrics=METRICS, path=Path("s.yaml"), line=1, gates=gates or {}, skip=skip)


def key(name: str, few_shots: int = 0) -> TaskKey:
    return TaskKey(suite="s", task=name, few_shots=few_shots)


def planned(
    *tasks: Task, held: Mapping[str, tuple[str, ...]] | None = None, file: Mapping[str, Mapping[str, GateSpec]] | None = None
) -> GatePlan:
    """The plan of these tasks; `held` is the baseline, by default all of them with all metrics, `file` the gates file."""
    known = {entry.name: ("acc", "acc_norm", "mcc") for entry in tasks} if held is None else held
    entries = tuple(GateEntry(line=1, pattern=TaskPattern(suite="s", task=name), gates=gates) for name, gates in (file or {}).items())
    return plan_gates(
        [(key(entry.name), entry) for entry in tasks],
        promised=lambda key: known.get(key.task),
        file=GateFile(path=Path("gates.yaml"), entries=entries) if file else None,
        policy=POLICY,
    )


def gates_of(plan: GatePlan) -> dict[str, list[tuple[str, bool]]]:
    """By task and superset, metrics and whether they are advisory."""
    every = {**plan.tasks, **plan.groups}
    return {key.task: [(gate.metric, gate.advisory) for gate in gates] for key, gates in every.items()}


def test_a_task_without_a_gate_is_compared_by_its_first_metric_that_the_baseline_holds() -> None:
    assert gates_of(planned(task("a"))) == {"a": [("acc", False)]}
    assert gates_of(planned(task("a"), held={"a": ("mcc", "acc_norm")})) == {"a": [("acc_norm", False)]}


def test_a_metric_that_the_baseline_lacks_is_planned_so_that_its_lack_is_an_error() -> None:
    assert gates_of(planned(task("a"), held={"a": ("em",)})) == {"a": [("acc", False)]}


def test_a_task_with_gates_is_compared_by_those_that_are_not_ignored() -> None:
    gates = {"acc": GateSpec(paired="ignored"), "acc_norm": GateSpec(min=0.2), "mcc": GateSpec(paired="advisory")}

    assert gates_of(planned(task("a", gates))) == {"a": [("acc_norm", False), ("mcc", True)]}


def test_what_the_baseline_does_not_hold_is_new_and_takes_no_alpha() -> None:
    plan = planned(task("a"), task("b"), held={"a": ("acc",)})

    assert plan.new == {key("b"): ("acc",)}
    assert plan.expected == {key("a")}
    assert (plan.family.gates, plan.gates[0].alpha) == (1, 0.05)


def test_a_skipped_task_is_expected_and_is_no_gate() -> None:
    plan = planned(task("a", skip="slow"), task("b"))

    assert plan.expected == {key("a"), key("b")}
    assert list(plan.tasks) == [key("b")]


def test_two_tasks_of_a_superset_are_one_gate() -> None:
    plan = planned(task("m:a"), task("m:b"), task("c"))

    assert gates_of(plan) == {"c": [("acc", False)], "m:a": [("acc", True)], "m:b": [("acc", True)], "m:_average": [("acc", False)]}
    assert plan.groups[key("m:_average")][0].members == (key("m:a"), key("m:b"))
    assert [gate.alpha for gate in plan.gates] == pytest.approx([0.02, 0.02])


def test_advisory_tasks_of_a_superset_are_within_alpha_together() -> None:
    plan = planned(*(task(f"m:{number}") for number in range(10)))

    assert {gate.alpha for gates in plan.tasks.values() for gate in gates} == {0.005}


def test_one_task_of_a_superset_is_a_gate_of_its_own() -> None:
    assert gates_of(planned(task("m:a"))) == {"m:a": [("acc", False)]}


def test_few_shot_counts_are_supersets_of_their_own() -> None:
    plan = plan_gates(
        [(key(name, few_shots), task(name)) for name in ("m:a", "m:b") for few_shots in (0, 5)],
        promised=lambda key: ("acc",),
        file=None,
        policy=POLICY,
    )

    assert sorted(plan.groups) == [key("m:_average", 0), key("m:_average", 5)]


def test_a_superset_whose_tasks_are_compared_by_other_metrics_is_no_gate() -> None:
    plan = planned(task("m:a", {"acc": GateSpec(min=0.1)}), task("m:b", {"mcc": GateSpec(min=0.1)}))

    assert gates_of(plan) == {"m:a": [("acc", False)], "m:b": [("mcc", False)]}


def test_a_task_of_a_superset_may_ask_to_be_a_gate_too() -> None:
    plan = planned(task("m:a", {"acc": GateSpec(paired="gate")}), task("m:b"))

    assert gates_of(plan) == {"m:a": [("acc", False)], "m:b": [("acc", True)], "m:_average": [("acc", False)]}


def test_a_superset_has_the_policy_that_its_tasks_state_alike_and_the_files_before_it() -> None:
    alike = [task(name, {"acc": GateSpec(max_drop=0.1, min_effect=0.01, inconclusive="fail", min=0.3)}) for name in ("m:a", "m:b")]
    differing = [
        task("m:a", {"acc": GateSpec(max_drop=0.1, min_effect=0.01)}),
        task("m:b", {"acc": GateSpec(max_drop=0.2, min_effect=0.01)}),
    ]

    (stated,) = planned(*alike).groups[key("m:_average")]
    (unstated,) = planned(*differing).groups[key("m:_average")]
    (filed,) = planned(*alike, file={"m": {"acc": GateSpec(max_drop=0.3)}}).groups[key("m:_average")]

    assert stated.spec == GateSpec(max_drop=0.1, min_effect=0.01, inconclusive="fail")
    assert unstated.spec == GateSpec()
    assert filed.spec == GateSpec(max_drop=0.3, inconclusive="fail")


def test_a_metric_that_the_file_names_for_a_superset_is_compared_though_its_tasks_are_compared_by_another() -> None:
    plan = planned(task("m:a"), task("m:b", {"acc_norm": GateSpec(min=0.1)}), file={"m": {"mcc": GateSpec(max_drop=0.1)}})

    assert gates_of(plan) == {"m:a": [("acc", True)], "m:b": [("acc_norm", True)], "m:_average": [("mcc", False)]}
    assert plan.groups[key("m:_average")][0].spec == GateSpec(max_drop=0.1)
    assert plan.groups[key("m:_average")][0].members == (key("m:a"), key("m:b"))


def test_a_metric_of_a_superset_that_a_task_does_not_report_is_refused() -> None:
    with pytest.raises(UserInputError, match=r"^s\|m:_average\|0: gate on 'mcx': s\|m:a\|0 reports only acc, acc_norm, mcc"):
        planned(task("m:a"), task("m:b"), file={"m": {"mcx": GateSpec(max_drop=0.1)}})


IGNORED = {"acc": GateSpec(paired="ignored")}


def test_a_task_that_ignores_all_metrics_stays_out_of_its_supersets_gate() -> None:
    plan = planned(task("m:a"), task("m:b", IGNORED), task("m:c"))

    assert gates_of(plan) == {"m:a": [("acc", True)], "m:c": [("acc", True)], "m:_average": [("acc", False)]}
    assert plan.groups[key("m:_average")][0].members == (key("m:a"), key("m:c"))


def test_a_gate_of_a_superset_all_of_whose_tasks_are_ignored_is_refused() -> None:
    with pytest.raises(UserInputError, match="gate on acc: every metric of all its tasks is 'paired: ignored'"):
        planned(task("m:a", IGNORED), task("m:b", IGNORED), file={"m": {"acc": GateSpec(max_drop=0.1)}})


def test_a_superset_whose_tasks_are_all_advisory_is_advisory_unless_the_file_makes_it_a_gate() -> None:
    tasks = [task(name, {"acc": GateSpec(paired="advisory")}) for name in ("m:a", "m:b")]
    mixed = [tasks[0], task("m:b", {"acc": GateSpec(max_drop=0.1)})]

    advisory, filed = planned(*tasks), planned(*tasks, file={"m": {"acc": GateSpec(paired="gate")}})

    assert gates_of(advisory)["m:_average"] == [("acc", True)]
    assert advisory.gates == ()
    assert gates_of(filed)["m:_average"] == [("acc", False)]
    assert gates_of(planned(*mixed))["m:_average"] == [("acc", False)]


def test_a_superset_that_is_ignored_leaves_its_tasks_gates() -> None:
    plan = planned(task("m:a"), task("m:b"), file={"m": {"acc": GateSpec(paired="ignored")}})

    assert gates_of(plan) == {"m:a": [("acc", False)], "m:b": [("acc", False)]}


def test_the_plan_does_not_depend_on_the_order_in_which_tasks_were_collected() -> None:
    tasks = [task("m:a"), task("c"), task("m:b")]

    assert planned(*tasks) == planned(*reversed(tasks))
