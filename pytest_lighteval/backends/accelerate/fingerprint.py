"""The backend's fingerprint: a digest of everything that may change an answer. Reads files and arguments; loads no model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_lighteval.backends.accelerate.arguments import AccelerateArguments
from pytest_lighteval.backends.common.fingerprints import canonical_settings, digest_content, folder_digests, tokenizer_content
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


def package_versions() -> dict[str, str]:
    """Versions of the packages that compute the answers. Imports none of them."""
    return installed_versions(("torch", "transformers", "tokenizers", "accelerate", "bitsandbytes"))


def fingerprint_folder(folder: Path, tokenizer_folder: Path, arguments: AccelerateArguments) -> str:
    """For a model on disk: weights, configuration, tokenizer, template, arguments and versions. Raises BackendError."""
    return fingerprint_content({"files": folder_digests(folder, tokenizer_folder, arguments.model)}, arguments)


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
    return fingerprint_content(
        {
            "weights": weights.hexdigest(),
            "config": model.config.to_json_string(),
            # which tokens end a text, penalties
            "generation": None if generation is None else generation.to_json_string(),
            **tokenizer_content(tokenizer),
        },
        arguments,
    )


def fingerprint_content(content: Mapping[str, Any], arguments: AccelerateArguments) -> str:
    """The digest of this content, of the arguments that may change an answer, and of the versions."""
    # arguments that are refused now were fields once, and old digests contain them
    settings = canonical_settings(arguments, without=_WITHOUT_EFFECT) | dict.fromkeys(AccelerateArguments.refused)
    return digest_content({"engine": _ENGINE, "arguments": settings, "versions": package_versions(), **content})
