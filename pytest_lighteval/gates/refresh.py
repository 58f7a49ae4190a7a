"""Whether a run differs from the baseline that it would replace: the paired test, asked in both directions.

A rule that only asks about losses keeps the luckiest of many runs, and honest later runs then look worse than it
(docs/decisions/017-refreshing-and-pinned-baselines.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pytest_lighteval.baselines.align import AlignedScores
from pytest_lighteval.baselines.model import BaselineTask
from pytest_lighteval.baselines.remeasured import align_measurements, other_measurement
from pytest_lighteval.baselines.save import Difference, Pairs
from pytest_lighteval.comparison.compare import FullComparison, compare
from pytest_lighteval.comparison.decision import Family, Policy
from pytest_lighteval.gates.compare import compare_aligned, most_of
from pytest_lighteval.gates.pool import PoolPart, pooled_documents
from pytest_lighteval.types import CorpusMetric, TaskKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Refreshing:
    """What is known of a run beside its scores, to tell a changed score from chance."""

    reported: Mapping[TaskKey, Mapping[str, CorpusMetric]]
    """How the documents' values of a task become its numbers, by reported name."""
    clusters: Mapping[TaskKey, Mapping[str, str | None]]
    """Task -> document id -> its cluster."""
    rows: Mapping[TaskKey, Mapping[str, str]]
    """Task -> document id -> its row, as `AlignedScores.rows`."""
    policy: Policy
    """The session's."""

    def differences(self, pairs: Pairs) -> list[Difference]:
        """All that is not as the files have it, sorted.

        The numbers share the session's alpha as gates do: four fifths in equal parts, and one fifth for all documents together. Each test
        is two-sided. Numbers of another measurement (version, data, prompts) are not tested: they differ.
        """
        found = [Difference(key=key, text=f"{key}: {line}") for key in sorted(pairs) for line in other_measurement(*pairs[key])]
        others = {difference.key for difference in found}
        numbers = [
            (key, name)
            for key, (old, new) in sorted(pairs.items())
            if key not in others
            for name in old.metrics
            if name in new.metrics and name in self.reported.get(key, {})
        ]
        family = Family(alpha=self.policy.alpha, gates=len(numbers))
        parts = []
        for key, name in numbers:
            old, new = pairs[key]
            corpus = self.reported[key][name]
            aligned = align_measurements(old, new, name, clusters=self.clusters.get(key, {}), rows=self.rows.get(key, {}))
            if isinstance(aligned, str):
                found.append(Difference(key=key, metric=name, text=f"{key}: {aligned}"))
                continue
            if corpus.is_mean and corpus.within_one:
                parts.append(PoolPart(aligned=(aligned,), policy=self.policy, most=most_of(corpus)))
            if (p := _two_sided(aligned, corpus, family.gate_alpha)) is not None:
                found.append(Difference(key=key, metric=name, text=_line(key, name, old, new, p)))
        if family.pooled_alpha is not None and len(parts) > 1 and not found:
            found += self._pooled(parts, family.pooled_alpha)
        return found

    def _pooled(self, parts: list[PoolPart], alpha: float) -> list[Difference]:
        """A change that is in every task and visible in none."""
        together = compare(pooled_documents(parts, self.policy), alpha=alpha / 2, certify_alpha=alpha / 2)
        if (p := _p(together)) > alpha:
            return []
        what, size = ("lower", together.loss) if together.loss > 0 else ("higher", -together.loss)
        return [Difference(text=f"all {together.n} documents together: {what} by {100 * size:.2f} points (p = {p:.2g}, two-sided)")]


def _two_sided(aligned: AlignedScores, corpus: CorpusMetric, alpha: float) -> float | None:
    """The two-sided p-value if it is at most alpha. None: the two sides differ by no more than chance."""
    if aligned.baseline == aligned.candidate:
        return None
    p = _p(compare_aligned([aligned], corpus, alpha=alpha / 2, certify_alpha=alpha / 2))
    return p if p <= alpha else None


def _p(comparison: FullComparison) -> float:
    return min(1.0, 2 * min(comparison.p, comparison.p_gain))


def _line(key: TaskKey, metric: str, old: BaselineTask, new: BaselineTask, p: float) -> str:
    return f"{key}: {metric} {old.metrics[metric].value:.4f} -> {new.metrics[metric].value:.4f} (p = {p:.2g}, two-sided)"
