"""What is scored and what comes of it: target tokens, scores, and the protocol of a way to score. Knows no model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from pytest_lighteval.backends.common.token_pairs import TokenPair


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetTokens:
    """Successive tokens of a pair's continuation that are scored in one row, or in one piece of a prefix tree."""

    owner: int
    """The index of the pair."""
    first: int
    """The place in the row or piece whose logits score the first of these tokens; the next place scores the next token."""
    tokens: tuple[int, ...]

    @property
    def places(self) -> range:
        """The places whose logits score the tokens, in order."""
        return range(self.first, self.first + len(self.tokens))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """The score of a pair."""

    owner: int
    logprob: float
    """Natural log; log-softmax of each token in fp32, summed in float64."""
    greedy: bool
    """Whether every token of the continuation is the likeliest one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A pair that has no score."""

    owner: int
    error: str


class Scoring(Protocol):
    """A way to score pairs."""

    tokens_computed: int
    """Passed to the model so far, padding included."""

    def score(self, pairs: Sequence[TokenPair]) -> Iterator[list[Scored | Failed]]:
        """Every pair once, batch by batch; `owner` is the pair's index."""
