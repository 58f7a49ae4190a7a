"""Tokens of texts by a model's tokenizer alone: neither torch nor transformers is needed."""

from __future__ import annotations

import importlib.util
from functools import cached_property
from pathlib import Path
from typing import Any

from pytest_lighteval.backends.common.model_folder import read_max_length
from pytest_lighteval.backends.common.model_reference import download_snapshot, resolve_reference
from pytest_lighteval.errors import BackendError, MissingExtraError, UserInputError, first_line
from pytest_lighteval.types import Prompt

_FILE = "tokenizer.json"


class TokenCounts:
    """The tokenizer of a folder or of a repository on the hub, and the length that its `config.json` declares.

    Nothing is read before the first use. Raises UserInputError for a name that is neither; every member raises BackendError or
    MissingExtraError if the files cannot be had or read.
    """

    is_known = True

    def __init__(self, name: str, *, option: str) -> None:
        """`option` is what messages call the name."""
        self._reference = resolve_reference(name, argument=option)
        self._name = name
        if self._reference.kind == "gguf":
            raise UserInputError(f"{option}: {name}: name a folder with {_FILE}, or a hub id")
        if self._reference.path is not None and not (self._reference.path / _FILE).is_file():
            raise UserInputError(f"{option}: {name}: the folder has no {_FILE}")

    @cached_property
    def max_length(self) -> int | None:
        """Longest sequence in tokens. None: the folder has no `config.json`."""
        if not (self._folder / "config.json").is_file():
            return None
        return read_max_length(self._folder, self._name, trust_remote_code=False)

    def count_tokens(self, prompt: Prompt) -> int:
        """Tokens of a text with the special ones that the tokenizer adds; of turns, their contents alone."""
        if not isinstance(prompt, str):
            return sum(self.count_tokens(turn.content) for turn in prompt)
        return len(self._tokenizer.encode(prompt).ids)

    def head(self, text: str, count: int) -> str:
        """The text of the first `count` tokens, without special ones."""
        if len(text.encode("utf-8", "surrogatepass")) <= count:  # a token is at least a byte
            return text
        offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets
        return text if len(offsets) <= count else text[: offsets[count - 1][1]]

    @cached_property
    def _folder(self) -> Path:
        path = self._reference.path
        return download_snapshot(self._reference.name, "main", None, weights=False) if path is None else path

    @cached_property
    def _tokenizer(self) -> Any:
        if importlib.util.find_spec("tokenizers") is None:
            raise MissingExtraError("tokenizers", "accelerate")
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_file(str(self._folder / _FILE))
        except Exception as error:  # the library raises plain Exception
            raise BackendError(f"{self._name}: cannot read {_FILE}: {first_line(error)}") from error
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer
