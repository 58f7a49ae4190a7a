"""Which numbers of a session are gates, and which share of the session's alpha each has.

A pure function of the selected tasks, the gates file and the baseline's contents: the same in every worker, and known before the run.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

from pytest_lighteval.comparison.decision import Family, Policy
from pytest_lighteval.errors import UserInputError, did_you_mean
from pytest_lighteval.gates.gate_file import GateFile, gates_for, merged
from pytest_lighteval.metrics import metrics_of
from pytest_lighteval.types import CorpusMetric, GateSpec, Task, TaskKey

Promised = Callable[[TaskKey], Container[str] | None]
"""The metrics of a task that can be compared. None: the task is new."""

_POLICY = ("max_drop", "min_effect", "alpha", "inconclusive")


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedGate:
    """One number of a task or a superset that is compared with the baseline."""

    key: TaskKey
    metric: str
    """A reported name."""
    corpus: CorpusMetric
    spec: GateSpec
    """From its suite and the gates file."""
    advisory: bool
    """Only reported; it has no share of the session's alpha."""
    alpha: float
    """Of its test for a loss."""
    members: tuple[TaskKey, ...] = ()
    """A superset's tasks that are compared, sorted. Empty: a task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatePlan:
    """All comparisons of a session."""

    family: Family
    """The gates that share the session's alpha."""
    tasks: Mapping[TaskKey, tuple[PairedGate, ...]]
    groups: Mapping[TaskKey, tuple[PairedGate, ...]] = field(default_factory=dict)
    new: Mapping[TaskKey, tuple[str, ...]] = field(default_factory=dict)
    """Selected tasks that the baseline does not have, with the metrics that would be compared."""
    expected: frozenset[TaskKey] = frozenset()
    """Selected tasks that it has: each must get a score, or the session is red."""

    @property
    def gates(self) -> tuple[PairedGate, ...]:
        """Those that share the session's alpha, tasks before supersets, sorted."""
        every = (*self.tasks.values(), *self.groups.values())
        return tuple(gate for gates in every for gate in gates if not gate.advisory)


