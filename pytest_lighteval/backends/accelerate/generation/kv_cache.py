"""The KV cache of rows that are generated, and their attention: each row over its own slot, and over the stems that rows share.

A cache that grows by concatenation copies every key at every token; one that repeats a shared prefix in each row reads it for each row.
Here a step writes one key for each row in place, and all rows read a stem at once. The reasons: docs/decisions/005-generate-in-slots.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from pytest_lighteval.backends.accelerate.attention import AttentionRules, OncePerDevice, fused_on_cpu, merge


class KVCache:
    """Keys and values of several rows in every layer, `[slots, kv_heads, capacity, head_dim]`; a stem is a cache of one slot."""

    def __init__(self, slots: int, capacity: int) -> None:
        self.slots, self.capacity = slots, capacity
        self._layers: dict[Any, tuple[torch.Tensor, torch.Tensor]] = {}

    def layer(self, module: Any, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The layer's keys and values; made at its first call, with its heads and on its device."""
        if module not in self._layers:
            # zeros: masked values are still multiplied, and fresh memory may hold what is no number
            self._layers[module] = (
                key.new_zeros((self.slots, key.shape[1], self.capacity, key.shape[-1])),
                value.new_zeros((self.slots, value.shape[1], self.capacity, value.shape[-1])),
            )
        return self._layers[module]

    @torch.inference_mode()
    def resize(self, slots: int, capacity: int) -> None:
        """Grow or shrink; what fits is kept. Layer by layer, so that at most one layer is in memory twice."""
        if (slots, capacity) == (self.slots, self.capacity):
            return
        kept, length = min(slots, self.slots), min(capacity, self.capacity)
        for module, (keys, values) in self._layers.items():
            larger = tuple(old.new_zeros((slots, old.shape[1], capacity, old.shape[3])) for old in (keys, values))
            for new, old in zip(larger, (keys, values), strict=True):
                new[:kept, :, :length] = old[:kept, :, :length]
            self._layers[module] = (larger[0], larger[1])
        self.slots, self.capacity = slots, capacity

    @torch.inference_mode()
    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first tokens of a slot into another."""
        for layer in self._layers.values():
            for tensor in layer:
                tensor[target, :, :length] = tensor[source, :, :length]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSpan:
    """A prompt, or a part of it, that a slot takes in: several tokens at once."""

    cache: KVCache
    slot: int
    start: int
    """Tokens that the slot holds already."""
    flat: slice
    """The places of the new tokens in the flat batch."""

    @property
    def end(self) -> int:
        """Tokens that it holds afterwards."""
        return self.start + int(self.flat.stop - self.flat.start)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeStem:
    """A stem, and the tokens of the flat batch that attend to it."""

    cache: KVCache
    start: int
    """The position of its first token."""
    readers: torch.Tensor | None
    """The places of the tokens that attend to it. None: all do."""


@dataclass(slots=True, kw_only=True)
class DecodeBatch:
    """A flat batch: first the newest token of every slot, from slot 0 on, then the tokens of the spans."""

    slots: KVCache
    lengths: Sequence[int]
    """Tokens that each slot holds, its newest one included."""
    spans: Sequence[PromptSpan]
    stems: Sequence[DecodeStem]
    positions: torch.Tensor
    """`[tokens]`: of the flat batch, on the CPU."""
    fused: bool
    """Whether fused kernels may be used."""
    last_position: int = field(init=False)
    once: OncePerDevice = field(default_factory=OncePerDevice)

    def __post_init__(self) -> None:
        self.last_position = int(self.positions.max())

    def called(self, *, windowed: bool) -> None:
        """See `FlatBatch.called`; nothing uses it here."""

    def attend(
        self, module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rules: AttentionRules
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `FlatBatch.attend`."""
        out = torch.empty((1, query.shape[1], query.shape[2], value.shape[-1]), dtype=torch.float32, device=query.device)
        lse = torch.empty(query.shape[:3], dtype=torch.float32, device=query.device)
        for span in self.spans:
            keys, values = span.cache.layer(module, key, value)
            keys[span.slot, :, span.start : span.end] = key[0, :, span.flat]
            values[span.slot, :, span.start : span.end] = value[0, :, span.flat]
            out[:, :, span.flat], lse[:, :, span.flat] = self._over_span(span, query, keys, values, rules)
        count = len(self.lengths)
        if count:
            keys, values = self.slots.layer(module, key, value)
            rows, newest = self.once("newest", query.device, lambda: torch.stack([torch.arange(count), torch.tensor(self.lengths) - 1]))
            keys[rows, :, newest] = key[0, :, :count].transpose(0, 1)
            values[rows, :, newest] = value[0, :, :count].transpose(0, 1)
            out[0, :, :count], lse[0, :, :count] = self._newest(query[0, :, :count], keys, values, rules)
        for stem in self.stems:
            self._over_stem(stem, module, query, key, value, rules, out, lse)
        return out, lse

    def _newest(
        self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, rules: AttentionRules
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Each slot's newest token over its slot. Heads that share keys become more queries of one head, so that no key is read twice."""
        count, longest = len(self.lengths), max(self.lengths)
        window = rules.window

        def allowed() -> torch.Tensor:
            distance = torch.tensor(self.lengths)[:, None] - 1 - torch.arange(longest)
            return ((distance >= 0) & (distance < (window or longest)))[:, None]

        keys, values = keys[:count, :, :longest], values[:count, :, :longest]
        if query.device.type != "cpu" or not rules.is_fused(query, values):
            mask = self.once(("allowed", window), query.device, allowed)
            out, lse = rules.plain(query.transpose(0, 1)[:, :, None], keys, values, mask)
            return out[:, :, 0].transpose(0, 1), lse[:, :, 0].transpose(0, 1)
        # heads, rows, head_dim -> rows, kv_heads, heads that share them, head_dim
        split = query.reshape(keys.shape[1], -1, *query.shape[1:]).permute(2, 0, 1, 3)
        bias = self.once(
            ("bias", window, query.dtype),
            query.device,
            lambda: torch.zeros((count, 1, 1, longest), dtype=query.dtype).masked_fill_(~allowed()[:, None], -torch.inf),
        )
        part, part_lse = fused_on_cpu(split, keys, values, bias, rules.scale, causal=False)
        return part.permute(1, 2, 0, 3).flatten(0, 1), part_lse.permute(1, 2, 0).flatten(0, 1)

    def _over_span(
        self, span: PromptSpan, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, rules: AttentionRules
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The tokens of a span over its slot."""
        query, slot = query[:, :, span.flat], slice(span.slot, span.slot + 1)
        new = slice(span.start, span.end)
        if rules.window is None and query.device.type == "cpu" and rules.is_fused(query, values):
            out, lse = fused_on_cpu(query, keys[slot, :, new], values[slot, :, new], None, rules.scale, causal=True)
            if span.start:
                merge(out, lse, *rules.unmasked(query, keys[slot, :, : span.start], values[slot, :, : span.start]))
            return out, lse

        def allowed() -> torch.Tensor:
            distance = torch.arange(span.start, span.end)[:, None] - torch.arange(span.end)
            return ((distance >= 0) & (distance < (rules.window or span.end)))[None]

        mask = self.once(("span", span.flat.start, rules.window), query.device, allowed)
        return rules.plain(query, keys[slot, :, : span.end], values[slot, :, : span.end], mask)

    def _over_stem(
        self,
        stem: DecodeStem,
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        rules: AttentionRules,
        out: torch.Tensor,
        lse: torch.Tensor,
    ) -> None:
        """Merge the attention of a stem's readers over the stem into their output, in place."""
        keys, values = stem.cache.layer(module, key, value)
        readers = stem.readers
        places = slice(None) if readers is None else self.once(("places", id(stem)), query.device, lambda: readers)
        reading = query[:, :, places]
        if rules.window is None:
            part = rules.unmasked(reading, keys, values)
        else:
            window = rules.window

            def allowed() -> torch.Tensor:
                positions = self.positions if readers is None else self.positions[readers]
                return (positions[:, None] < torch.arange(stem.start, stem.start + stem.cache.capacity) + window)[None]

            # where a window hides all of these keys from a query, fused kernels would answer NaN
            part = rules.plain(reading, keys, values, self.once(("stem", id(stem), window), query.device, allowed))
        if readers is None:
            merge(out, lse, *part)
            return
        merged, merged_lse = out[:, :, places], lse[:, :, places]
        merge(merged, merged_lse, *part)
        out[:, :, places], lse[:, :, places] = merged, merged_lse
