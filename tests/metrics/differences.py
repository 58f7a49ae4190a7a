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

NO_ANSWER = "an answer that is not there equals nothing, not even another that is not there"
TOO_FEW = "the reference counts samples that were not drawn as wrong; a share of those that were drawn is right"

DIFFERENCES: dict[str, Difference] = {
    **{
        name: _of(
            "the reference hands each document's references over as one stream, so that only the first document counts", corpora=SEVERAL
        )
        for name in ("bleu", "chrf", "ter")
    },
    "drop": _of("the reference reports the highest document instead of the mean", corpora=SEVERAL),
    "maj_at_4_math": _of(NO_ANSWER, 12, 13),
    "latex_gold_metric": _of("math-verify takes `x in {1, -1}` and `+-1` for equal", 20),
    "math_pass_at_1_4n": _of(TOO_FEW, 7, 9, 12),
    "math_pass_at_1_8n": _of(TOO_FEW, 5),
    "math_pass_at_1_16n": _of(TOO_FEW, 2, 3, 4, 5, 7, 13),
    "math_pass_at_1_32n": _of(TOO_FEW, 7),
    "math_pass_at_1_64n": _of(TOO_FEW, 1, 6),
    "g_pass_at_16_expr_gold": _of(TOO_FEW, 3),
    "g_pass_at_16_latex_gold": _of(TOO_FEW, 3),
    "quasi_exact_match_math": _of(NO_ANSWER, 12),
}
"""By the name of the table."""

COMPARISONS = {("pi", "3.14159265"): "math-verify compares the decimals of a constant, too"}
"""Pairs of a gold and an answer that math-verify judges otherwise than the reference's own comparison."""
