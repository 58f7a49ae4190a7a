"""Run the pieces of a prefix tree through a causal model: every token once, the head at the asked places alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface

from pytest_lighteval.backends.accelerate.attention import (
    IMPLEMENTATION,
    Keys,
    OwnRows,
    StemSpan,
    TreeRun,
    configurations_of,
    prefix_tree_attention,
    tree_attention,
)
from pytest_lighteval.backends.accelerate.scoring.prefix_tree import Piece, TreePlan
from pytest_lighteval.backends.accelerate.scoring.row_scorer import token_scores


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialScore:
    """What a piece says about some of a pair's tokens."""

    owner: int
    step: int
    """The place of the first of them in the pair's continuation."""
    logprobs: tuple[float, ...]
    greedy: tuple[bool, ...]


class TreeScorer:
    """A loaded causal model that scores a plan's pieces, and keeps the keys and values of its stems in between."""

    def __init__(self, model: Any, device: torch.device, *, takes_places: bool, fused: bool = True) -> None:
        """`takes_places`: the model's `logits_to_keep` may be a tensor of places. `fused`: fused kernels may be used."""
        self._fused = fused
        self._model, self._device, self._takes_places = model, device, takes_places
        self._configurations = configurations_of(model)
        self._stems: dict[int, Keys] = {}
        self.windows_seen = False
        # the registry is transformers' own; registering the same function again changes nothing
        AttentionInterface.register(IMPLEMENTATION, prefix_tree_attention)

    def score(self, plan: TreePlan, numbers: Sequence[int]) -> list[PartialScore]:
        """What the pieces of these numbers were asked. One synchronisation with the device.

        Their stems must have run, and not have been released.
        """
        # pieces behind the same stems side by side, so that the tokens behind a stem are one stretch
        numbers = sorted(numbers, key=lambda number: (plan.pieces[number].stems, -len(plan.pieces[number].tokens)))
        pieces = [plan.pieces[number] for number in numbers]
        offsets = [0]
        for piece in pieces:
            offsets.append(offsets[-1] + len(piece.tokens))
        new: dict[int, Keys] = {number: {} for number, piece in zip(numbers, pieces, strict=True) if piece.is_stem}
        run = TreeRun(
            positions=torch.tensor([depth for piece in pieces for depth in piece.depths]),
            own=list(_own_rows(pieces, offsets)),
            stems=list(self._stem_spans(plan, pieces, offsets)),
            keep=[(slice(offsets[index], offsets[index + 1]), new[number]) for index, number in enumerate(numbers) if number in new],
            fused=self._fused,
        )
        asks = [(offset, ask) for piece, offset in zip(pieces, offsets, strict=False) for ask in piece.asks]
        asked = [offset + ask.first + step for offset, ask in asks for step in range(len(ask.targets))]
        targets = torch.tensor([target for _, ask in asks for target in ask.targets], dtype=torch.long)
        inputs = torch.tensor([token for piece in pieces for token in piece.tokens])
        with torch.inference_mode(), tree_attention(self._configurations, run):
            logits, places = self._logits(inputs, run.positions, asked)
            logprobs, greedy = token_scores(logits, places, targets)
        self.windows_seen |= run.windows_seen
        self._stems |= new
        return list(_partial_scores(asks, logprobs, greedy))

    def release(self, stems: Iterable[int]) -> None:
        """Let go of what was kept of these stems."""
        for stem in stems:
            self._stems.pop(stem, None)

    def clear(self) -> None:
        """Let go of everything: a run that was given up leaves its stems."""
        self._stems.clear()

    def _stem_spans(self, plan: TreePlan, pieces: Sequence[Piece], offsets: Sequence[int]) -> Iterator[StemSpan]:
        first: dict[int, int] = {}
        behind: dict[int, int] = {}
        for index, piece in enumerate(pieces):
            for stem in piece.stems:
                first.setdefault(stem, offsets[index])
                behind[stem] = offsets[index + 1]
        for stem, start in first.items():
            piece = plan.pieces[stem]
            yield StemSpan(stem=self._stems[stem], start=piece.start, length=len(piece.tokens), span=slice(start, behind[stem]))

    def _logits(self, inputs: torch.Tensor, positions: torch.Tensor, asked: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits `[places, vocabulary]` of the asked places at least, and which of them each asked place is."""
        wanted = sorted(set(asked))
        feed = {
            "input_ids": inputs[None].to(self._device),
            "position_ids": positions[None].to(self._device),
            "use_cache": False,
        }
        if not wanted:
            # a stem that nothing is asked of runs for its keys alone, through one position of the head
            wanted = [len(inputs) - 1]
        if self._takes_places:
            logits = self._model(**feed, logits_to_keep=torch.tensor(wanted, device=self._device)).logits[0]
            number = {place: index for index, place in enumerate(wanted)}
            return logits, torch.tensor([number[place] for place in asked], dtype=torch.long)
        return self._model(**feed).logits[0], torch.tensor(asked, dtype=torch.long)


def _own_rows(pieces: Sequence[Piece], offsets: Sequence[int]) -> Iterator[OwnRows]:
    """Neighbours of like length together: no row is padded to more than twice its length."""
    start = 0
    while start < len(pieces):
        behind = start + 1
        longest = shortest = len(pieces[start].tokens)
        while behind < len(pieces):
            length = len(pieces[behind].tokens)
            if max(longest, length) > 2 * min(shortest, length):
                break
            longest, shortest = max(longest, length), min(shortest, length)
            behind += 1
        yield _rows(pieces[start:behind], offsets[start], offsets[behind], longest)
        start = behind


def _rows(pieces: Sequence[Piece], first: int, behind: int, longest: int) -> OwnRows:
    lengths = torch.tensor([len(piece.tokens) for piece in pieces])
    starts = first + lengths.cumsum(0) - lengths
    within = torch.arange(longest)
    real = within < lengths[:, None]
    allowed = None
    if not all(piece.is_chain for piece in pieces):
        # a padded token ends at once, so that nobody sees it but itself
        ends = torch.tensor([[*piece.ends, *range(len(piece.ends) + 1, longest + 1)] for piece in pieces])
        allowed = (within[:, None] >= within) & (within[:, None] < ends[:, None, :])
    return OwnRows(
        places=starts[:, None] + torch.minimum(within, lengths[:, None] - 1),
        real=None if bool(real.all()) else real.flatten().nonzero()[:, 0],
        span=slice(first, behind),
        allowed=allowed,
    )


def _partial_scores(asks: Sequence[tuple[int, Any]], logprobs: Sequence[float], greedy: Sequence[bool]) -> Iterator[PartialScore]:
    start = 0
    for _, ask in asks:
        behind = start + len(ask.targets)
        yield PartialScore(owner=ask.owner, step=ask.step, logprobs=tuple(logprobs[start:behind]), greedy=tuple(greedy[start:behind]))
        start = behind
