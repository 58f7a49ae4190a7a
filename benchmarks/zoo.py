"""Tiny random models of nearly every causal architecture of the installed transformers, made in memory."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

VOCABULARY = 400
_MOST_PARAMETERS = 20_000_000
_MIXED = ["sliding_attention", "full_attention"] * 2
_COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "word_embed_proj_dim", "lru_width", "embedding_size"), 32),
    **dict.fromkeys(
        ("intermediate_size", "ffn_dim", "decoder_ffn_dim", "encoder_ffn_dim", "dense_intermediate_size", "ffn_hidden_size"), 48
    ),
    **dict.fromkeys(("num_hidden_layers", "num_layers"), 4),
    **dict.fromkeys(("n_layer", "n_layers", "decoder_layers", "encoder_layers"), 3),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads"), 4),
    **dict.fromkeys(("decoder_attention_heads", "encoder_attention_heads", "rotary_dim"), 4),
    **dict.fromkeys(("n_positions", "n_ctx", "max_seq_len", "max_position_embeddings"), 1024),
    "num_key_value_heads": 2,
    "head_dim": 8,
    **dict.fromkeys(("num_local_experts", "num_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk", "n_group"), 2),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "expert_intermediate_size", "expert_ffn_hidden_size"), 24),
    **dict.fromkeys(("n_shared_experts", "topk_group", "first_k_dense_replace", "num_memory_blocks", "mamba_n_groups"), 1),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank", "qk_head_dim"), 16),
    **dict.fromkeys(("qk_rope_head_dim", "qk_nope_head_dim", "linear_key_head_dim", "linear_value_head_dim"), 8),
    **dict.fromkeys(("index_head_dim", "hidden_size_per_layer_input"), 8),
    "v_head_dim": 12,
    **dict.fromkeys(("state_size", "mamba_d_state", "mamba_d_conv", "mamba_n_heads", "mamba_num_heads", "conv_kernel", "laurel_rank"), 4),
    **dict.fromkeys(("mamba_expand", "n_mamba_heads", "linear_num_key_heads"), 2),
    **dict.fromkeys(("mamba_d_head", "mamba_head_dim", "mamba_chunk_size", "chunk_size", "index_n_heads"), 16),
    "linear_num_value_heads": 4,
    **dict.fromkeys(("mamba_d_ssm", "index_topk", "attention_chunk_size"), 64),
    **dict.fromkeys(("attention_window_size", "sliding_window", "window_size"), 70),
    "use_mamba_kernels": False,
    "vocab_size_per_layer_input": VOCABULARY,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
"""Sizes by the name of a setting; a configuration takes those that it has."""
_GEMMA_4 = {"num_kv_shared_layers": 2, "layer_types": _MIXED, "global_head_dim": 8}
_GEMMA_3 = {"layer_types": _MIXED}
_LLAMA_4 = {
    "floor_scale": 64,
    "attn_temperature_tuning": True,
    "intermediate_size_mlp": 48,
    "no_rope_layers": [1, 1, 1, 0],
    "moe_layers": [1, 3],
}
_LATENT = {"num_key_value_heads": 4}
_ZAMBA = {"attention_hidden_size": 64, "layers_block_type": ["mamba", "hybrid"] * 2, "head_dim": None}
_SPECIAL: dict[str, dict[str, Any]] = {
    "mamba2": {"num_heads": 4, "head_dim": 16, "n_groups": 1, "expand": 2},
    "gemma3n_text": {
        "num_kv_shared_layers": 2,
        "layer_types": _MIXED,
        "intermediate_size": [48] * 4,
        "activation_sparsity_pattern": [0.5, 0.0, 0.0, 0.0],
    },
    **dict.fromkeys(("gemma4_text", "gemma4", "gemma4_unified_text", "gemma4_unified"), _GEMMA_4),
    **dict.fromkeys(("gemma3_text", "gemma3"), _GEMMA_3),
    "gpt_neo": {"num_layers": 2, "attention_types": [[["global", "local"], 1]]},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1},
    "bamba": {"attn_layer_indices": [1, 3]},
    "falcon": {"alibi": False, "new_decoder_architecture": False},
    **dict.fromkeys(("llama4_text", "llama4"), _LLAMA_4),
    "recurrent_gemma": {"num_hidden_layers": 3},
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0},
        "ffn_config": {"ffn_hidden_size": 48, "moe_num_experts": 4, "moe_top_k": 2, "hidden_size": 32},
    },
    "modernbert-decoder": {"local_attention": 70, "global_attn_every_n_layers": 2},
    "ctrl": {"dff": 48},
    "zamba": _ZAMBA,
    "zamba2": {
        **_ZAMBA,
        "n_mamba_heads": 4,
        "mamba_headdim": 16,
        "attention_head_dim": 16,
        "num_mem_blocks": 1,
        "hybrid_layer_ids": [1, 3],
        "mamba_ngroups": 1,
    },
    **dict.fromkeys(
        ("deepseek_v2", "deepseek_v3", "deepseek_v32", "axk1", "axk2", "sarvam_mla", "glm_moe_dsa", "glm4_moe_lite", "youtu", "minicpm3"),
        _LATENT,
    ),
    "longcat_flash": _LATENT,
    "doge": {"keep_window_size": 64, "head_dim": None},
    "reformer": {
        "is_decoder": True,
        "axial_pos_embds": False,
        "attn_layers": ["local", "local"],
        "local_attn_chunk_length": 8,
        "num_buckets": 4,
    },
}
_LONG_FACTORS = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * 4,
    "long_factor": [4.0] * 4,
    "original_max_position_embeddings": 100,
    "factor": 10.24,
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "phi3, longrope": (
        "phi3",
        {"original_max_position_embeddings": 100, "rope_parameters": _LONG_FACTORS, "partial_rotary_factor": 1.0, "sliding_window": None},
    ),
    "llama, dynamic rope": (
        "llama",
        {"max_position_embeddings": 100, "rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}},
    ),
    "gemma3_text, bidirectional": ("gemma3_text", {"use_bidirectional_attention": True}),
    "bert, not a decoder": ("bert", {"is_decoder": False}),
    "doge, no sliding window": ("doge", {"sliding_window": None}),
    "falcon, alibi": ("falcon", {"alibi": True}),
    "gemma4_text, wide global heads": ("gemma4_text", {"global_head_dim": 16}),
}
"""Models whose settings, not their architecture, decide how they run: name -> architecture, settings."""


def causal_kinds() -> list[str]:
    """Every causal architecture of the installed transformers, by its `model_type`."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def make_model(kind: str, **settings: Any) -> Any:
    """A model of the architecture, or of a variant, with random weights. Raises what transformers raises for these sizes."""
    import torch
    import transformers

    if kind in VARIANTS:
        kind, variant = VARIANTS[kind]
        settings = {**variant, **settings}
    torch.manual_seed(0)
    with torch.device("meta"):
        size = sum(part.numel() for part in transformers.AutoModelForCausalLM.from_config(_configuration(kind, settings)).parameters())
    if size > _MOST_PARAMETERS:
        raise ValueError(f"{size / 1e6:.0f} million parameters are too many")
    model = transformers.AutoModelForCausalLM.from_config(_configuration(kind, settings))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "A_log" not in name:
                parameter.normal_(0.0, 0.3, generator=generator)
            elif parameter.dim() == 1 and "sink" in name:
                parameter.normal_(0.0, 1.0, generator=generator)
    own = model.generation_config
    own.eos_token_id, own.bos_token_id = 2, 1
    own.pad_token_id = 0 if own.pad_token_id is None else own.pad_token_id
    return model.eval()


