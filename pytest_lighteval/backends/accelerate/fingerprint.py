"""A digest of everything that may change an answer, from files and arguments alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec

from pytest_lighteval.backends.accelerate.arguments import AccelerateArguments
from pytest_lighteval.backends.references import weight_files
from pytest_lighteval.backends.user_cache import digest_file
from pytest_lighteval.errors import BackendError

__all__ = ["fingerprint_content", "fingerprint_folder", "fingerprint_loaded", "package_versions", "tokenizer_digests"]

_ENGINE = 1
"""Raised whenever this backend may answer the same request differently."""
_WITHOUT_EFFECT = {
    # names of the same content, and how many rows run together
    *("pretrained", "model_name", "tokenizer", "revision", "subfolder", "batch_size"),
    # what the plugin asks with, not what the model answers with
    "use_chat_template",
}
_SMALL_SUFFIXES = {".json", ".txt", ".model", ".jinja", ".tiktoken", ".py"}


def package_versions() -> dict[str, str]:
    """Versions of the packages that compute, without importing them."""
    versions = {}
    for package in ("torch", "transformers", "tokenizers", "accelerate", "bitsandbytes"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def fingerprint_folder(folder: Path, tokenizer_folder: Path, arguments: AccelerateArguments) -> str:
    """For a model on disk: weights, configuration, tokenizer, template, arguments and versions. Raises BackendError."""
    try:
        files = {file.name: digest_file(file) for file in (*weight_files(folder, arguments.model), *_small_files(folder))}
        if tokenizer_folder != folder:
            files |= {f"tokenizer/{name}": digest for name, digest in tokenizer_digests(tokenizer_folder).items()}
    except OSError as error:
        raise BackendError(f"{arguments.model}: cannot read {error.filename}: {error.strerror}") from error
    return fingerprint_content({"files": files}, arguments)


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
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return fingerprint_content(
        {
            "weights": weights.hexdigest(),
            "config": model.config.to_json_string(),
            # which tokens end a text, penalties
            "generation": None if generation is None else generation.to_json_string(),
            "tokenizer": backend.to_str() if backend is not None else sorted(tokenizer.get_vocab().items()),
            "special": tokenizer.special_tokens_map,
            "template": tokenizer.chat_template,
        },
        arguments,
    )


def tokenizer_digests(folder: Path) -> dict[str, str]:
    """Digests of a folder's small files, by name. Raises OSError."""
    return {file.name: digest_file(file) for file in _small_files(folder)}


def _small_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix in _SMALL_SUFFIXES and file.is_file())


def fingerprint_content(content: Mapping[str, Any], arguments: AccelerateArguments) -> str:
    """For a model whose content somebody else has digested: together with the arguments that may change an answer and the versions."""
    settings = {name: value for name, value in msgspec.to_builtins(arguments).items() if name not in _WITHOUT_EFFECT}
    whole = {"engine": _ENGINE, "arguments": settings, "versions": package_versions(), **content}
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()
