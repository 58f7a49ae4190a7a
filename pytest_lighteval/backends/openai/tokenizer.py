"""The tokenizer that `tokenizer=` names: the model's own, so that prompts can be counted, cut and sent as token ids."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pytest_lighteval.backends.common.fingerprints import small_file_digests
from pytest_lighteval.backends.common.gguf import converted_folder
from pytest_lighteval.backends.common.model_reference import download_snapshot, resolve_reference
from pytest_lighteval.backends.common.user_cache import digest_file
from pytest_lighteval.backends.openai.arguments import OpenAIArguments
from pytest_lighteval.common.versions import require

if TYPE_CHECKING:  # jinja2's exceptions and more, which importing a backend need not cost
    from pytest_lighteval.backends.common.prompt_tokenizer import PromptTokenizer


def digest_tokenizer(name: str | None) -> str | dict[str, str] | None:
    """Digests of the tokenizer's files, or the name of one on the hub. Raises UserInputError for a path that is missing."""
    if name is None:
        return None
    reference = resolve_reference(name, argument="tokenizer")
    if reference.path is None:
        return name
    if reference.kind == "gguf":
        return digest_file(reference.path)
    return small_file_digests(reference.path)


def load_prompt_tokenizer(arguments: OpenAIArguments) -> PromptTokenizer:
    """The tokenizer as backends use it. Needs no torch. Raises UserInputError, BackendError and MissingExtraError."""
    require("transformers", extra="openai")  # before the hub is asked
    name = arguments.tokenizer or ""
    folder = _find(name)
    from pytest_lighteval.backends.common.prompt_tokenizer import PromptTokenizer, load_tokenizer

    return PromptTokenizer(load_tokenizer(folder, f"tokenizer={name}"), name, add_special_tokens=arguments.add_special_tokens)


def _find(name: str) -> Path:
    reference = resolve_reference(name, argument="tokenizer")
    if reference.path is None:
        return download_snapshot(reference.name, "main", None, weights=False)
    if reference.kind == "gguf":
        return converted_folder(reference.path, name)
    return reference.path
