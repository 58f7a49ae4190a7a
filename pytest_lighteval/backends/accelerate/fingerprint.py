"""The backend's fingerprint: a digest of everything that may change an answer. Reads files and arguments; loads no model."""

from __future__ import annotations

import hashlib
from typing import Any

from pytest_lighteval.backends.accelerate.arguments import AccelerateArguments
from pytest_lighteval.backends.common.fingerprints import FingerprintRules, tokenizer_content
from pytest_lighteval.common.versions import installed_versions
from pytest_lighteval.errors import BackendError

_ENGINE = 1
"""Raised whenever this backend may answer the same request differently."""
_WITHOUT_EFFECT = {
    # names of content that is digested itself, and how many rows run together
    *("pretrained", "model_name", "tokenizer", "revision", "subfolder", "batch_size"),
    # changes the prompt, not the answer to a prompt
    "use_chat_template",
}


def _versions() -> dict[str, str]:
    # imports none of them
    return installed_versions(("torch", "transformers", "tokenizers", "accelerate", "bitsandbytes"))


RULES = FingerprintRules(engine=_ENGINE, versions=_versions, without=_WITHOUT_EFFECT, once=tuple(AccelerateArguments.refused))


def fingerprint_loaded(model: Any, tokenizer: Any, arguments: AccelerateArguments) -> str:
    """For a model in memory: the bytes of its parameters and buffers as they are now, its settings, its tokenizer.

    Raises BackendError for weights that are not in memory.
    """
    import torch

    weights = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if tensor.is_meta:
            raise BackendError(
                f"{arguments.model}: its weights are not all in memory, so nothing can tell whether they change ({name} is offloaded): "
                "give its folder as pretrained=..., with model_parallel=true"
            )
        weights.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        weights.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    generation = getattr(model, "generation_config", None)
    return RULES.of_content(
        {
            "weights": weights.hexdigest(),
            "config": model.config.to_json_string(),
            # which tokens end a text, penalties
            "generation": None if generation is None else generation.to_json_string(),
            **tokenizer_content(tokenizer),
        },
        arguments,
    )