def plan_gates(
    items: Iterable[tuple[TaskKey, Task]],
    *,
    promised: Promised,
    file: GateFile | None,
    policy: Policy,
    share: float = 1.0,
    has_pool: bool = True,
) -> GatePlan:
    """Choose the gates among the selected tasks.

    - A task is compared on the metrics that its suite or the gates file names; if none is named, on the first that it reports and the
      baseline has.
    - Two or more tasks of a superset are one gate: on the metrics that the gates file names for the superset, otherwise on the metrics on
      which all of them are compared. The tasks themselves are then advisory, except one that says `paired: gate`.
    - A task all of whose metrics are ignored is left out of its superset's gate.

    `share`: of the session's alpha; a pinned baseline, or other comparisons, have the rest. `has_pool`: as `Family` has it.

    Raises UserInputError for a metric of a superset that its tasks do not report.
    """
    items = sorted(items, key=lambda item: item[0])
    chosen: dict[TaskKey, dict[str, _Choice]] = {}
    new: dict[TaskKey, tuple[str, ...]] = {}
    expected = set()
    for key, task in items:
        held = promised(key)
        choices = _choices(task, gates_for(key, task.gates, file), held or ()) if task.skip is None else {}
        if held is None:
            new[key] = tuple(choices)
            continue
        expected.add(key)
        if task.skip is None:
            chosen[key] = choices
    groups: dict[TaskKey, dict[str, _Choice]] = {}
    members: dict[TaskKey, list[TaskKey]] = {}
    for key in chosen:
        if (group := key.superset) is not None:
            members.setdefault(group, []).append(key)
    tasks = dict(items)
    for group, siblings in members.items():
        specs = gates_for(group, {}, file)
        keys = members[group] = [key for key in siblings if chosen[key]]
        if len(siblings) > 1 and not keys and any(spec.paired != "ignored" for spec in specs.values()):
            raise UserInputError(f"{group}: gate on {', '.join(specs)}: every metric of all its tasks is 'paired: ignored'")
        if len(keys) > 1 and (gates := _group_choices(group, specs, {key: (tasks[key], chosen[key]) for key in keys})):
            groups[group] = gates
            for key in keys:
                chosen[key] = {name: replace(choice, covered=True) for name, choice in chosen[key].items()}
    every = [*chosen.values(), *groups.values()]
    family = Family(
        alpha=policy.alpha,
        gates=sum(not choice.advisory for choices in every for choice in choices.values()),
        share=share,
        has_pool=has_pool,
    )

    def gate(key: TaskKey, name: str, choice: _Choice, siblings: Sequence[TaskKey], own: Sequence[TaskKey] = ()) -> PairedGate:
        # advisory siblings share one alpha, so that of many subtasks few are reported by chance
        share = policy.alpha / max(1, len(siblings)) if choice.advisory else family.gate_alpha
        return PairedGate(
            key=key,
            metric=name,
            corpus=choice.corpus,
            spec=choice.spec,
            advisory=choice.advisory,
            alpha=share if choice.spec.alpha is None else min(share, choice.spec.alpha),
            members=tuple(own),
        )

    return GatePlan(
        family=family,
        tasks={
            key: tuple(gate(key, name, choice, members.get(key.superset or key, ())) for name, choice in choices.items())
            for key, choices in chosen.items()
            if choices
        },
        groups={
            key: tuple(gate(key, name, choice, (), members[key]) for name, choice in choices.items())
            for key, choices in sorted(groups.items())
        },
        new=new,
        expected=frozenset(expected),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """A metric that is compared."""

    corpus: CorpusMetric
    spec: GateSpec
    covered: bool = False
    """The gate of its superset covers it."""

    @property
    def advisory(self) -> bool:
        return self.spec.paired == "advisory" or (self.covered and self.spec.paired != "gate")


def _choices(task: Task, specs: Mapping[str, GateSpec], held: Container[str]) -> dict[str, _Choice]:
    reported = reported_metrics(task)
    if not specs and reported:
        first = next((name for name in reported if name in held), next(iter(reported)))
        specs = {first: GateSpec()}
    return {
        name: _Choice(corpus=reported[name], spec=spec) for name, spec in specs.items() if name in reported and spec.paired != "ignored"
    }


def reported_metrics(task: Task) -> dict[str, CorpusMetric]:
    """The numbers that a task reports, by name, in its order."""
    return {name: corpus for entry in metrics_of(task) for name, corpus in entry.corpus.items()}


def _group_choices(
    group: TaskKey, specs: Mapping[str, GateSpec], members: Mapping[TaskKey, tuple[Task, Mapping[str, _Choice]]]
) -> dict[str, _Choice]:
    """The metrics of a superset's gate: those that the gates file names for it, otherwise those on which all members are compared."""
    compared = [choices for _, choices in members.values()]
    reported = [reported_metrics(task) for task, _ in members.values()]
    shared = [name for name in compared[0] if all(name in choices for choices in compared)]
    choices = {}
    for name in specs or shared:
        for key, metrics in zip(members, reported, strict=True):
            if name not in metrics:
                raise UserInputError(f"{group}: gate on {name!r}: {key} reports only {', '.join(metrics)}{did_you_mean(name, metrics)}")
        own = [choices[name].spec for choices in compared if name in choices]
        spec = merged(_agreed(own) if len(own) == len(compared) else GateSpec(), replace(specs.get(name, GateSpec()), min=None, max=None))
        if spec.paired != "ignored":
            corpora = [metrics[name] for metrics in reported]
            kinds = {corpus.soft and corpus.soft.is_margin for corpus in corpora}
            choices[name] = _Choice(corpus=corpora[0] if len(kinds) == 1 else replace(corpora[0], soft=None), spec=spec)
    return choices


def _agreed(specs: Sequence[GateSpec]) -> GateSpec:
    """The policy values that are the same in all of them; advisory if all of them are."""
    shared = {name: getattr(specs[0], name) for name in _POLICY if len({getattr(spec, name) for spec in specs}) == 1}
    if shared.get("max_drop") is None:
        shared.pop("min_effect", None)
    assert shared.keys() <= {entry.name for entry in fields(GateSpec)}
    return GateSpec(**shared, paired="advisory" if all(spec.paired == "advisory" for spec in specs) else None)
