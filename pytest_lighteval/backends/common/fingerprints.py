"""The parts of fingerprints: digests of files and tokenizers, and settings in one spelling. Each backend chooses its parts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec

from pytest_lighteval.backends.common.dtypes import DTYPES
from pytest_lighteval.backends.common.generation_parameters import GenerationParameters
from pytest_lighteval.backends.common.model_reference import weight_files
from pytest_lighteval.backends.common.user_cache import digest_file
from pytest_lighteval.errors import BackendError

_SMALL_SUFFIXES = {".json", ".txt", ".model", ".jinja", ".tiktoken", ".py"}


class _Arguments(Protocol):
    @property
    def generation_parameters(self) -> dict[str, Any]: ...

    def generation(self) -> msgspec.Struct: ...


class ModelArguments(_Arguments, Protocol):
    """Arguments of a backend that loads a model's files."""

    @property
    def model(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FingerprintRules:
    """What a backend's fingerprints are made of, besides the model."""

    engine: int
    """Raised whenever the backend may answer the same request differently."""
    versions: Callable[[], Mapping[str, str]]
    """The versions of the packages that compute the answers."""
    without: Collection[str]
    """Arguments that change no answer, or name content that is digested itself."""
    once: Collection[str] = ()
    """Arguments that are refused now and were fields once: old digests contain them."""

    def of_folder(self, folder: Path, tokenizer_folder: Path, arguments: ModelArguments) -> str:
        """For a model on disk: weights, configuration, tokenizer, template, arguments and versions. Raises BackendError."""
        return self.of_content({"files": folder_digests(folder, tokenizer_folder, arguments.model)}, arguments)

    def of_content(self, content: Mapping[str, Any], arguments: ModelArguments) -> str:
        """The digest of this content, of the arguments that may change an answer, and of the versions."""
        settings = canonical_settings(arguments, without=self.without) | dict.fromkeys(self.once)
        return digest_content({"engine": self.engine, "arguments": settings, "versions": dict(self.versions()), **content})


def canonical_settings(arguments: _Arguments, *, without: Collection[str]) -> dict[str, Any]:
    """A backend's arguments as plain values in one spelling (`fp32` is `float32`, and "5" is 5), except those in `without`."""
    settings = {name: value for name, value in msgspec.to_builtins(arguments).items() if name not in without}
    if settings.get("tokenization") is None:  # digests of the time before this argument stay as they are
        settings.pop("tokenization", None)
    parameters = arguments.generation()
    settings["generation_parameters"] = msgspec.to_builtins(parameters)
    if isinstance(parameters, GenerationParameters):
        # once fields too, so that digests have them
        settings["generation_parameters"] |= {name: arguments.generation_parameters.get(name) for name in GenerationParameters.refused}
    if getattr(parameters, "max_new_tokens", None) is not None:
        # once it was the limit only where a task has none, and answers of that time are others
        settings["generation_parameters"]["max_new_tokens_of"] = "every text"
    if "dtype" in settings:
        dtype = settings["dtype"]
        settings["dtype"] = "auto" if dtype is None else DTYPES.get(dtype, dtype)
    return settings


def digest_content(content: Mapping[str, Any]) -> str:
    """The SHA-256, in hex, of plain values by name."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def folder_digests(folder: Path, tokenizer_folder: Path, name: str) -> dict[str, str]:
    """Digests of a model's files by name: weights, configuration, tokenizer, template. `name` is for the BackendError that it may raise."""
    try:
        files = {file.name: digest_file(file) for file in weight_files(folder, name)} | small_file_digests(folder)
        if tokenizer_folder != folder:
            files |= {f"tokenizer/{file}": digest for file, digest in small_file_digests(tokenizer_folder).items()}
    except OSError as error:
        raise BackendError(f"{name}: cannot read {error.filename}: {error.strerror}") from error
    return files


def small_file_digests(folder: Path) -> dict[str, str]:
    """Digests of a folder's files by name, without weights. Raises OSError."""
    return {file.name: digest_file(file) for file in sorted(folder.iterdir()) if file.suffix in _SMALL_SUFFIXES and file.is_file()}


def tokenizer_content(tokenizer: Any) -> dict[str, Any]:
    """A tokenizer in memory as plain values."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return {
        "tokenizer": backend.to_str() if backend is not None else sorted(tokenizer.get_vocab().items()),
        "special": tokenizer.special_tokens_map,
        "template": tokenizer.chat_template,
    }
