"""Plan prompts so that what they share is computed once: from prompts to stems and the rows after them. Plain Python, without torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_lighteval.backends.accelerate.generation.rows import PromptRow
from pytest_lighteval.backends.common.prefixes import common_prefix

_TOKENS_SAVED = 48
"""Tokens that a stem must save at least: it costs a forward pass of its own, and one more part in every attention after it."""
_SHORTEST_STEM = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Stem:
    """Tokens that several prompts share, after those of its own stems."""

    stems: tuple[int, ...]
    """The numbers of the stems before it, from the start on."""
    start: int
    """How many tokens these stems have together."""
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRow:
    """A row and the part of its prompt that no stem holds: at least one token, whose logits give the first new token."""

    row: PromptRow
    stems: tuple[int, ...]
    start: int
    """How many tokens of the prompt are in stems."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationPlan:
    """All stems, each after the stems before it, and all rows in the order in which they start."""

    stems: tuple[Stem, ...]
    rows: tuple[PlannedRow, ...]


def plan_generation(rows: Sequence[PromptRow], *, tokens_saved: int = _TOKENS_SAVED, shortest_stem: int = _SHORTEST_STEM) -> GenerationPlan:
    """Stems wherever they save enough tokens. Prompts have at least one token; equal prompts (samples) share all but their last token.

    Rows after the same stems come one after the other, longest first, equal lengths in the order given.
    """
    ordered = sorted(range(len(rows)), key=lambda index: rows[index].prompt)
    prompts = [rows[index].prompt for index in ordered]
    stems: list[Stem] = []
    planned: list[tuple[tuple[int, ...], int, int]] = []
    waiting: list[tuple[list[int], int, tuple[int, ...]]] = [(list(range(len(rows))), 0, ())] if rows else []
    while waiting:
        group, start, front = waiting.pop()
        if len(group) == 1:
            planned.append((front, start, ordered[group[0]]))
            continue
        # in sorted order, what the first and the last share is shared by all; a row keeps at least its last token
        common = min(common_prefix(prompts[group[0]], prompts[group[-1]]), len(prompts[group[0]]) - 1)
        length = common - start
        if length >= shortest_stem and length * (len(group) - 1) >= tokens_saved:
            stems.append(Stem(stems=front, start=start, tokens=prompts[group[0]][start:common]))
            start, front = common, (*front, len(stems) - 1)
        parts: defaultdict[int, list[int]] = defaultdict(list)
        for member in group:
            if len(prompts[member]) == common + 1:
                planned.append((front, start, ordered[member]))
            else:
                parts[prompts[member][common]].append(member)
        waiting.extend((part, start, front) for part in reversed(parts.values()))
    planned.sort(key=lambda one: (one[0], one[1] - len(rows[one[2]].prompt), one[2]))
    return GenerationPlan(
        stems=tuple(stems),
        rows=tuple(PlannedRow(row=rows[index], stems=front, start=start) for front, start, index in planned),
    )
