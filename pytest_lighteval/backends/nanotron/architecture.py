"""A nanotron model's settings and weights under the names of transformers. What has no exact counterpart is refused by name.

Llama, Qwen2 (with NoPE layers: SmolLM3) and Starcoder2, as in `nanotron/config/models_config.py` and `nanotron/models`
(https://github.com/huggingface/nanotron, commit 2411b022). Importing it imports no torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_lighteval.backends.nanotron.checkpoint import Checkpoint
from pytest_lighteval.errors import BackendError, UserInputError, did_you_mean

if TYPE_CHECKING:  # annotations only: arguments are checked without it
    import torch

FAMILIES = {"is_llama_config": "llama", "is_qwen2_config": "qwen2", "is_starcoder2_config": "starcoder2"}
_WITHOUT_EFFECT = {
    # ids that nanotron does not compute with (the tokenizer has the end token), and the start of a training run
    *("bos_token_id", "eos_token_id", "pad_token_id", "initializer_range", "pretraining_tp", "use_cache"),
    # kernels and losses
    *("_attn_implementation", "_fused_rotary_emb", "_fused_rms_norm", "_use_qkv_packed", "ring_attn_heads_k_stride", "log_attn_probs"),
    *("z_loss_enabled", "z_loss_coefficient", "attention_softmax_in_fp32", "scale_attention_softmax_in_fp32"),
    *("attn_pdrop", "embd_pdrop", "resid_pdrop"),
    # how documents are packed while training
    *("_use_doc_masking", "use_position_embeddings"),
    *FAMILIES,
}
_COMMON = {"hidden_size", "max_position_embeddings", "num_attention_heads", "num_hidden_layers", "rope_theta", "vocab_size"}
_GATED = _COMMON | {
    *("attention_bias", "hidden_act", "intermediate_size", "num_key_value_heads", "rms_norm_eps", "rope_interleaved"),
    "tie_word_embeddings",
}
_READ = {
    "llama": _GATED,
    "qwen2": _GATED | {"no_rope_layer", "flex_attention_mask"},
    "starcoder2": _COMMON
    | {
        "activation_function",
        "global_attn_layers",
        "grouped_query",
        "intermediate_size",
        "layer_norm_epsilon",
        "multi_query",
        "num_kv_heads",
    }
    | {"scale_attn_weights", "sliding_window_size", "use_rotary_embeddings"},
}
_REFUSED = {
    "moe_config": "mixtures of experts are not mapped to transformers",
    "rope_scaling": "nanotron reads it and does not apply it, so that what the model was trained with cannot be known",
    "rope_seq_len_interpolation_factor": "scaled rotary positions are not mapped to transformers",
    "sliding_window_size": "nanotron's sliding window of this architecture is not mapped to transformers",
}
_WRITES_INTERLEAVED = (1, 5)
"""From this version of the checkpoint format on, a llama's config always has `rope_interleaved`. Before that key existed, a llama's rotary
positions were always interleaved (nanotron 0.4 and 0.5 wrote format 1.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A model as transformers describes it."""

    model_type: str
    settings: Mapping[str, Any]
    """The settings of its transformers configuration."""
    family: str
    query_size: int
    """Rows of the fused projection that are queries. `key_size` rows are keys, and as many are values."""
    key_size: int
    head_size: int
    interleaved: bool
    """Rotary pairs are neighbours. In transformers, they are half a head apart."""

    @property
    def max_length(self) -> int:
        """The longest sequence in tokens."""
        length: int = self.settings["max_position_embeddings"]
        return length

    @property
    def tied(self) -> bool:
        """Whether the output head is the embedding."""
        return bool(self.settings["tie_word_embeddings"])

    def weights(self, name: str, tensor: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
        """The transformers weights in a whole parameter of nanotron. Raises BackendError for an unknown parameter."""
        if name in _OUTER:
            yield _OUTER[name], tensor
            return
        match = _LAYER.fullmatch(name)
        inner = match and _INNER[self.family].get(match["module"])
        if match is None or inner is None:
            raise BackendError(f"weights: the parameter {name!r} has no counterpart in {self.model_type} of transformers")
        prefix, suffix = f"model.layers.{match['layer']}.", match["suffix"]
        if isinstance(inner, str):
            yield f"{prefix}{inner}.{suffix}", tensor
            return
        for module, part in inner(self, name, tensor):
            # a copy: parts of one parameter would be saved as one
            yield f"{prefix}{module}.{suffix}", part.clone()

    def _split_attention(self, name: str, tensor: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
        """Layout: all queries, all keys, all values."""
        _check_rows(name, tensor, self.query_size + 2 * self.key_size)
        keys_end = self.query_size + self.key_size
        queries, keys, values = tensor[: self.query_size], tensor[self.query_size : keys_end], tensor[keys_end:]
        if self.interleaved:
            queries, keys = self._half_apart(queries), self._half_apart(keys)
        yield from (("self_attn.q_proj", queries), ("self_attn.k_proj", keys), ("self_attn.v_proj", values))

    def _split_grouped(self, name: str, tensor: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
        """Layout: for each key head, its queries, its key, its value."""
        _check_rows(name, tensor, self.query_size + 2 * self.key_size)
        groups, size, rest = self.key_size // self.head_size, self.head_size, tensor.shape[1:]
        repeats = self.query_size // self.key_size
        heads = tensor.view(groups, repeats + 2, size, *rest)
        for letter, part in (("q", heads[:, :repeats]), ("k", heads[:, -2]), ("v", heads[:, -1])):
            yield f"self_attn.{letter}_proj", part.reshape(-1, *rest)

    def _split_gate(self, name: str, tensor: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
        """Layout: the gate, then what it gates."""
        size: int = self.settings["intermediate_size"]
        _check_rows(name, tensor, 2 * size)
        yield from (("mlp.gate_proj", tensor[:size]), ("mlp.up_proj", tensor[size:]))

    def _half_apart(self, rows: torch.Tensor) -> torch.Tensor:
        """The rows of every head, reordered from pairs (0, 1), (2, 3), ... to first members, then second members."""
        return rows.view(-1, self.head_size // 2, 2, *rows.shape[1:]).transpose(1, 2).reshape(rows.shape)


def _check_rows(name: str, tensor: torch.Tensor, rows: int) -> None:
    if tensor.shape[0] != rows:
        raise BackendError(f"weights: {name} has {tensor.shape[0]} rows, and the config makes it {rows}")


_Split = Callable[[Architecture, str, "torch.Tensor"], Iterator[tuple[str, "torch.Tensor"]]]
_OUTER = {
    "model.token_position_embeddings.pp_block.token_embedding.weight": "model.embed_tokens.weight",
    "model.token_embeddings.pp_block.token_embedding.weight": "model.embed_tokens.weight",
    "model.final_layer_norm.pp_block.weight": "model.norm.weight",
    "model.final_layer_norm.pp_block.bias": "model.norm.bias",
    "model.lm_head.pp_block.weight": "lm_head.weight",
}
_LAYER = re.compile(r"model\.decoder\.(?P<layer>\d+)\.pp_block\.(?P<module>.+)\.(?P<suffix>weight|bias)")
_LLAMA: dict[str, str | _Split] = {
    "attn.qkv_proj": Architecture._split_attention,
    "attn.o_proj": "self_attn.o_proj",
    "mlp.gate_up_proj": Architecture._split_gate,
    "mlp.down_proj": "mlp.down_proj",
    "input_layernorm": "input_layernorm",
    "post_attention_layernorm": "post_attention_layernorm",
}
_INNER: dict[str, dict[str, str | _Split]] = {
    "llama": _LLAMA,
    "qwen2": _LLAMA,
    "starcoder2": {
        "attn.query_key_value": Architecture._split_grouped,
        "attn.dense": "self_attn.o_proj",
        "ff.c_fc": "mlp.c_fc",
        "ff.c_proj": "mlp.c_proj",
        "ln_1": "input_layernorm",
        "ln_2": "post_attention_layernorm",
    },
}


def read_architecture(checkpoint: Checkpoint) -> Architecture:
    """The checkpoint's model as transformers describes it. Raises UserInputError that names the setting without counterpart."""
    config, where = checkpoint.model, f"{checkpoint.config}: model.model_config"
    family = _read_family(config, where)
    if checkpoint.uses_mup:
        raise UserInputError(f"{checkpoint.config}: model.init_method.use_mup: models scaled by muP are not mapped to transformers")
    _check_settings(config, family, where)
    settings = _Settings(config, where)
    heads = settings.size("num_attention_heads")
    hidden = settings.size("hidden_size")
    if hidden % heads:
        raise UserInputError(f"{where}.hidden_size: {hidden} is not divisible by {heads} heads")
    head_size = hidden // heads
    if head_size % 2:
        raise UserInputError(f"{where}.hidden_size: {heads} heads of {head_size} are odd, and rotary positions turn pairs")
    groups_key = "num_kv_heads" if family == "starcoder2" else "num_key_value_heads"
    groups = settings.size(groups_key, default=heads)
    if heads % groups:
        raise UserInputError(f"{where}.{groups_key}: {heads} heads of queries do not divide among {groups} of keys")
    common = {
        "vocab_size": settings.size("vocab_size"),
        "hidden_size": hidden,
        "num_hidden_layers": settings.size("num_hidden_layers"),
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
        "max_position_embeddings": settings.size("max_position_embeddings"),
        "rope_parameters": {"rope_type": "default", "rope_theta": settings.number("rope_theta", default=10_000.0)},
        # the tokenizer has the end token: nanotron's own ids are often left at their defaults
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id")),
    }
    model_type, own = _starcoder2(settings) if family == "starcoder2" else _gated(settings, family)
    return Architecture(
        model_type=model_type,
        settings={**common, **own},
        family=family,
        query_size=hidden,
        key_size=groups * head_size,
        head_size=head_size,
        interleaved=family != "starcoder2" and _is_interleaved(checkpoint, family),
    )


@dataclass(frozen=True, slots=True)
class _Settings:
    """A `model_config`. Reading a value checks it."""

    values: Mapping[str, Any]
    where: str

    def size(self, key: str, *, default: int | None = None) -> int:
        """A number, at least 1. Raises UserInputError."""
        value = self.values.get(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UserInputError(f"{self.where}.{key}: a number from 1 on was expected, not {value!r}")
        return value

    def number(self, key: str, *, default: float) -> float:
        """Raises UserInputError."""
        value = self.values.get(key)
        if value is None:
            return default
        try:
            return float(value)  # YAML 1.1 reads 1e-05 as a text
        except (TypeError, ValueError) as error:
            raise UserInputError(f"{self.where}.{key}: a number was expected, not {value!r}") from error


def _read_family(config: Mapping[str, Any], where: str) -> str:
    said = [key for key, value in config.items() if re.fullmatch(r"is_\w+_config", key) and value]
    known = ", ".join(FAMILIES.values())
    if not said:
        raise UserInputError(f"{where}: it names no architecture ({' or '.join(FAMILIES)})")
    if said[0] not in FAMILIES:
        raise UserInputError(f"{where}.{said[0]}: this architecture is not mapped to transformers; those that are: {known}")
    return FAMILIES[said[0]]


def _check_settings(config: Mapping[str, Any], family: str, where: str) -> None:
    """Raise UserInputError for the first setting without counterpart."""
    known = _READ[family]
    for key, value in config.items():
        if key in known or key in _WITHOUT_EFFECT or value is None or value is False or value in ([], {}):
            continue
        reason = _REFUSED.get(key)
        if reason is None:
            reason = f"not known of a {family}, so that what it does to the model cannot be mapped{did_you_mean(key, known)}"
        raise UserInputError(f"{where}.{key}: {reason}")


def _gated(settings: _Settings, family: str) -> tuple[str, dict[str, Any]]:
    config, where = settings.values, settings.where
    own = {
        "intermediate_size": settings.size("intermediate_size"),
        "hidden_act": config.get("hidden_act", "silu"),
        "rms_norm_eps": settings.number("rms_norm_eps", default=1e-6),
        "tie_word_embeddings": bool(config.get("tie_word_embeddings")),
        # nanotron's llama has none, whatever the config says
        "attention_bias": family == "qwen2" and bool(config.get("attention_bias")),
    }
    if "sliding" in str(config.get("flex_attention_mask")):
        raise UserInputError(f"{where}.flex_attention_mask: {_REFUSED['sliding_window_size']}")
    if not config.get("no_rope_layer"):
        return ("qwen2", own | {"use_sliding_window": False}) if own.pop("attention_bias") else ("llama", own | {"attention_bias": False})
    if own["attention_bias"]:
        raise UserInputError(f"{where}.attention_bias: together with no_rope_layer it is not mapped to transformers")
    every = settings.size("no_rope_layer")
    layers = [int((layer + 1) % every != 0) for layer in range(settings.size("num_hidden_layers"))]
    return "smollm3", own | {"no_rope_layers": layers, "use_sliding_window": False, "layer_types": None}


def _starcoder2(settings: _Settings) -> tuple[str, dict[str, Any]]:
    config, where = settings.values, settings.where
    if config.get("multi_query") or not config.get("grouped_query"):
        raise UserInputError(f"{where}.multi_query: the one-key attention of starcoder2 is not mapped to transformers; grouped_query is")
    for key in ("scale_attn_weights", "use_rotary_embeddings"):
        if config.get(key) is False:
            raise UserInputError(f"{where}.{key}: false is not mapped to transformers")
    if config.get("global_attn_layers"):
        raise UserInputError(f"{where}.global_attn_layers: layers without the others' sliding window are not mapped to transformers")
    window = config.get("sliding_window_size")
    return "starcoder2", {
        "intermediate_size": settings.size("intermediate_size", default=4 * settings.size("hidden_size")),
        "hidden_act": config.get("activation_function", "gelu_pytorch_tanh"),
        "norm_epsilon": settings.number("layer_norm_epsilon", default=1e-5),
        "use_bias": True,
        "sliding_window": None if window is None else settings.size("sliding_window_size"),
        "tie_word_embeddings": True,
        **dict.fromkeys(("attention_dropout", "residual_dropout", "embedding_dropout"), 0.0),
    }


def _is_interleaved(checkpoint: Checkpoint, family: str) -> bool:
    said = checkpoint.model.get("rope_interleaved")
    if said is not None:
        return bool(said)
    version = tuple(int(part) for part in re.findall(r"\d+", checkpoint.version or ""))
    return family == "llama" and version < _WRITES_INTERLEAVED
