"""Which rows may share a padded batch, where a model's answer for a row depends on the rows beside it. Plain Python, without torch."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pytest_lighteval.backends.accelerate.batches import BatchLimits

LONGEST_PROBE = 320
"""Tokens of the longest row that a probe compares."""

_LIMITED_SIGHT = re.compile(r"window|chunk|topk|top_k|block_size|local_att")
_SELECTS_KEYS = ("keep_window_size", "index_topk", "window_size", "attention_window_size", "attention_chunk_size")
"""Settings that hide keys from a token in the model's own code, never through an argument of the attention function."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowGroups:
    """Rules for the rows of one batch. By default all rows may share one."""

    padded: int | None = None
    """Rows of more tokens share a batch only with rows of equal length. 0: all rows. None: none."""
    side: int | None = None
    """Rows of more tokens never share a batch with rows of up to so many. None: no such limit."""
    same_limit: bool = False
    """Whether rows that are generated together must have the same limit of new tokens, too."""
    one_by_one: bool = False
    """Whether each row runs alone."""
    causal: int | None = None
    """In rows of more tokens later tokens change the scores of earlier ones: such rows are not scored. None: in none."""
    reason: str | None = None
    """Why. None: all rows may share a batch."""

    def scored(self, tokens: int) -> Hashable:
        """The group of a row that is scored: rows of one group may share a batch."""
        equal = self.padded is not None and tokens > self.padded
        return self.side is not None and tokens > self.side, tokens if equal else None

    def generated(self, prompt: int, new: int) -> Hashable:
        """The group of a row that is generated. In a batch the longest prompt grows by the most new tokens of any row."""
        crosses = self.side is not None and prompt <= self.side < prompt + new
        equal = crosses or (self.padded is not None and prompt + new > self.padded)
        grows = self.padded is not None or (self.side is not None and prompt <= self.side)
        same = self.same_limit or (grows and not equal)
        return self.side is not None and prompt > self.side, prompt if equal else None, new if same else None

    def limits(self, limits: BatchLimits) -> BatchLimits:
        """The limits of a batch under these rules."""
        return replace(limits, rows=1) if self.one_by_one else limits

    def explained(self, reason: str, *, scored: bool) -> str:
        """Why not the fastest way, followed by these rules, for the report. `scored`: the rows are scored, not generated."""
        rules = "; ".join(self._rules(scored=scored))
        if not rules:
            return reason
        return f"{reason}; {rules}" if self.reason in (None, reason) else f"{reason}; {rules} ({self.reason})"

    def _rules(self, *, scored: bool) -> Iterator[str]:
        if scored and self.causal is not None:
            yield f"rows of more than {self.causal} tokens are not scored"
        if self.one_by_one:
            yield "one row at a time"
            return
        if self.side is not None:
            yield f"rows of up to {self.side} tokens apart from longer ones"
        if self.padded is not None or self.same_limit:
            which = f"rows of more than {self.padded} tokens" if self.padded else "rows"
            yield f"{which} only beside rows of equal length{' and limit' if self.same_limit else ''}"

    def equal(self, reason: str, *, beyond: int = 0) -> RowGroups:
        """The same rules, and rows of more than so many tokens only beside rows of equal length."""
        padded = beyond if self.padded is None else min(beyond, self.padded)
        return replace(self, padded=padded, reason=_joined(self.reason, reason))

    def alone(self, reason: str) -> RowGroups:
        """Each row alone."""
        return RowGroups(one_by_one=True, causal=self.causal, reason=reason)

    def not_causal(self, tokens: int, reason: str) -> RowGroups:
        """The same rules, and rows of more than so many tokens are not scored."""
        return replace(self.equal(reason, beyond=tokens), causal=tokens)


ANY_ROWS = RowGroups()


def declared_groups(config: Any, max_length: int) -> RowGroups:
    """What a model's configuration says about its rows."""
    groups = ANY_ROWS
    text = config.get_text_config()
    for kind, limit in changing_ropes(text):
        if limit >= max_length:
            continue
        reason = f"its {kind} positions depend on the longest sequence of a batch"
        if kind == "longrope":
            side = limit if groups.side is None else min(limit, groups.side)
            groups = replace(groups, side=side, reason=reason) if groups.side in (None, side) else groups.equal(reason)
        else:
            groups = groups.equal(reason, beyond=limit)
    selected = dict(_numbers(text)).get("keep_window_size", max_length)
    if selected < max_length:
        groups = groups.not_causal(selected, "its keep_window_size selects among later tokens, too")
    return groups


def changing_ropes(config: Any) -> Iterator[tuple[str, int]]:
    """The kinds of rope of a text configuration that change with the longest row of a batch, and the length from which they do."""
    parameters = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    for one in (parameters, *(value for value in parameters.values() if isinstance(value, dict))):
        kind = one.get("rope_type", one.get("type"))
        declared: int = getattr(config, "max_position_embeddings", None) or 0
        if kind == "longrope":
            yield kind, one.get("original_max_position_embeddings") or getattr(config, "original_max_position_embeddings", None) or declared
        elif isinstance(kind, str) and "dynamic" in kind:
            yield kind, declared


def sight_limits(config: Any) -> list[int]:
    """Lengths from which a token may see less than all before it, by the names of a text configuration's settings; ascending."""
    found = {value for name, value in _numbers(config) if _LIMITED_SIGHT.search(name)}
    return sorted(found | {limit for _, limit in _selections(config)})


def hidden_selection(config: Any, max_length: int) -> str | None:
    """Why a prefix tree cannot be trusted for a text configuration: its layers hide keys where the tree cannot see it. None: none does."""
    for name, limit in _selections(config):
        if limit < max_length:
            return f"its {name} hides keys beyond {limit} tokens, where it cannot be seen"
    return None


def _selections(config: Any) -> Iterator[tuple[str, int]]:
    numbers = dict(_numbers(config))
    for name in _SELECTS_KEYS:
        if name in numbers:
            yield name, numbers[name]
    if "index_topk_blocks" in numbers and "index_block_size" in numbers:
        yield "index_topk_blocks", numbers["index_topk_blocks"] * numbers["index_block_size"]


def _numbers(config: Any) -> Iterator[tuple[str, int]]:
    for name, value in vars(config).items():
        if isinstance(value, int) and not isinstance(value, bool) and value > 1:
            yield name, value


def _joined(first: str | None, second: str) -> str:
    return second if first is None or first == second else f"{first}, and {second}"


def probe_lengths(groups: RowGroups, max_length: int, *, new: int = 0, beyond: Sequence[int] | None = None) -> tuple[int, int, int] | None:
    """Lengths of three rows that may share a batch, longest first. None: there are no such rows.

    `new`: tokens by which each grows. `beyond`: lengths from which a token may see less than all before it; the rows are longer. None:
    they are short.
    """
    most = min(limit for limit in (max_length, groups.padded, groups.side, groups.causal, LONGEST_PROBE) if limit is not None) - new
    if beyond is not None:
        longest = max(beyond, default=0) + 24
        return (longest, longest - 11, longest // 2) if beyond and 40 <= longest <= most else None
    # every model that is loaded pays for the rows that are scored
    longest = min(28 if new else 20, most)
    return (longest, longest * 2 // 3, longest // 3) if longest >= 6 else None
