"""Log-likelihoods over a prefix tree: every token of the tree is computed once, the output head only where a target is scored.

Knows how to run the pieces that `prefix_tree` plans; why it works that way: docs/decisions/004-attend-over-a-prefix-tree.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import AttentionInterface

from pytest_lighteval.backends.accelerate.attention import (
    IMPLEMENTATION,
    OwnRows,
    StemKV,
    TreeBatch,
    TreeStem,
    configurations_of,
    prefix_tree_attention,
    tree_attention,
)
from pytest_lighteval.backends.accelerate.batches import BatchLimits, TooBig
from pytest_lighteval.backends.accelerate.memory import Attempt
from pytest_lighteval.backends.accelerate.scoring.prefix_tree import MOST_TOKENS, Piece, TreePlan, plan_tree, run_plan
from pytest_lighteval.backends.accelerate.scoring.row_scorer import token_scores
from pytest_lighteval.backends.accelerate.scoring.scores import Failed, Scored, Scoring, TargetTokens
from pytest_lighteval.backends.common.token_pairs import TokenPair


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialScore:
    """The scores of those tokens of a pair that one piece scores."""

    owner: int
    logprobs: tuple[float, ...]
    greedy: tuple[bool, ...]


class TreeScorer:
    """A loaded causal model that scores a plan's pieces, and keeps the keys and values of its stems in between."""

    def __init__(self, model: Any, device: torch.device, *, takes_places: bool, fused: bool = True) -> None:
        """`takes_places`: the model's `logits_to_keep` may be a tensor of places. `fused`: fused kernels may be used."""
        self._fused = fused
        self._model, self._device, self._takes_places = model, device, takes_places
        self._configurations = configurations_of(model)
        self._stems: dict[int, StemKV] = {}
        self.windows_seen = False
        # the registry is transformers' own; registering the same function again changes nothing
        AttentionInterface.register(IMPLEMENTATION, prefix_tree_attention)

    def score(self, plan: TreePlan, numbers: Sequence[int]) -> list[PartialScore]:
        """The scores of the targets in the pieces of these numbers. One synchronisation with the device.

        The stems of these pieces must have run, and must not have been released.
        """
        # pieces after the same stems side by side, so that the tokens after a stem are one stretch of the batch
        numbers = sorted(numbers, key=lambda number: (plan.pieces[number].stems, -len(plan.pieces[number].tokens)))
        pieces = [plan.pieces[number] for number in numbers]
        offsets = [0]
        for piece in pieces:
            offsets.append(offsets[-1] + len(piece.tokens))
        new: dict[int, StemKV] = {number: {} for number, piece in zip(numbers, pieces, strict=True) if piece.is_stem}
        batch = TreeBatch(
            positions=torch.tensor([depth for piece in pieces for depth in piece.depths]),
            own=list(_own_rows(pieces, offsets)),
            stems=list(self._tree_stems(plan, pieces, offsets)),
            keep=[(slice(offsets[index], offsets[index + 1]), new[number]) for index, number in enumerate(numbers) if number in new],
            fused=self._fused,
        )
        targets = [target for piece in pieces for target in piece.targets]
        places = [offset + place for piece, offset in zip(pieces, offsets, strict=False) for t in piece.targets for place in t.places]
        tokens = torch.tensor([token for target in targets for token in target.tokens], dtype=torch.long)
        inputs = torch.tensor([token for piece in pieces for token in piece.tokens])
        with torch.inference_mode(), tree_attention(self._configurations, batch):
            logits, rows = self._logits(inputs, batch.positions, places)
            logprobs, greedy = token_scores(logits, rows, tokens)
        self.windows_seen |= batch.windows_seen
        self._stems |= new
        return list(_partial_scores(targets, logprobs, greedy))

    def release(self, stems: Iterable[int]) -> None:
        """Free the keys and values of these stems."""
        for stem in stems:
            self._stems.pop(stem, None)

    def clear(self) -> None:
        """Free everything: a run that was given up leaves its stems."""
        self._stems.clear()

    def _tree_stems(self, plan: TreePlan, pieces: Sequence[Piece], offsets: Sequence[int]) -> Iterator[TreeStem]:
        first: dict[int, int] = {}
        end: dict[int, int] = {}
        for index, piece in enumerate(pieces):
            for stem in piece.stems:
                first.setdefault(stem, offsets[index])
                end[stem] = offsets[index + 1]
        for stem, start in first.items():
            piece = plan.pieces[stem]
            yield TreeStem(kv=self._stems[stem], start=piece.start, length=len(piece.tokens), readers=slice(start, end[stem]))

    def _logits(self, inputs: torch.Tensor, positions: torch.Tensor, places: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits `[rows, vocabulary]` at these places of the batch, perhaps at others too; and the row of each place in them."""
        needed = sorted(set(places))
        arguments = {
            "input_ids": inputs[None].to(self._device),
            "position_ids": positions[None].to(self._device),
            "use_cache": False,
        }
        if not needed:
            # a stem without targets runs for its keys alone, through one position of the head
            needed = [len(inputs) - 1]
        if self._takes_places:
            logits = self._model(**arguments, logits_to_keep=torch.tensor(needed, device=self._device)).logits[0]
            row_of = {place: row for row, place in enumerate(needed)}
            return logits, torch.tensor([row_of[place] for place in places], dtype=torch.long)
        return self._model(**arguments).logits[0], torch.tensor(places, dtype=torch.long)


def _own_rows(pieces: Sequence[Piece], offsets: Sequence[int]) -> Iterator[OwnRows]:
    """Neighbours of similar length together: no row is padded to more than twice its length."""
    start = 0
    while start < len(pieces):
        end = start + 1
        longest = shortest = len(pieces[start].tokens)
        while end < len(pieces):
            length = len(pieces[end].tokens)
            if max(longest, length) > 2 * min(shortest, length):
                break
            longest, shortest = max(longest, length), min(shortest, length)
            end += 1
        yield _rows(pieces[start:end], offsets[start], offsets[end], longest)
        start = end


def _rows(pieces: Sequence[Piece], first: int, end: int, longest: int) -> OwnRows:
    lengths = torch.tensor([len(piece.tokens) for piece in pieces])
    starts = first + lengths.cumsum(0) - lengths
    within = torch.arange(longest)
    real = within < lengths[:, None]
    allowed = None
    if not all(piece.is_chain for piece in pieces):
        # a padded token's subtree ends at once, so that only it sees itself
        ends = torch.tensor([[*piece.ends, *range(len(piece.ends) + 1, longest + 1)] for piece in pieces])
        allowed = (within[:, None] >= within) & (within[:, None] < ends[:, None, :])
    return OwnRows(
        places=starts[:, None] + torch.minimum(within, lengths[:, None] - 1),
        real=None if bool(real.all()) else real.flatten().nonzero()[:, 0],
        span=slice(first, end),
        allowed=allowed,
    )


def _partial_scores(targets: Sequence[TargetTokens], logprobs: Sequence[float], greedy: Sequence[bool]) -> Iterator[PartialScore]:
    start = 0
    for target in targets:
        end = start + len(target.tokens)
        yield PartialScore(owner=target.owner, logprobs=tuple(logprobs[start:end]), greedy=tuple(greedy[start:end]))
        start = end


class TreeScoring:
    """The `Scoring` in which every token of the pairs' prefix tree is computed once."""

    def __init__(
        self,
        scorer: TreeScorer,
        limits: BatchLimits,
        attempt: Attempt,
        on_shrink: Callable[[int], None] = lambda tokens: None,
        *,
        tolerated_waste: int | None = None,
        plain: Scoring | None = None,
    ) -> None:
        """`on_shrink` gets the new number of tokens when memory ran out. `tolerated_waste`: see `plan_tree`; None: its default.

        `plain` scores the pairs of a piece that does not fit into memory: each pair may fit alone. None: they fail.
        """
        self._scorer, self._limits, self._attempt, self._on_shrink = scorer, limits, attempt, on_shrink
        self._plain = plain
        # logits of a piece are computed at once, and every place of it may be scored
        self._planning = {"most_tokens": min(MOST_TOKENS, limits.logits)}
        if tolerated_waste is not None:
            self._planning["tolerated_waste"] = tolerated_waste
        self.tokens_computed = 0

    def score(self, pairs: Sequence[TokenPair]) -> Iterator[list[Scored | Failed]]:
        """See `Scoring.score`."""
        plan = plan_tree(pairs, **self._planning)
        unfinished: dict[int, list[PartialScore]] = {}

        def run(numbers: Sequence[int]) -> list[PartialScore] | None:
            return self._attempt(lambda numbers: self._scorer.score(plan, numbers), numbers)

        try:
            for batch in run_plan(plan, self._limits, run, self._scorer.release, self._on_shrink):
                if isinstance(batch, TooBig):
                    owners = list(dict.fromkeys(target.owner for number in batch.items for target in plan.pieces[number].targets))
                    for owner in owners:
                        unfinished.pop(owner, None)
                    piece = plan.pieces[batch.items[0]]
                    yield from self._alone(owners, pairs, piece.start + len(piece.tokens))
                    continue
                self.tokens_computed += sum(len(plan.pieces[number].tokens) for number in batch.items)
                yield list(_completed(batch.result, pairs, unfinished))
        finally:
            self._scorer.clear()

    def _alone(self, owners: Sequence[int], pairs: Sequence[TokenPair], tokens: int) -> Iterator[list[Scored | Failed]]:
        """The pairs of pieces that did not fit, by plain rows. `tokens` is the length of what did not fit, for the message."""
        if self._plain is None:
            yield [Failed(owner=owner, error=f"memory ran out on a single row of {tokens} tokens") for owner in owners]
            return
        before = self._plain.tokens_computed
        for batch in self._plain.score([pairs[owner] for owner in owners]):
            yield [replace(one, owner=owners[one.owner]) for one in batch]
        self.tokens_computed += self._plain.tokens_computed - before


def _completed(
    partial: Iterable[PartialScore], pairs: Sequence[TokenPair], unfinished: dict[int, list[PartialScore]]
) -> Iterator[Scored | Failed]:
    for part in partial:
        parts = [*unfinished.pop(part.owner, ()), part]
        if sum(len(part.logprobs) for part in parts) < len(pairs[part.owner].continuation):
            unfinished[part.owner] = parts
            continue
        yield Scored(
            owner=part.owner,
            logprob=math.fsum(logprob for part in parts for logprob in part.logprobs),
            greedy=all(flag for part in parts for flag in part.greedy),
        )
