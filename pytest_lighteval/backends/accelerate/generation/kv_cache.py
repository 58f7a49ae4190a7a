"""Attention of rows that are being generated: each over its own slot, written in place, and over the stems that rows share.

A cache that grows by concatenation copies every key at every token; one that repeats a shared prefix for each row reads it as often. Here
a step writes one key a row where it belongs, and all rows read a stem at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from pytest_lighteval.backends.accelerate.attention import OncePerDevice, Rules, fused_on_cpu, merge


class KeyBuffer:
    """Keys and values of several rows in every layer, `[slots, kv_heads, capacity, head_dim]`; a stem is a buffer of one slot."""

    def __init__(self, slots: int, capacity: int) -> None:
        self.slots, self.capacity = slots, capacity
        self._layers: dict[Any, tuple[torch.Tensor, torch.Tensor]] = {}

    def layer(self, module: Any, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The layer's buffers; made, of its heads and on its device, when it first asks."""
        if module not in self._layers:
            # zeros, since what is masked is still multiplied, and what lies in fresh memory may be no number
            self._layers[module] = (
                key.new_zeros((self.slots, key.shape[1], self.capacity, key.shape[-1])),
                value.new_zeros((self.slots, value.shape[1], self.capacity, value.shape[-1])),
            )
        return self._layers[module]

    @torch.inference_mode()
    def resize(self, slots: int, capacity: int) -> None:
        """Make room, or give it back; what fits is kept. Layer by layer, so that no more than one is there twice."""
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
            for buffer in layer:
                buffer[target, :, :length] = buffer[source, :, :length]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of the flat run that continues a slot by several tokens: a prompt, or a part of it."""

    buffer: KeyBuffer
    slot: int
    start: int
    """Tokens that the slot holds already."""
    flat: slice

    @property
    def end(self) -> int:
        """Tokens that it holds afterwards."""
        return self.start + int(self.flat.stop - self.flat.start)


@dataclass(frozen=True, slots=True, kw_only=True)
class StemReaders:
    """A stem and the tokens of the flat run that stand behind it."""

    keys: KeyBuffer
    start: int
    """The position of its first token."""
    places: torch.Tensor | None
    """Where these tokens stand in the flat run. None: all stand behind it."""


@dataclass(slots=True, kw_only=True)
class DecodeRun:
    """One forward pass over a flat run: first the newest token of every slot from 0 on, then the spans."""

    slots: KeyBuffer
    lengths: Sequence[int]
    """Tokens that each slot holds, its newest one included."""
    spans: Sequence[Span]
    stems: Sequence[StemReaders]
    positions: torch.Tensor
    """`[tokens]`: of the flat run, on the CPU."""
    fused: bool
    """Whether fused kernels may be used."""
    last_position: int = field(init=False)
    once: OncePerDevice = field(default_factory=OncePerDevice)

    def __post_init__(self) -> None:
        self.last_position = int(self.positions.max())

    def called(self, *, windowed: bool) -> None:
        """See `Run.called`; nothing asks."""

    def attend(
        self, module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rules: Rules
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Run.attend`."""
        out = torch.empty((1, query.shape[1], query.shape[2], value.shape[-1]), dtype=torch.float32, device=query.device)
        lse = torch.empty(query.shape[:3], dtype=torch.float32, device=query.device)
        for span in self.spans:
            keys, values = span.buffer.layer(module, key, value)
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

    def _newest(self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, rules: Rules) -> tuple[torch.Tensor, torch.Tensor]:
        """Each slot's newest token over its slot. Heads that share keys are more queries of one head, so that no key is read twice."""
        count, longest = len(self.lengths), max(self.lengths)
        window = rules.window

        def allowed() -> torch.Tensor:
            behind = torch.tensor(self.lengths)[:, None] - 1 - torch.arange(longest)
            return ((behind >= 0) & (behind < (window or longest)))[:, None]

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
        self, span: Span, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, rules: Rules
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
            behind = torch.arange(span.start, span.end)[:, None] - torch.arange(span.end)
            return ((behind >= 0) & (behind < (rules.window or span.end)))[None]

        mask = self.once(("span", span.flat.start, rules.window), query.device, allowed)
        return rules.plain(query, keys[slot, :, : span.end], values[slot, :, : span.end], mask)

    def _over_stem(
        self,
        stem: StemReaders,
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        rules: Rules,
        out: torch.Tensor,
        lse: torch.Tensor,
    ) -> None:
        """Merge what a stem's readers see of it into their output, in place."""
        keys, values = stem.keys.layer(module, key, value)
        read_by = stem.places
        places = slice(None) if read_by is None else self.once(("places", id(stem)), query.device, lambda: read_by)
        readers = query[:, :, places]
        if rules.window is None:
            part = rules.unmasked(readers, keys, values)
        else:
            window = rules.window

            def allowed() -> torch.Tensor:
                positions = self.positions if read_by is None else self.positions[read_by]
                return (positions[:, None] < torch.arange(stem.start, stem.start + stem.keys.capacity) + window)[None]

            # where a window hides all of these keys from a query, fused kernels would answer NaN
            part = rules.plain(readers, keys, values, self.once(("stem", id(stem), window), query.device, allowed))
        if read_by is None:
            merge(out, lse, *part)
            return
        merged, merged_lse = out[:, :, places], lse[:, :, places]
        merge(merged, merged_lse, *part)
        out[:, :, places], lse[:, :, places] = merged, merged_lse
