"""Every place where a metric is on purpose not the recorded one: the one list that the comparison with the recordings reads."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What is left out of the comparison for one table, and why."""

    reason: str
    samples: frozenset[int] | None = frozenset()
    """Numbers of the documents that score differently. None: all of them."""
    corpora: frozenset[str] | None = frozenset()
    """Names of the aggregates that differ. None: all of them."""


def _of(reason: str, *samples: int, corpora: frozenset[str] | None = frozenset()) -> Difference:
    return Difference(reason=reason, samples=frozenset(samples), corpora=corpora)


DIFFERENCES: dict[str, Difference] = {
    "quasi_exact_match_math": _of("an answer that is not there equals nothing, not even another that is not there", 12),
}
"""By the name of the table."""
