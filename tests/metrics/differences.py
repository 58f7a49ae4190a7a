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


SEVERAL = frozenset({"all", "first_half", "random_0", "random_1"})
"""The aggregates over more than one document."""

DIFFERENCES: dict[str, Difference] = {
    **{
        name: _of(
            "the reference hands each document's references over as one stream, so that only the first document counts", corpora=SEVERAL
        )
        for name in ("bleu", "chrf", "ter")
    },
    "drop": _of("the reference reports the highest document instead of the mean", corpora=SEVERAL),
    "quasi_exact_match_math": _of("an answer that is not there equals nothing, not even another that is not there", 12),
}
"""By the name of the table."""
