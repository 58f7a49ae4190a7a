"""The folders of the model and the tokenizer on this machine, and the length that the model's configuration declares. Imports no torch."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from pytest_lighteval.backends.common.gguf import converted_folder
from pytest_lighteval.backends.common.model_reference import ModelReference, download_snapshot, resolve_reference, weight_files
from pytest_lighteval.backends.common.prompt_rules import ModelNaming
from pytest_lighteval.errors import BackendError, UserInputError

_LENGTH_KEYS = ("n_positions", "max_position_embeddings", "n_ctx", "max_sequence_length", "max_seq_len", "seq_length")
_DEFAULT_LENGTH = 2048
"""Lighteval's length for a model that declares none."""


class Folders(Protocol):
    """The folders of a model on this machine. Each may be downloaded or converted when it is first read; that raises BackendError."""

    @property
    def model(self) -> Path:
        """The folder with `config.json` and weights."""

    @property
    def tokenizer(self) -> Path:
        """The folder with the tokenizer's files."""

    @property
    def revision(self) -> str | None:
        """The revision of a model on the hub. None: the model is a local folder or file."""


class NamedFolders:
    """The folders that the arguments name. The constructor reads no network; it raises UserInputError for a model that is missing."""

    def __init__(self, arguments: ModelNaming) -> None:
        self._arguments = arguments
        self._model, self._tokenizer = _resolve(arguments)
        self.revision = arguments.revision if self._model.kind == "hub" else None

    @cached_property
    def model(self) -> Path:
        """Downloaded or converted if it never was."""
        return _find_model_folder(self._model, self._arguments)

    @cached_property
    def tokenizer(self) -> Path:
        """The model's own folder unless a tokenizer is named."""
        return _find_tokenizer_folder(self._tokenizer, self.model, self._arguments)


def _resolve(arguments: ModelNaming) -> tuple[ModelReference, ModelReference | None]:
    """The model and the tokenizer (None: the model's own). Reads no network. Raises UserInputError."""
    model = resolve_reference(arguments.model)
    if model.kind == "gguf" and arguments.subfolder is not None:
        raise UserInputError("subfolder: a .gguf file has none")
    tokenizer = resolve_reference(arguments.tokenizer, argument="tokenizer") if arguments.tokenizer else None
    if tokenizer is not None and tokenizer.kind == "gguf":
        raise UserInputError("tokenizer: name a hub id or a folder; a .gguf file's tokenizer comes with `pretrained`")
    return model, tokenizer


def _find_model_folder(model: ModelReference, arguments: ModelNaming) -> Path:
    """The folder with `config.json` and weights, downloaded or converted if it never was. Raises BackendError."""
    if model.path is None:
        folder = download_snapshot(model.name, arguments.revision, arguments.subfolder, code=arguments.trust_remote_code)
    elif model.kind == "gguf":
        folder = converted_folder(model.path, model.name)
    else:
        folder = model.path / arguments.subfolder if arguments.subfolder else model.path
    weight_files(folder, model.name)
    return folder


def _find_tokenizer_folder(tokenizer: ModelReference | None, model_folder: Path, arguments: ModelNaming) -> Path:
    """The folder with the tokenizer's files: the model's own unless one is named. Raises BackendError."""
    if tokenizer is None:
        # a subfolder of weights often has its tokenizer one level up
        if arguments.subfolder and not any(model_folder.glob("tokenizer*")) and any(model_folder.parent.glob("tokenizer*")):
            return model_folder.parent
        return model_folder
    if tokenizer.path is not None:
        return tokenizer.path
    return download_snapshot(tokenizer.name, "main", None, weights=False, code=arguments.trust_remote_code)


def read_max_length(folder: Path, name: str, *, trust_remote_code: bool) -> int:
    """The longest sequence in tokens that `config.json` declares, else Lighteval's 2048. Raises BackendError."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BackendError(f"{name}: cannot read {folder / 'config.json'}: {error}") from error
    found = _declared_length(config) or _declared_length(config.get("text_config") or {})
    return found or _default_length(folder, trust_remote_code=trust_remote_code)


def _declared_length(config: dict[str, Any]) -> int | None:
    lengths = (config.get(key) for key in _LENGTH_KEYS)
    return next((length for length in lengths if isinstance(length, int) and length > 1), None)


def _default_length(folder: Path, *, trust_remote_code: bool) -> int:
    """The default of the architecture, for a file that declares no length. Imports transformers."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, ImportError, KeyError):
        return _DEFAULT_LENGTH  # the error appears when the model is loaded
    return declared_length(config)


def declared_length(config: Any) -> int:
    """The same for a transformers configuration in memory."""
    return _declared_length(config.get_text_config().to_dict()) or _DEFAULT_LENGTH
