"""Sequential mode for one task: its documents in a seeded order, its gates judged look by look, and the end once all are certain.

A pure function of the task, its baseline and the answers: no clock, no worker and no other task has a say.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

from pytest_lighteval.baselines.pairing import Pairs, Stale, mean_scores
from pytest_lighteval.baselines.values import BaselineTask
from pytest_lighteval.evaluate import Case
from pytest_lighteval.gate.paired import Paired, pair
from pytest_lighteval.gate.sequential import LookDecision, look, look_ends, stratified_order
from pytest_lighteval.gate.verdict import Policy
from pytest_lighteval.types import TaskKey, TaskResult

__all__ = ["GateLooks"]


class GateLooks:
    """The looks at one task (`evaluate.Looks`), and what they decided.

    A metric's verdict is that of the look at which it became certain; the task ends when that holds for every gated metric. Where the
    documents are not exactly those that the baseline promises, the task is asked as a whole, so that the usual comparison can tell why.

    Args:
        key: of the task.
        baseline: of the same task.
        policies: by gated metric, which must be means over documents.
        alpha: the share of the session's that each of the gates has.
        most: looks, the end included; fewer are made at few documents.
        max_samples: the run's limit.
        pair_up: brings what was measured so far and the baseline together, for one metric.
    """

    def __init__(
        self,
        *,
        key: TaskKey,
        baseline: BaselineTask,
        policies: Mapping[str, Policy],
        alpha: float,
        most: int,
        max_samples: int | None,
        pair_up: Callable[[TaskResult, str], Pairs | Stale],
    ) -> None:
        self.decided: dict[str, LookDecision] = {}
        """The last word on each metric, once it is certain or all documents are seen. Empty: the task was not looked at."""
        self.planned = 1
        """Looks that would be made without an early end."""
        self._key, self._baseline, self._policies, self._alpha = key, baseline, dict(policies), alpha
        self._most, self._max_samples, self._pair_up = most, max_samples, pair_up
        self._look_of: dict[str, int] = {}
        self._ends: dict[str, tuple[int, ...]] = {}

    def parts(self, cases: Sequence[Case]) -> Sequence[Sequence[int]]:
        """The cases of each look. All few-shot seeds of a document, and all documents of a cluster, stand in the same one."""
        whole = [range(len(cases))]
        clusters = {case.doc.id: case.doc.cluster for case in cases}
        if [(case.doc.id, case.seed) for case in cases] != self._promised():
            return whole
        names = list(clusters)
        strata = [name.partition(":")[0] for name in names]
        order = stratified_order(strata, clusters=list(clusters.values()), name=str(self._key))
        ordered = [names[position] for position in order]
        ends = look_ends(len(ordered), looks=self._most, clusters=[clusters[name] for name in ordered])
        by_look = [ordered[start:end] for start, end in itertools.pairwise((0, *ends))]
        self._ends = {metric: self._scored(metric, by_look) for metric in self._policies}
        if not all(earlier < seen for ends in self._ends.values() for earlier, seen in itertools.pairwise((0, *ends))):
            return whole  # a look that scores nothing
        self._look_of = {name: number for number, members in enumerate(by_look) for name in members}
        self.planned = len(by_look)
        return [[index for index, case in enumerate(cases) if self._look_of[case.doc.id] == number] for number in range(len(by_look))]

    def enough(self, result: TaskResult) -> bool:
        """Judge every gate that is still open; whether none is left."""
        for metric, policy in self._policies.items() if self._look_of else ():
            pairs = self._pair_up(result, metric) if metric not in self.decided else None
            if isinstance(pairs, Pairs):
                decision = look(self._by_look(pairs), self._ends[metric], policy, alpha=self._alpha)
                if decision.stop:
                    self.decided[metric] = decision
        return len(self.decided) == len(self._policies)

    def _promised(self) -> list[tuple[str, int]]:
        """The baseline's documents with their few-shot seeds, under this run's limit."""
        promised = list(zip(self._baseline.ids, self._baseline.few_shot_seeds, strict=True))
        seeds = dict.fromkeys(self._baseline.few_shot_seeds)
        return [place for seed in seeds for place in [place for place in promised if place[1] == seed][: self._max_samples]]

    def _scored(self, metric: str, by_look: Sequence[Sequence[str]]) -> tuple[int, ...]:
        """How many documents that have a score of the metric in the baseline were seen at the end of each look."""
        rows = zip(self._baseline.ids, self._baseline.scores.get(metric, ()), strict=False)
        scored = {name for name, repeats in rows if any(value is not None for value in repeats)}
        return tuple(itertools.accumulate(sum(name in scored for name in members) for members in by_look))

    def _by_look(self, pairs: Pairs) -> list[Paired]:
        before, after = mean_scores(pairs)
        members: dict[int, list[int]] = {}
        for position, name in enumerate(pairs.ids):
            members.setdefault(self._look_of[name], []).append(position)
        return [
            pair(
                [before[position] for position in positions],
                [after[position] for position in positions],
                higher_is_better=pairs.higher_is_better,
                clusters=None if pairs.clusters is None else [pairs.clusters[position] for position in positions],
            )
            for _, positions in sorted(members.items())
        ]
