"""Which rows of token ids answer all pairs when every distinct sequence is a row of its own. Plain Python, without torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_lighteval.backends.accelerate.scoring.scores import TargetTokens
from pytest_lighteval.backends.common.token_pairs import TokenPair


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One sequence that is passed to the model, and all tokens that are scored in it."""

    tokens: tuple[int, ...]
    targets: tuple[TargetTokens, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Its tokens, and how many positions at its end have logits that are needed."""
        return len(self.tokens), len(self.tokens) - min(target.first for target in self.targets)


def plan_rows(pairs: Sequence[TokenPair]) -> list[Row]:
    """The distinct sequences that answer all pairs, longest first; equal lengths in the order of the pairs.

    Pairs with the same model input share one row: all one-token choices after one context do.
    """
    targets: defaultdict[tuple[int, ...], list[TargetTokens]] = defaultdict(list)
    for owner, pair in enumerate(pairs):
        target = TargetTokens(owner=owner, first=len(pair.context) - 1, tokens=pair.continuation)
        targets[pair.context + pair.continuation[:-1]].append(target)
    rows = [Row(tokens=tokens, targets=tuple(scored)) for tokens, scored in targets.items()]
    return sorted(rows, key=lambda row: -len(row.tokens))
