"""Attention over a prefix tree, as an attention function of transformers. Stems are read in place, never copied for each row.

A model of transformers passes each layer's queries, keys and values to the function that its configuration names. Here a batch is *flat*:
the tokens of all its pieces in one row, without padding. Each token attends to its own piece, under that piece's tree mask, and to the
stems before it, whose keys and values were kept when they ran. The parts are merged by their log-sum-exp. That is exact: a softmax over a
union of disjoint sets of keys is the sum of their softmaxes, weighted by the exponentials of their log-sum-exps (as in cascade inference,
https://flashinfer.ai/2024/02/02/cascade-inference.html). The reasons: docs/decisions/004-attend-over-a-prefix-tree.md.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

IMPLEMENTATION = "lighteval_prefix_tree"
"""The function's name in the registry of transformers."""

_SCORES_AT_ONCE = 2**25
"""Attention scores that are in memory at a time where no fused kernel runs."""

StemKV = dict[Any, tuple[torch.Tensor, torch.Tensor]]
"""A stem's KV cache: attention layer (the module itself) -> its keys and values, `[1, kv_heads, tokens, head_dim]`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnRows:
    """Pieces of a batch whose tokens attend within themselves, padded to the longest."""

    places: torch.Tensor
    """`[pieces, longest]`: the place of each token in the flat batch; padding repeats a piece's last token."""
    real: torch.Tensor | None
    """`[tokens]`: which of the padded, flattened tokens are real. None: all are."""
    span: slice
    """The places of the pieces' tokens in the flat batch, in the same order."""
    allowed: torch.Tensor | None
    """`[pieces, longest, longest]`, true where a query (row) sees a key (column). None: each sees all up to itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeStem:
    """A stem, and the tokens of the flat batch that attend to it."""

    kv: StemKV
    start: int
    """The position of its first token."""
    length: int
    readers: slice
    """The places of the tokens that attend to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionRules:
    """How one layer attends."""

    scale: float
    softcap: float | None
    """Bends scores (Gemma 2)."""
    window: int | None
    """A token sees so many positions up to its own. None: it sees all, or no sequence of the batch is longer than the window."""
    fused: bool
    """Whether fused kernels may be used."""

    def is_fused(self, query: torch.Tensor, value: torch.Tensor) -> bool:
        """Whether they are used for these tensors."""
        return self.fused and self.softcap is None and query.shape[-1] == value.shape[-1]

    def plain(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, allowed: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Attention by its definition. A query that sees no key has an output of 0 and a log-sum-exp of -inf.

        `allowed` is `[rows or 1, queries, keys]`, the same for all heads; it is not copied for them.
        """
        rows, heads, queries, width = query.shape
        shared, keys = key.shape[1:3]
        # heads that share keys become more queries of one head, so that no key is repeated
        query = query.reshape(rows, shared, -1, queries, width)
        step = max(1, _SCORES_AT_ONCE // (rows * heads * keys))
        outs, lses = [], []
        for start in range(0, queries, step):
            part = query[:, :, :, start : start + step]
            scores = (part.flatten(2, 3) @ key.transpose(2, 3)).float().mul_(self.scale).view(*part.shape[:4], keys)
            if self.softcap is not None:
                scores = torch.tanh(scores / self.softcap) * self.softcap
            if allowed is not None:
                scores.masked_fill_(~allowed[:, None, None, start : start + step], -torch.inf)
            lse = scores.logsumexp(-1)
            weights = scores.sub_(lse.masked_fill(lse == -torch.inf, 0.0)[..., None]).exp_()
            outs.append((weights.flatten(2, 3).to(value.dtype) @ value).float().view(*part.shape[:4], -1))
            lses.append(lse)
        return torch.cat(outs, 3).flatten(1, 2), torch.cat(lses, 3).flatten(1, 2)

    def unmasked(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Attention of queries that all see all keys."""
        if self.is_fused(query, value):
            if query.device.type == "cpu":
                return fused_on_cpu(query, key, value, None, self.scale, causal=False)
            if query.device.type == "cuda":
                return _fused_on_cuda(query, key, value, self.scale, causal=False)
        return self.plain(query, key, value, None)


class OncePerDevice:
    """Tensors that all layers of a device share, made for the first layer that needs them."""

    def __init__(self) -> None:
        self._made: dict[tuple[Any, torch.device], torch.Tensor] = {}

    def __call__(self, name: Any, device: torch.device, make: Callable[[], torch.Tensor]) -> torch.Tensor:
        """The tensor of this name on the device."""
        if (name, device) not in self._made:
            self._made[name, device] = make().to(device)
        return self._made[name, device]


class FlatBatch(Protocol):
    """The tokens of one forward pass, as its attention sees them."""

    @property
    def last_position(self) -> int:
        """The largest position of its tokens."""

    @property
    def fused(self) -> bool:
        """Whether fused kernels may be used. If they fail on a model, it runs without them."""

    def attend(
        self, module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rules: AttentionRules
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The attention of a layer's queries `[1, heads, tokens, head_dim]`: output in fp32, log-sum-exp `[1, heads, tokens]`."""

    def called(self, *, windowed: bool) -> None:
        """A layer attends; `windowed`: it passed a sliding window."""


@dataclass(slots=True, kw_only=True)
class TreeBatch:
    """Pieces of a prefix tree: which tokens attend to which, and whose keys and values are kept."""

    positions: torch.Tensor
    """`[tokens]`: of the flat batch, on the CPU."""
    own: Sequence[OwnRows]
    stems: Sequence[TreeStem]
    keep: Sequence[tuple[slice, StemKV]]
    """Places of the flat batch that are stems, and where their keys and values are put."""
    fused: bool = True
    """See `FlatBatch.fused`."""
    windows_seen: bool = False
    """Whether a layer passed a sliding window."""
    once: OncePerDevice = field(default_factory=OncePerDevice)

    @property
    def last_position(self) -> int:
        """See `FlatBatch.last_position`."""
        return int(self.positions.max())

    def called(self, *, windowed: bool) -> None:
        """See `FlatBatch.called`."""
        self.windows_seen |= windowed

    def attend(
        self, module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rules: AttentionRules
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `FlatBatch.attend`."""
        for span, kv in self.keep:
            # a copy, as a view would keep the whole batch's keys alive
            kv[module] = (key[:, :, span].clone(), value[:, :, span].clone())
        layer = _Layer(batch=self, rules=rules)
        out, lse = layer.own(query, key, value)
        for stem in self.stems:
            part = layer.over_stem(stem, query, *stem.kv[module])
            if part is not None:
                merge(out[:, :, stem.readers], lse[:, :, stem.readers], *part)
        return out, lse

    def on(self, device: torch.device, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor on a layer's device. It is moved once for all layers."""
        return tensor if tensor.device == device else self.once(("moved", id(tensor)), device, lambda: tensor)


_BATCH: ContextVar[FlatBatch | None] = ContextVar("lighteval_flat_batch", default=None)


def configurations_of(model: Any) -> list[Any]:
    """The configurations in which transformers looks up the attention function at every forward pass.

    Call it once for a model: walking through all modules takes as long as a layer of a small model.
    """
    found = {id(part.config): part.config for part in model.modules() if hasattr(part, "config")}
    return [config for config in found.values() if hasattr(config, "_attn_implementation")]


@contextlib.contextmanager
def tree_attention(configurations: Sequence[Any], batch: FlatBatch) -> Iterator[None]:
    """Let a model of these configurations attend as the batch says; afterwards its attention is what it was."""
    before = [(config, config._attn_implementation) for config in configurations]
    token = _BATCH.set(batch)
    try:
        for config, _ in before:
            config._attn_implementation = IMPLEMENTATION
        yield
    finally:
        for config, implementation in before:
            config._attn_implementation = implementation
        _BATCH.reset(token)


def prefix_tree_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """What transformers calls in every layer. `query` is `[1, heads, tokens, head_dim]`; returns `[1, tokens, heads, head_dim]`.

    A `sliding_window` of w lets a token see the w positions up to its own. `softcap` bends scores (Gemma 2), `s_aux` is one sink for
    each head (gpt-oss).
    """
    batch = _BATCH.get()
    if batch is None:
        raise RuntimeError(f"{IMPLEMENTATION} was called outside of a planned batch")
    batch.called(windowed=sliding_window is not None)
    rules = AttentionRules(
        scale=query.shape[-1] ** -0.5 if scaling is None else scaling,
        softcap=softcap,
        window=None if sliding_window is None or batch.last_position < sliding_window else sliding_window,
        fused=batch.fused,
    )
    out, lse = batch.attend(module, query, key, value, rules)
    if s_aux is not None:
        # a sink is one more key, without a value
        out *= torch.sigmoid(lse - s_aux.float().view(1, -1, 1))[..., None]
    # some models reshape it by `view`
    return out.transpose(1, 2).to(query.dtype).contiguous(), None


def merge(out: torch.Tensor, lse: torch.Tensor, other: torch.Tensor, other_lse: torch.Tensor) -> None:
    """Add the attention over another set of keys, in place. `lse` is finite; `other_lse` may be -inf, for no keys."""
    out += (other - out) * torch.sigmoid(other_lse - lse)[..., None]
    torch.logaddexp(lse, other_lse, out=lse)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """One layer's attention in one batch."""

    batch: TreeBatch
    rules: AttentionRules

    def own(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Every token over its own piece: output `[1, heads, tokens, head_dim]`, log-sum-exp `[1, heads, tokens]`, both in fp32."""
        out = torch.empty((1, query.shape[1], query.shape[2], value.shape[-1]), dtype=torch.float32, device=query.device)
        lse = torch.empty(query.shape[:3], dtype=torch.float32, device=query.device)
        for rows in self.batch.own:
            pieces, longest = rows.places.shape
            if pieces == 1:
                q, k, v = query[:, :, rows.span], key[:, :, rows.span], value[:, :, rows.span]
            else:
                places = self.batch.on(query.device, rows.places).flatten()
                q, k, v = (
                    tensor[0].index_select(1, places).reshape(tensor.shape[1], pieces, longest, -1).transpose(0, 1)
                    for tensor in (query, key, value)
                )
            if self.rules.is_fused(query, value) and query.device.type == "cpu":
                bias = self._bias(rows, query.dtype)
                part, part_lse = fused_on_cpu(q, k, v, bias, self.rules.scale, causal=bias is None)
            elif self.rules.is_fused(query, value) and query.device.type == "cuda" and self._is_causal(rows):
                part, part_lse = _fused_on_cuda(q, k, v, self.rules.scale, causal=True)
            else:
                part, part_lse = self.rules.plain(q, k, v, self._allowed(rows, query.device))
            part, part_lse = part.transpose(0, 1).flatten(1, 2), part_lse.transpose(0, 1).flatten(1, 2)
            if rows.real is not None:
                real = self.batch.on(query.device, rows.real)
                part, part_lse = part[:, real], part_lse[:, real]
            out[0, :, rows.span], lse[0, :, rows.span] = part, part_lse
        return out, lse

    def over_stem(
        self, stem: TreeStem, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """The stem's readers over the stem. None: it is out of the window for all of them."""
        allowed = None
        if self.rules.window is not None:
            positions = self.batch.positions[stem.readers]
            last = stem.start + stem.length - 1
            if int(positions.min()) - last >= self.rules.window:
                return None
            if int(positions.max()) - stem.start >= self.rules.window:
                # the first position that does not see each key any more
                unseen = torch.arange(stem.start, stem.start + stem.length) + self.rules.window
                allowed = self.batch.once(("stem", id(stem), self.rules.window), query.device, lambda: (positions[:, None] < unseen)[None])
        query = query[:, :, stem.readers]
        if allowed is None:
            return self.rules.unmasked(query, key, value)
        # where a window hides all of these keys from a query, fused kernels would answer NaN
        return self.rules.plain(query, key, value, allowed)

    def _is_causal(self, rows: OwnRows) -> bool:
        """Whether each token sees all of its piece up to itself."""
        return rows.allowed is None and self.rules.window is None

    def _bias(self, rows: OwnRows, dtype: torch.dtype) -> torch.Tensor | None:
        """The mask as fused kernels on the CPU take it, `[pieces, 1, longest, longest]` of 0 and -inf. None: the causal mask."""
        if self._is_causal(rows):
            return None
        cpu = torch.device("cpu")

        def make() -> torch.Tensor:
            allowed = self._make_allowed(rows, cpu)
            return torch.zeros(allowed.shape, dtype=dtype).masked_fill_(~allowed, -torch.inf)[:, None]

        return self.batch.once(("bias", id(rows), self.rules.window, dtype), cpu, make)

    def _allowed(self, rows: OwnRows, device: torch.device) -> torch.Tensor:
        """Which of a piece's tokens sees which, `[pieces, longest, longest]`; also where that is the causal mask."""
        return self.batch.once(("allowed", id(rows), self.rules.window), device, lambda: self._make_allowed(rows, device))

    def _make_allowed(self, rows: OwnRows, device: torch.device) -> torch.Tensor:
        longest = rows.places.shape[1]
        if rows.allowed is None:
            allowed = torch.ones((1, longest, longest), dtype=torch.bool, device=device).tril()
        else:
            allowed = self.batch.on(device, rows.allowed)
        if self.rules.window is None:
            return allowed
        positions = self.batch.positions[rows.places].to(device)
        # compared, not subtracted: a difference would be eight bytes for each pair of tokens
        return allowed & (positions[:, :, None] < (positions + self.rules.window)[:, None, :])


def fused_on_cpu(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, scale: float, *, causal: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """The kernel of `scaled_dot_product_attention`. Called by its own name, it also returns the log-sum-exp."""
    out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(query, key, value, 0.0, causal, attn_mask=mask, scale=scale)
    return out.float(), lse


def _fused_on_cuda(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, *, causal: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same on a GPU, for queries that see all keys, or all up to themselves. The kernel pads the log-sum-exp."""
    rows, heads, queries, width = query.shape
    shape = query.shape
    if causal:
        # the kernel needs a head of keys for each head of queries
        key, value = (tensor.repeat_interleave(heads // tensor.shape[1], 1) for tensor in (key, value))
    else:
        # heads that share keys become more queries of one head, one after the other, so that no key is repeated
        query = query.reshape(rows, key.shape[1], -1, width)
    out, lse, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(query, key, value, None, True, is_causal=causal, scale=scale)
    return out.float().reshape(*shape[:3], -1), lse[:, :, : query.shape[2]].reshape(rows, heads, queries)