def _configuration(kind: str, settings: dict[str, Any]) -> Any:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    whole = CONFIG_MAPPING[kind]
    text = (getattr(whole, "sub_configs", None) or {}).get("text_config")
    chosen = _settings_of(kind, whole if text is None else text) | settings
    chosen = {name: value for name, value in chosen.items() if not (name == "head_dim" and value is None)}
    return whole(**chosen) if text is None else whole(text_config=text(**chosen))


def _settings_of(kind: str, configuration: Any) -> dict[str, Any]:
    known = set(_names(configuration))
    same: dict[str, str] = getattr(configuration, "attribute_map", None) or {}
    chosen = {name: value for name, value in _COMMON.items() if name in known}
    for name, other in same.items():
        if name in chosen and other in chosen and name != other:
            del chosen[name]
    if "bert" in kind or kind in ("camembert", "data2vec-text", "electra", "ernie", "big_bird", "roformer", "xmod"):
        chosen["is_decoder"] = True
    return chosen | _SPECIAL.get(kind, {})


def _names(configuration: Any) -> Iterator[str]:
    for part in configuration.__mro__:
        yield from getattr(part, "__annotations__", {})
    yield from inspect.signature(configuration.__init__).parameters
    yield from getattr(configuration, "attribute_map", None) or {}
