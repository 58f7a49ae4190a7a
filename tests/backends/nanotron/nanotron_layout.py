"""Writes transformers models in nanotron's checkpoint layout, without nanotron: the inverse of what the backend reads, told independently.

Names, chunks, slices and both generations of file names are those of nanotron's `serialize` and `models` (v0.5, and commit 2411b022).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How the checkpoint is split and written."""

    tensor: int = 1
    pipeline: int = 1
    interleaved: bool | None = False
    """None: rotary pairs are interleaved, and the config has no key for it, as nanotron 0.5 wrote."""
    old_names: bool = False
    """Those of v0.5, with numpy's way to write a size."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """More keys of `model_config`, or other values of them."""


@dataclass(frozen=True, kw_only=True)
class _Parameter:
    name: str
    value: torch.Tensor
    dim: int | None = None
    """The dimension that tensor parallelism splits. None: every rank has the whole."""
    chunks: tuple[int, ...] = ()
    """Parts of that dimension that are split each for itself."""
    stage: int = 0
    """The layer that it belongs to, for pipeline parallelism."""


def write_checkpoint(folder: Path, model: Any, *, tokenizer: str | None = None, layout: Layout | None = None) -> Path:
    """The checkpoint of a transformers llama, qwen2, smollm3 or starcoder2. Returns its config.yaml."""
    layout = layout or Layout()
    parameters = list(_starcoder2(model) if model.config.model_type == "starcoder2" else _gated(model, layout))
    for parameter in parameters:
        _write(folder / "model", parameter, layout, layers=model.config.num_hidden_layers)
    described = _described(model.config, layout)
    sizes = {"dp": 1, "pp": layout.pipeline, "tp": layout.tensor}
    content = {
        "general": {"project": "test", "run": "test", "seed": 42, "step": 10},
        "model": {
            "dtype": str(model.dtype).removeprefix("torch."),
            "init_method": {"std": 0.02},
            "make_vocab_size_divisible_by": 1,
            "model_config": described,
        },
        "tokenizer": {"tokenizer_name_or_path": tokenizer, "tokenizer_revision": None, "tokenizer_max_length": None},
        "parallelism": sizes | {"pp_engine": "1f1b", "tp_mode": "REDUCE_SCATTER", "tp_linear_async_communication": True},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(content))
    (folder / "model_config.json").write_text(json.dumps(described))
    (folder / "checkpoint_metadata.json").write_text(
        json.dumps({"version": "1.2" if layout.old_names else "1.5", "tp": layout.tensor, "dp": 1, "metas": {}})
    )
    return folder / "config.yaml"


def _gated(model: Any, layout: Layout) -> Iterator[_Parameter]:
    weights, config = model.state_dict(), model.config
    embedding = "model.token_position_embeddings.pp_block.token_embedding.weight"
    last = config.num_hidden_layers - 1
    head = config.hidden_size // config.num_attention_heads
    sizes = (config.num_attention_heads * head, config.num_key_value_heads * head, config.num_key_value_heads * head)
    yield _Parameter(name=embedding, value=weights["model.embed_tokens.weight"], dim=0)
    yield _Parameter(name="model.final_layer_norm.pp_block.weight", value=weights["model.norm.weight"], stage=last)
    if not config.tie_word_embeddings:
        yield _Parameter(name="model.lm_head.pp_block.weight", value=weights["lm_head.weight"], dim=0, stage=last)
    for layer in range(config.num_hidden_layers):
        theirs, ours = f"model.layers.{layer}.", f"model.decoder.{layer}.pp_block."
        for suffix in ("weight", "bias"):
            if f"{theirs}self_attn.q_proj.{suffix}" in weights:
                parts = [weights[f"{theirs}self_attn.{letter}_proj.{suffix}"] for letter in "qkv"]
                if layout.interleaved is not False:
                    parts[:2] = (_side_by_side(part, head) for part in parts[:2])
                yield _Parameter(name=f"{ours}attn.qkv_proj.{suffix}", value=torch.cat(parts), dim=0, chunks=sizes, stage=layer)
        gated = torch.cat([weights[f"{theirs}mlp.{part}_proj.weight"] for part in ("gate", "up")])
        chunks = (config.intermediate_size, config.intermediate_size)
        yield _Parameter(name=f"{ours}mlp.gate_up_proj.weight", value=gated, dim=0, chunks=chunks, stage=layer)
        yield _Parameter(name=f"{ours}attn.o_proj.weight", value=weights[f"{theirs}self_attn.o_proj.weight"], dim=1, stage=layer)
        yield _Parameter(name=f"{ours}mlp.down_proj.weight", value=weights[f"{theirs}mlp.down_proj.weight"], dim=1, stage=layer)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield _Parameter(name=f"{ours}{norm}.weight", value=weights[f"{theirs}{norm}.weight"], stage=layer)


def _side_by_side(rows: torch.Tensor, head: int) -> torch.Tensor:
    """Rows (0, head/2), (1, head/2 + 1), ... of every head become neighbours."""
    halves = rows.reshape(-1, 2, head // 2, *rows.shape[1:])
    return torch.stack([halves[:, 0], halves[:, 1]], dim=2).reshape(rows.shape)


def _starcoder2(model: Any) -> Iterator[_Parameter]:
    weights, config = model.state_dict(), model.config
    last = config.num_hidden_layers - 1
    head = config.hidden_size // config.num_attention_heads
    repeats = config.num_attention_heads // config.num_key_value_heads
    yield _Parameter(name="model.token_embeddings.pp_block.token_embedding.weight", value=weights["model.embed_tokens.weight"], dim=0)
    for suffix in ("weight", "bias"):
        yield _Parameter(name=f"model.final_layer_norm.pp_block.{suffix}", value=weights[f"model.norm.{suffix}"], stage=last)
        for layer in range(config.num_hidden_layers):
            theirs, ours = f"model.layers.{layer}.", f"model.decoder.{layer}.pp_block."
            queries, keys, values = (weights[f"{theirs}self_attn.{letter}_proj.{suffix}"].split(head) for letter in "qkv")
            grouped = [
                part
                for group in range(config.num_key_value_heads)
                for part in (*queries[group * repeats : (group + 1) * repeats], keys[group], values[group])
            ]
            yield _Parameter(name=f"{ours}attn.query_key_value.{suffix}", value=torch.cat(grouped), dim=0, stage=layer)
            # the bias of a row-split matrix is whole on every rank
            across = 1 if suffix == "weight" else None
            yield _Parameter(
                name=f"{ours}attn.dense.{suffix}", value=weights[f"{theirs}self_attn.o_proj.{suffix}"], dim=across, stage=layer
            )
            yield _Parameter(name=f"{ours}ff.c_fc.{suffix}", value=weights[f"{theirs}mlp.c_fc.{suffix}"], dim=0, stage=layer)
            yield _Parameter(name=f"{ours}ff.c_proj.{suffix}", value=weights[f"{theirs}mlp.c_proj.{suffix}"], dim=across, stage=layer)
            for norm, name in (("ln_1", "input_layernorm"), ("ln_2", "post_attention_layernorm")):
                yield _Parameter(name=f"{ours}{norm}.{suffix}", value=weights[f"{theirs}{name}.{suffix}"], stage=layer)


def _write(root: Path, parameter: _Parameter, layout: Layout, *, layers: int) -> None:
    *folders, suffix = parameter.name.split(".")
    folder = root.joinpath(*folders)
    folder.mkdir(parents=True, exist_ok=True)
    whole = parameter.value.detach().contiguous()
    if parameter.dim is None:
        save_file({"data": whole.clone()}, folder / f"model_{suffix}.safetensors", metadata={})
        return
    stage = parameter.stage * layout.pipeline // layers
    for rank in range(layout.tensor):
        part, pairs = _shard(whole, parameter.dim, parameter.chunks or (whole.shape[parameter.dim],), rank, layout.tensor)
        ranks = f"_pp-rank-{stage}-of-{layout.pipeline}_tp-rank-{rank}-of-{layout.tensor}.safetensors"
        name = f"model_model_{suffix}.safetensors{ranks}" if layout.old_names else f"model_{suffix}{ranks}"
        shape = ", ".join(f"np.int64({size})" if layout.old_names else str(size) for size in whole.shape)
        metadata = {
            "version": "1.2" if layout.old_names else "1.5",
            "local_global_slices_pairs": pairs,
            "unsharded_shape": f"({shape},)" if whole.dim() == 1 else f"({shape})",
        }
        save_file({"data": part.contiguous()}, folder / name, metadata=metadata)


def _shard(whole: torch.Tensor, dim: int, chunks: Sequence[int], rank: int, ranks: int) -> tuple[torch.Tensor, str]:
    """A rank's part of every chunk, side by side, and what nanotron's metadata say of it."""
    parts, pairs, local, start = [], [], 0, 0
    for chunk in chunks:
        size = chunk // ranks
        assert size * ranks == chunk
        first = start + rank * size
        parts.append(whole.narrow(dim, first, size))
        pairs.append(f"{_slices(whole.dim(), dim, local, local + size)}#{_slices(whole.dim(), dim, first, first + size)}")
        local, start = local + size, start + chunk
    return torch.cat(parts, dim), ";".join(pairs)


def _slices(dims: int, dim: int, start: int, stop: int) -> str:
    return "|".join(f"{start},{stop},None" if place == dim else "None,None,None" for place in range(dims))


def _described(config: Any, layout: Layout) -> dict[str, Any]:
    """The `model_config` that nanotron would have saved."""
    common = {
        "hidden_size": config.hidden_size,
        "vocab_size": config.vocab_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "max_position_embeddings": config.max_position_embeddings,
        "intermediate_size": config.intermediate_size,
        "rope_theta": config.rope_parameters["rope_theta"],
        # nanotron's defaults, whatever the tokenizer's ids are
        "bos_token_id": 1,
        "eos_token_id": 2,
        "initializer_range": 0.02,
        "_attn_implementation": "flash_attention_2",
    }
    if config.model_type == "starcoder2":
        return {
            **common,
            "is_starcoder2_config": True,
            "activation_function": config.hidden_act,
            "layer_norm_epsilon": config.norm_epsilon,
            "num_kv_heads": config.num_key_value_heads,
            "grouped_query": True,
            "multi_query": False,
            "scale_attn_weights": True,
            "use_rotary_embeddings": True,
            "sliding_window_size": config.sliding_window,
            "global_attn_layers": [],
            "attn_pdrop": 0.1,
            **layout.config,
        }
    own = {
        "is_llama_config" if config.model_type == "llama" else "is_qwen2_config": True,
        "hidden_act": config.hidden_act,
        "num_key_value_heads": config.num_key_value_heads,
        # PyYAML writes and reads 1e-06 as a text
        "rms_norm_eps": config.rms_norm_eps,
        "rope_scaling": None,
        "tie_word_embeddings": config.tie_word_embeddings,
        "pad_token_id": None,
        "pretraining_tp": 1,
        "use_cache": True,
    }
    if layout.interleaved is not None:
        own["rope_interleaved"] = layout.interleaved
    if config.model_type != "llama":
        own |= {"attention_bias": config.model_type == "qwen2", "moe_config": None, "sliding_window_size": None, "_use_qkv_packed": True}
    if config.model_type == "smollm3":
        own["no_rope_layer"] = config.no_rope_layers.index(0) + 1
    return {**common, **own, **layout.config}
