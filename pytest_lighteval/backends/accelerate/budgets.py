"""How much runs at a time: constants for each kind of device, and what follows from a model's shape.

They are constants because batches decide the last digits of a score: a score must not depend on the memory that happens to be free.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch

from pytest_lighteval.backends.accelerate.batches import UNLIMITED, BatchLimits
from pytest_lighteval.backends.accelerate.loading import LoadedModel

_LOGITS_AT_ONCE = 2**28
"""Elements of logits that are computed at a time (1 GiB in fp32)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Device:
    """What runs at a time on a kind of device."""

    tokens: int
    """In a forward pass. More than 2,048 gain nothing on a CPU."""
    padded_tokens: int
    """In a batch of `generate` of transformers: reading the weights takes most of its time, so every further row gains."""
    rows: int
    """Generated together: more of them make a step longer and the whole hardly faster."""
    stem_bytes: int
    """Keys and values of shared prefixes that are kept while scoring."""
    slot_bytes: int
    """Keys and values that are kept while generating."""


_CPU = _Device(tokens=2048, padded_tokens=16384, rows=64, stem_bytes=2**30, slot_bytes=2**31)
_OTHERS = _Device(tokens=16384, padded_tokens=32768, rows=256, stem_bytes=2**32, slot_bytes=2**33)


class Budgets:
    """The limits of one model on its device, for each way to run it."""

    def __init__(self, loaded: LoadedModel, batch_size: int | Literal["auto"], *, all_logits: bool) -> None:
        """`all_logits`: the model computes logits at all positions; it cannot be asked for a few."""
        self._device = _CPU if loaded.device.type == "cpu" else _OTHERS
        self._rows = batch_size if isinstance(batch_size, int) else None
        self._config, self._dtype, self._all_logits = loaded.model.config.get_text_config(), loaded.dtype, all_logits

    @property
    def plain_rows(self) -> BatchLimits:
        """Padded rows that are scored."""
        return self._padded(self._device.tokens)

    @property
    def generated_rows(self) -> BatchLimits:
        """Padded rows that `generate` of transformers continues."""
        return self._padded(self._device.padded_tokens)

    @property
    def tree(self) -> BatchLimits:
        """Pieces of a prefix tree. There `batch_size` counts pieces."""
        kept = self._device.stem_bytes // self._token_bytes
        return BatchLimits(rows=self._rows or UNLIMITED, tokens=self._tokens, logits=self._logits, kept=kept)

    @property
    def slots(self) -> BatchLimits:
        """Rows that are generated in slots."""
        rows = self._rows or min(self._device.rows, self._logits)
        return BatchLimits(rows=rows, kept=self._device.slot_bytes // self._token_bytes, tokens=self._tokens)

    @property
    def _logits(self) -> int:
        """Positions whose logits are computed at a time."""
        vocabulary: int = self._config.vocab_size
        return max(1, _LOGITS_AT_ONCE // vocabulary)

    @property
    def _tokens(self) -> int:
        return min(self._device.tokens, self._logits) if self._all_logits else self._device.tokens

    @property
    def _token_bytes(self) -> int:
        """Bytes of a token's keys and values in all layers."""
        config: Any = self._config
        try:
            width = config.num_hidden_layers * _kv_width(config)
        except RuntimeError:  # transformers refuses one value for settings that differ between layers, as in Gemma 4
            width = sum(_kv_width(layer) for layer in config.per_layer_config)
        size: int = 2 * width * getattr(torch, self._dtype).itemsize
        return size

    def _padded(self, tokens: int) -> BatchLimits:
        return BatchLimits(tokens=tokens, logits=self._logits) if self._rows is None else BatchLimits(rows=self._rows)


def _kv_width(config: Any) -> int:
    """Elements of a token's keys in one layer."""
    heads: int = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    head_dim: int = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return heads * head_dim
