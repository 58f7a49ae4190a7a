"""A `.gguf` file as a folder of safetensors with the right tokenizer, converted once into the user's cache.

transformers dequantizes the weights to float32. Its rule for splitting text into words is checked, and corrected if it is not the file's.
"""

from __future__ import annotations

import json
import os
import re
import struct
from pathlib import Path
from typing import Any

from pytest_lighteval.backends.common.third_party import quiet_transformers
from pytest_lighteval.backends.common.user_cache import cache_home, digest_file, made_once
from pytest_lighteval.common.progress_log import PROGRESS
from pytest_lighteval.common.versions import require
from pytest_lighteval.errors import BackendError, first_line

NO_TOKENIZER = "no_tokenizer.txt"
"""In a converted folder: why it has no tokenizer, in one line. The weights can be used with another tokenizer."""

CONVERTER = 1
"""Increased whenever the converted folder of the same file may become different."""

_SPLIT_DIGITS_FIRST = {"starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b"}
"""Values of `tokenizer.ggml.pre` that split single digits first, then split like GPT-2 (llama.cpp, src/llama-vocab.cpp)."""
_SPLIT_LIKE_GPT2 = {"gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling"}
"""Those that only split like GPT-2 (same file)."""
_UNREADABLE = (ValueError, LookupError, RuntimeError, TypeError, AttributeError, struct.error, EOFError, OverflowError)
"""What transformers raises for a damaged or unknown file."""
_MULTI_PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$")


def converted_folder(file: Path, name: str) -> Path:
    """The model folder made of a `.gguf` file: `config.json`, float32 safetensors, tokenizer.

    It is in the user's cache under the digest of the file's content, so only the first process pays for the conversion (about 20 seconds
    for 135M parameters); see `made_once`. `name` is what the user calls the file. Raises BackendError in one line.
    """
    if _MULTI_PART.search(file.name):
        raise BackendError(f"{name}: one part of a split file; merge the parts first: llama-gguf-split --merge FIRST_PART OUT.gguf")
    try:
        folder = cache_home() / "gguf" / f"{digest_file(file)[:32]}-v{CONVERTER}"
        return made_once(folder, lambda temporary: _convert(file, temporary, name))
    except OSError as error:
        raise BackendError(f"{name}: cannot convert it into {cache_home()}: {error.strerror or error}") from error


def _convert(file: Path, folder: Path, name: str) -> None:
    require("torch", "transformers", "accelerate", "gguf", extra="accelerate")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    PROGRESS.info("%s: converting the .gguf file, once", name)
    with quiet_transformers():
        try:
            tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
            tokenizer.save_pretrained(folder)
            problem = _mend_tokenizer(folder, file)
        except _UNREADABLE as error:
            problem = f"transformers cannot read the tokenizer of this .gguf file: {first_line(error)}"
        if problem:
            for entry in folder.iterdir():
                entry.unlink()
            (folder / NO_TOKENIZER).write_text(problem, encoding="utf-8")
        try:
            model = AutoModelForCausalLM.from_pretrained(
                file.parent,
                gguf_file=file.name,
                quantization_config=GgufConfig(gguf_file=file.name, dequantize=True),
                dtype=torch.float32,
            )
        except _UNREADABLE as error:
            raise BackendError(f"{name}: transformers cannot load this .gguf file: {first_line(error)}") from error
        model.save_pretrained(folder)


def _mend_tokenizer(folder: Path, file: Path) -> str | None:
    """Make `tokenizer.json` split text by the file's rule. Returns why the rule is unknown, or None."""
    path = folder / "tokenizer.json"
    tokenizer: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    default = tokenizer.get("pre_tokenizer") or {}
    # transformers turns a rule that it knows into a Sequence; a bare ByteLevel with its own regex is its default, right for GPT-2 alone
    if tokenizer["model"]["type"] == "BPE" and default.get("type") == "ByteLevel" and default.get("use_regex"):
        kind = _read_pre(file)
        if kind in _SPLIT_DIGITS_FIRST:
            digits = {"type": "Digits", "individual_digits": True}
            tokenizer["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [digits, default]}
            path.write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
        elif kind not in _SPLIT_LIKE_GPT2:
            return f"how this .gguf file's tokenizer splits text (tokenizer.ggml.pre is {kind!r}) is not known here"
    settings_path = folder / "tokenizer_config.json"
    settings: dict[str, Any] = json.loads(settings_path.read_text(encoding="utf-8"))
    # some versions would pass token_type_ids to models that have no such input
    settings["model_input_names"] = ["input_ids", "attention_mask"]
    settings_path.write_text(json.dumps(settings, indent=1, ensure_ascii=False), encoding="utf-8")
    return None


def _read_pre(file: Path) -> str:
    """The file's `tokenizer.ggml.pre`. Empty: it has none."""
    from gguf import GGUFReader

    field = GGUFReader(os.fspath(file)).get_field("tokenizer.ggml.pre")
    return "" if field is None else str(field.contents())
