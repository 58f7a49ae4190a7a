"""How much runs at once: limits of a batch, and what comes of one. Plain Python, without torch: the caller runs a batch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

UNLIMITED = sys.maxsize


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """How much may be in one batch. One row alone is always allowed."""

    rows: int = UNLIMITED
    """Rows, pieces of a prefix tree, or rows that are generated at a time."""
    tokens: int = UNLIMITED
    """Tokens that are passed to the model, padding included."""
    logits: int = UNLIMITED
    """Positions whose logits are computed, padding included."""
    kept: int = UNLIMITED
    """Tokens whose keys and values are kept between batches."""

    def allow(self, *, rows: int, tokens: int, logits: int, kept: int = 0) -> bool:
        """Whether a batch of this size is within the limits."""
        return rows <= self.rows and tokens <= self.tokens and logits <= self.logits and kept <= self.kept


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResult(Generic[Item, Result]):
    """Items that ran together, and what came of them."""

    items: tuple[Item, ...]
    result: Result


@dataclass(frozen=True, slots=True, kw_only=True)
class TooBig(Generic[Item]):
    """An item that did not fit into memory even alone, and the items that cannot run without it."""

    items: tuple[Item, ...]


def run_in_batches(
    items: Sequence[Item],
    size: Callable[[Item], tuple[int, int]],
    limits: BatchLimits,
    run: Callable[[Sequence[Item]], Result | None],
    on_shrink: Callable[[int], None] = lambda rows: None,
    *,
    group: Callable[[Item], Hashable] = lambda item: None,
) -> Iterator[BatchResult[Item, Result] | TooBig[Item]]:
    """Run all items as padded rows, in their order, as many at a time as the limits allow.

    `size` is an item's (tokens, positions with logits). `run` returns None when memory ran out. Then the batch runs again as two
    halves, and no later batch is bigger than the half; `on_shrink` gets the new number of rows. Items of different groups never share a
    batch; give those of one group side by side. Which items share a batch depends on the items and the limits alone, never on the memory
    that happens to be free, as long as it suffices.
    """
    start = 0
    while start < len(items):
        batch = _take(items, start, size, limits, group)
        result = run(batch)
        if result is not None:
            yield BatchResult(items=tuple(batch), result=result)
            start += len(batch)
        elif len(batch) == 1:
            yield TooBig(items=(batch[0],))
            start += 1
        else:
            longest = max(size(item)[0] for item in batch)
            half = len(batch) // 2
            # later items are shorter: a limit of tokens lets more of them run together, a limit of rows would not
            limits = replace(limits, tokens=half * longest) if limits.rows == UNLIMITED else replace(limits, rows=half)
            on_shrink(half)


def _take(
    items: Sequence[Item], start: int, size: Callable[[Item], tuple[int, int]], limits: BatchLimits, group: Callable[[Item], Hashable]
) -> list[Item]:
    batch: list[Item] = []
    longest = most_logits = 0
    for item in items[start:]:
        tokens, logits = size(item)
        longest, most_logits = max(longest, tokens), max(most_logits, logits)
        rows = len(batch) + 1
        fits = limits.allow(rows=rows, tokens=rows * longest, logits=rows * most_logits)
        if batch and not (fits and group(item) == group(batch[0])):
            break
        batch.append(item)
    return batch
