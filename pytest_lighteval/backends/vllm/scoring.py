"""Pairs of context and continuation as prompts for an engine: each distinct prompt once, sorted so that neighbours share a prefix."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from pytest_lighteval.backends.common.scoring_requests import PairScore
from pytest_lighteval.backends.common.token_pairs import TokenPair

MOST_CANDIDATES = 128
"""The most token ids that vLLM takes in one request."""

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NextTokenPrompt:
    """How likely is each candidate to be the next token?"""

    tokens: Tokens
    candidates: Tokens
    """Distinct, and at most `MOST_CANDIDATES`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContinuationPrompt:
    """How likely are the last tokens of this text, each after those before it?"""

    tokens: Tokens
    scored: int
    """How many of the last tokens are scored. At least one token is before them."""


class PromptScorer(Protocol):
    """Scores such prompts. Yields each prompt's index and result once, in any order, as soon as it is known."""

    def score_next_tokens(self, prompts: Sequence[NextTokenPrompt]) -> Iterator[tuple[int, tuple[PairScore, ...]]]:
        """The result is a score for every candidate."""

    def score_continuations(self, prompts: Sequence[ContinuationPrompt]) -> Iterator[tuple[int, PairScore]]:
        """The result is the score of the last tokens together."""


def score_pairs(pairs: Sequence[TokenPair], scorer: PromptScorer) -> Iterator[tuple[int, PairScore]]:
    """Every pair's index and score, as soon as it is known, with one call of the scorer for each kind of prompt.

    Continuations of one token after the same context are candidates of one prompt. Prompts are sorted by their tokens, so that each one
    finds in the prefix cache what it shares with the prompt before.
    """
    candidates: defaultdict[Tokens, defaultdict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    texts: defaultdict[tuple[Tokens, int], list[int]] = defaultdict(list)
    for index, pair in enumerate(pairs):
        if len(pair.continuation) == 1:
            candidates[pair.context][pair.continuation[0]].append(index)
        else:
            texts[pair.context + pair.continuation, len(pair.continuation)].append(index)
    choices = [
        NextTokenPrompt(tokens=context, candidates=tuple(by_token)[first : first + MOST_CANDIDATES])
        for context, by_token in sorted(candidates.items(), key=lambda item: item[0])
        for first in range(0, len(by_token), MOST_CANDIDATES)
    ]
    for place, scores in scorer.score_next_tokens(choices) if choices else ():
        prompt = choices[place]
        for candidate, score in zip(prompt.candidates, scores, strict=True):
            yield from ((index, score) for index in candidates[prompt.tokens][candidate])
    reads = [ContinuationPrompt(tokens=tokens, scored=scored) for tokens, scored in sorted(texts)]
    for place, score in scorer.score_continuations(reads) if reads else ():
        yield from ((index, score) for index in texts[reads[place].tokens, reads[place].scored])
