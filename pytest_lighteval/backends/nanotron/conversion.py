"""A nanotron checkpoint as a transformers model folder, converted once into the user's cache. The weights stay bit for bit the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_lighteval.backends.common.third_party import quiet_transformers
from pytest_lighteval.backends.common.user_cache import cache_home, digest_file, made_once
from pytest_lighteval.backends.nanotron.architecture import Architecture
from pytest_lighteval.backends.nanotron.checkpoint import Checkpoint
from pytest_lighteval.backends.nanotron.shards import find_parameters, merge_parameter
from pytest_lighteval.common.progress_log import PROGRESS
from pytest_lighteval.common.versions import require
from pytest_lighteval.errors import BackendError, first_line

if TYPE_CHECKING:  # annotations only: a digest is made without it
    import torch

CONVERTER = 1
"""Increased whenever the converted folder of the same checkpoint may become different."""
_HEAD, _EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


def digest_checkpoint(checkpoint: Checkpoint, architecture: Architecture) -> str:
    """A digest, in hex, of the weights and the architecture. Reads every shard once; needs no torch. Raises BackendError."""
    try:
        shards = {f"{name}/{file.name}": digest_file(file) for name, files in find_parameters(checkpoint.weights).items() for file in files}
    except OSError as error:
        raise BackendError(f"{checkpoint.config}: cannot read {error.filename}: {error.strerror}") from error
    model = [architecture.model_type, dict(architecture.settings), architecture.interleaved]
    return hashlib.sha256(json.dumps([shards, model], sort_keys=True).encode()).hexdigest()


def converted_folder(checkpoint: Checkpoint, architecture: Architecture) -> Path:
    """The folder with `config.json` and safetensors, without a tokenizer.

    It is in the user's cache under the digest of the checkpoint's content. Raises BackendError, one line that names the wrong file.
    """
    try:
        folder = cache_home() / "nanotron" / f"{digest_checkpoint(checkpoint, architecture)[:32]}-v{CONVERTER}"
        return made_once(folder, lambda temporary: _convert(checkpoint, architecture, temporary))
    except OSError as error:
        raise BackendError(f"{checkpoint.config}: cannot convert it into {cache_home()}: {error.strerror or error}") from error


def _convert(checkpoint: Checkpoint, architecture: Architecture, folder: Path) -> None:
    require("torch", "transformers", "safetensors", extra="nanotron")
    import torch
    from huggingface_hub import save_torch_state_dict
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForCausalLM

    PROGRESS.info("%s: converting the checkpoint, once", checkpoint.config)
    weights: dict[str, torch.Tensor] = {}
    for name, files in find_parameters(checkpoint.weights).items():
        weights.update(architecture.weights(name, merge_parameter(name, files)))
    with quiet_transformers():
        try:
            config = AutoConfig.for_model(architecture.model_type, **architecture.settings)
            with torch.device("meta"):
                model = AutoModelForCausalLM.from_config(config)
        except (ValueError, TypeError, LookupError, RuntimeError, AttributeError) as error:
            raise BackendError(
                f"{checkpoint.config}: transformers makes no {architecture.model_type} of it: {first_line(error)}"
            ) from error
        expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if architecture.tied:
        _drop_tied_head(weights, expected, checkpoint)
    _check_complete(weights, expected, checkpoint)
    config.dtype = weights[_EMBEDDING].dtype
    config.architectures = [type(model).__name__]
    try:
        save_torch_state_dict(weights, folder)
    except SafetensorError as error:  # it has no OSError, not even for a full disk
        raise BackendError(f"{checkpoint.config}: cannot convert it into {cache_home()}: {first_line(error)}") from error
    # last, because `made_once` takes a folder with it for complete
    config.save_pretrained(folder)


def _drop_tied_head(weights: dict[str, torch.Tensor], expected: dict[str, tuple[int, ...]], checkpoint: Checkpoint) -> None:
    """Remove a tied head: it is saved once, as the embedding."""
    expected.pop(_HEAD, None)
    head = weights.pop(_HEAD, None)
    if head is not None and not head.equal(weights.get(_EMBEDDING, head[:0])):
        raise BackendError(f"{checkpoint.weights}: it has a separate head, but the config says that the embedding is the head")


def _check_complete(weights: Mapping[str, torch.Tensor], expected: Mapping[str, tuple[int, ...]], checkpoint: Checkpoint) -> None:
    """Raise BackendError unless these are the weights of the model that the config describes."""
    if missing := [name for name in expected if name not in weights]:
        raise BackendError(
            f"{checkpoint.weights}: no shards for {len(missing)} of {len(expected)} weights, such as {missing[0]} (in transformers' "
            "terms): a pipeline-parallel rank's files are missing, or the config is of another model"
        )
    if extra := [name for name in weights if name not in expected]:
        raise BackendError(f"{checkpoint.weights}: its weights {extra[0]} (in transformers' terms) belong to no model of this config")
    for name, shape in expected.items():
        if tuple(weights[name].shape) != shape:
            raise BackendError(
                f"{checkpoint.weights}: {name} (in transformers' terms) is {tuple(weights[name].shape)}, and the config makes it {shape}"
            )
