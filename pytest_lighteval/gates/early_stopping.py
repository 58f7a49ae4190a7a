"""Early stopping of one task (sequential mode): its documents in a seeded order, in parts; its gates judged after each part.

The result depends only on the task, its baseline and the answers: on no clock, no worker and no other task.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pytest_lighteval.asking import PromptedDoc
from pytest_lighteval.baselines.align import AlignedScores, MismatchKind, align, mean_scores
from pytest_lighteval.baselines.model import BaselineTask
from pytest_lighteval.comparison.decision import Policy
from pytest_lighteval.comparison.paired import Paired, pair
from pytest_lighteval.comparison.sequential import LookDecision, look, look_ends, stratified_order
from pytest_lighteval.gates.compare import most_of, own_policy, verdict_with_soft
from pytest_lighteval.gates.plan import GatePlan, PairedGate
from pytest_lighteval.gates.soft_voice import score_alpha
from pytest_lighteval.types import PairedVerdict, TaskKey, TaskResult


def stopping_gates(plan: GatePlan, key: TaskKey) -> tuple[PairedGate, ...]:
    """The gates of a task that can stop it early. Empty: a gate of its superset, or a metric of the corpus, needs all of its documents."""
    covered = any(key in gate.members for gates in plan.groups.values() for gate in gates)
    gates = tuple(gate for gate in plan.tasks.get(key, ()) if not gate.advisory)
    return gates if not covered and all(gate.corpus.is_mean for gate in gates) else ()


class EarlyStopping:
    """The interim checks of one task (an `evaluate.StoppingRule`), and the verdicts that they decided.

    A gate's verdict is that of the check at which it became certain. The task stops when every gate has one. If the documents are not
    exactly those of the baseline, or one has no score, every document is asked, and the usual comparison says what differs.

    Args:
        gates: of the task, on metrics that are means over documents; not empty.
        baseline: of the same task.
        session: the session's policy, for what a gate does not set itself.
        most: checks, the one at the end included; there are fewer if there are few documents.
        max_samples: the run's limit.
        settings: of the run, as `align` takes them.
        allow: kinds of mismatch that the user allows.
    """

    def __init__(
        self,
        gates: Sequence[PairedGate],
        baseline: BaselineTask,
        session: Policy,
        *,
        most: int,
        max_samples: int | None = None,
        settings: Mapping[str, Any] | None = None,
        allow: Collection[MismatchKind] = (),
    ) -> None:
        self.decided: dict[str, LookDecision] = {}
        """The final decision on each metric, once it is certain or all documents are seen. Empty: the task was not checked early."""
        self._gates, self._baseline, self._most, self._max_samples = gates, baseline, most, max_samples
        self._policies = {gate.metric: own_policy(gate, [baseline], session) for gate in gates}
        self._alphas = {gate.metric: score_alpha(gate, [baseline]) for gate in gates}
        self._settings, self._allow = settings, allow
        self._part_of: dict[str, int] = {}
        self._ends: dict[str, tuple[int, ...]] = {}
        self._aligned: dict[str, AlignedScores] = {}

    # ------------------------------------------------------------------------------------------ as `evaluate` asks

    def parts(self, docs: Sequence[PromptedDoc]) -> Sequence[Sequence[int]]:
        """The documents of each part. All few-shot seeds of a document, and all documents of a cluster, are in one part."""
        whole = [range(len(docs))]
        if [(asked.doc.id, asked.few_shot_seed) for asked in docs] != self._promised():
            return whole
        clusters = {asked.doc.id: asked.doc.cluster for asked in docs}
        names = list(clusters)
        strata = [name.partition(":")[0] for name in names]
        order = stratified_order(strata, clusters=list(clusters.values()), name=str(self._baseline.key))
        ordered = [names[position] for position in order]
        ends = look_ends(len(ordered), looks=self._most, clusters=[clusters[name] for name in ordered])
        by_part = [ordered[start:end] for start, end in itertools.pairwise((0, *ends))]
        self._ends = {gate.metric: self._scored(gate.metric, by_part) for gate in self._gates}
        if not all(earlier < seen for ends in self._ends.values() for earlier, seen in itertools.pairwise((0, *ends))):
            return whole  # in one part no document has a score
        self._part_of = {name: number for number, members in enumerate(by_part) for name in members}
        return [[index for index, asked in enumerate(docs) if self._part_of[asked.doc.id] == number] for number in range(len(by_part))]

    def should_stop(self, result: TaskResult) -> bool:
        """Judge every gate that is not decided yet. True: all are decided."""
        for gate in self._gates if self._part_of else ():
            aligned = None if gate.metric in self.decided else self._align(gate, result)
            if isinstance(aligned, AlignedScores):
                parts = self._by_part(aligned, most_of(gate.corpus))
                if list(itertools.accumulate(part.n for part in parts)) != list(self._ends[gate.metric][: len(parts)]):
                    continue  # the user allows documents without a score: alpha was divided over other numbers of documents
                decision = look(parts, self._ends[gate.metric], self._policies[gate.metric], alpha=self._alphas[gate.metric])
                if decision.stop:
                    self.decided[gate.metric], self._aligned[gate.metric] = decision, aligned
        return len(self.decided) == len(self._gates)

    # ------------------------------------------------------------------------------------------------- afterwards

    def verdict(self, gate: PairedGate) -> PairedVerdict | None:
        """The verdict of a gate. None: the checks decided nothing, so compare the documents as those of any run."""
        decision = self.decided.get(gate.metric)
        if decision is None:
            return None
        aligned = self._aligned[gate.metric]
        return verdict_with_soft(
            gate,
            [self._baseline],
            [aligned],
            decision.decision,
            notes=(f"check {decision.look} of {len(self._ends[gate.metric])}", *aligned.notes),
        )

    # ---------------------------------------------------------------------------------------------------- details

    def _align(self, gate: PairedGate, result: TaskResult) -> object:
        return align(result, self._baseline, gate.metric, settings=self._settings, allow=self._allow, stopped_early=result.num_saved > 0)

    def _promised(self) -> list[tuple[str, int]]:
        """The baseline's documents with their few-shot seeds, under this run's limit."""
        promised = list(zip(self._baseline.ids, self._baseline.few_shot_seeds, strict=True))
        seeds = dict.fromkeys(self._baseline.few_shot_seeds)
        return [place for seed in seeds for place in [place for place in promised if place[1] == seed][: self._max_samples]]

    def _scored(self, metric: str, by_part: Sequence[Sequence[str]]) -> tuple[int, ...]:
        """The number of documents with a score of the metric in the baseline, up to and including each part."""
        rows = zip(self._baseline.ids, self._baseline.scores.get(metric, ()), strict=False)
        scored = {name for name, repeats in rows if any(value is not None for value in repeats)}
        return tuple(itertools.accumulate(sum(name in scored for name in members) for members in by_part))

    def _by_part(self, aligned: AlignedScores, most: float) -> list[Paired]:
        before, after = mean_scores(aligned)
        members: dict[int, list[int]] = {}
        for position, name in enumerate(aligned.ids):
            members.setdefault(self._part_of[name], []).append(position)
        return [
            pair(
                [before[position] for position in positions],
                [after[position] for position in positions],
                higher_is_better=aligned.higher_is_better,
                clusters=None if aligned.clusters is None else [aligned.clusters[position] for position in positions],
                most=most,
            )
            for _, positions in sorted(members.items())
        ]
