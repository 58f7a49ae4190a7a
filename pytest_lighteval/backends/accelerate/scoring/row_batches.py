"""Which rows of token ids to run, in which batches. Plain Python, without torch: what runs a batch is the caller's.

A row is one sequence that is fed to the model; everything that is asked at any position of the same sequence shares it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from pytest_lighteval.backends.common.token_pairs import TokenPair

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """How likely are these tokens, the first of them behind position `first` of the row, each next one behind the next?"""

    owner: int
    """The index of the pair that asks."""
    first: int
    targets: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One sequence to feed, and all that is asked of it."""

    tokens: tuple[int, ...]
    asks: tuple[Ask, ...]

    @property
    def asked_from(self) -> int:
        """The first position whose logits are needed."""
        return min(ask.first for ask in self.asks)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptRow:
    """One prompt to be continued once."""

    owner: int
    """The index of the request."""
    prompt: tuple[int, ...]
    max_new_tokens: int
    stop_sequence: tuple[str, ...] = ()
    stop_ids: frozenset[int] = frozenset()
    """Special tokens that end this row too: they have no text that a stop sequence could be found in."""
    sample: int | None = None
    """The number of the sample among those of its request. None: greedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much may be in one batch; a batch of one row is always allowed."""

    rows: int | None = None
    tokens: int | None = None
    """Padded tokens: rows times the longest."""
    logits: int | None = None
    """Padded positions whose logits are kept: rows times the most positions asked."""

    def allow(self, rows: int, longest: int, positions: int) -> bool:
        """Whether so many rows fit, the longest of this length."""
        return (
            (self.rows is None or rows <= self.rows)
            and (self.tokens is None or rows * longest <= self.tokens)
            and (self.logits is None or rows * positions <= self.logits)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch(Generic[Item, Result]):
    """Items that ran together, and what came of them, in the same order."""

    items: tuple[Item, ...]
    results: tuple[Result, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TooBig(Generic[Item]):
    """An item that did not fit into memory even alone."""

    item: Item


def plan_rows(pairs: Sequence[TokenPair]) -> list[Row]:
    """The distinct sequences that answer all pairs, longest first; equal lengths in the order of the pairs.

    Pairs that feed the same tokens share one row: all one-token choices behind one context do.
    """
    asks: defaultdict[tuple[int, ...], list[Ask]] = defaultdict(list)
    for owner, pair in enumerate(pairs):
        asks[pair.context + pair.continuation[:-1]].append(Ask(owner=owner, first=len(pair.context) - 1, targets=pair.continuation))
    rows = [Row(tokens=tokens, asks=tuple(asked)) for tokens, asked in asks.items()]
    return sorted(rows, key=lambda row: -len(row.tokens))


def run_in_batches(
    items: Sequence[Item],
    size: Callable[[Item], tuple[int, int]],
    limits: Limits,
    run: Callable[[Sequence[Item]], Sequence[Result] | None],
    on_shrink: Callable[[int], None] = lambda rows: None,
) -> Iterator[Batch[Item, Result] | TooBig[Item]]:
    """Run all items in their order, as many at a time as the limits allow.

    `size` is an item's (tokens, positions with logits). `run` returns None when memory ran out: the batch is run again as two halves,
    and no later batch is bigger than what failed; `on_shrink` hears the new number of rows. Which items share a batch depends on the
    items and the limits alone, never on the memory that happens to be free, as long as it suffices.
    """
    start = 0
    while start < len(items):
        batch = _take(items, start, size, limits)
        results = run(batch)
        if results is not None:
            yield Batch(items=tuple(batch), results=tuple(results))
            start += len(batch)
        elif len(batch) == 1:
            yield TooBig(item=batch[0])
            start += 1
        else:
            longest = max(size(item)[0] for item in batch)
            half = len(batch) // 2
            # later items are shorter: the budget of tokens lets more of them together, the number of rows would not
            limits = replace(limits, tokens=half * longest) if limits.rows is None else replace(limits, rows=half)
            on_shrink(half)


def _take(items: Sequence[Item], start: int, size: Callable[[Item], tuple[int, int]], limits: Limits) -> list[Item]:
    batch: list[Item] = []
    longest = positions = 0
    for item in items[start:]:
        tokens, asked = size(item)
        longest, positions = max(longest, tokens), max(positions, asked)
        if batch and not limits.allow(len(batch) + 1, longest, positions):
            break
        batch.append(item)
    return batch
