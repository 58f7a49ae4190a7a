"""Experimental: checks what `engine=nanotron` needs, the processes of `torchrun` and an installed nanotron, before anything loads."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Mapping

from pytest_lighteval.backends.nanotron.checkpoint import Parallelism
from pytest_lighteval.errors import BackendError, UserInputError, first_line

_WAY_OUT = (
    "install it from its source (https://github.com/huggingface/nanotron, with flash-attn; the package on PyPI cannot be imported), "
    "or leave engine=nanotron out: the checkpoint loads without nanotron"
)


def check_processes(parallelism: Parallelism | None, config: str, environment: Mapping[str, str] = os.environ) -> Parallelism:
    """The parallelism, if torchrun has started as many processes. `config` is the file for messages. Raises UserInputError."""
    if parallelism is None:
        raise UserInputError(f"{config}: parallelism: missing, and engine=nanotron needs its dp, tp and pp")
    needed = parallelism.processes
    sizes = f"dp {parallelism.data} x tp {parallelism.tensor} x pp {parallelism.pipeline} = {needed}"
    launch = f"torchrun --standalone --nproc-per-node={needed} -m pytest ..."
    started = environment.get("WORLD_SIZE")
    if started is None:
        raise UserInputError(f"engine=nanotron runs under torchrun, as {sizes} processes ({parallelism.where}): {launch}")
    if started != str(needed):
        raise UserInputError(f"engine=nanotron: torchrun started {started} processes, and {parallelism.where} asks for {sizes}: {launch}")
    if parallelism.pipeline > 1:
        raise UserInputError(
            f"{parallelism.where}: parallelism.pp: engine=nanotron answers with 1 alone, not {parallelism.pipeline} (weights are split "
            "anew as they load): give a lighteval_config_path whose parallelism has pp: 1"
        )
    return parallelism


def check_nanotron() -> None:
    """Raise BackendError, with the solution, unless nanotron's models can be imported. An installed nanotron may still not import."""
    if importlib.util.find_spec("nanotron") is None:
        raise BackendError(f"engine=nanotron: nanotron is not installed: {_WAY_OUT}")
    try:
        importlib.import_module("nanotron.models")
    except Exception as error:
        # a circular import, no flash-attn, no triton, another numpy, ...
        raise BackendError(
            f"engine=nanotron: nanotron cannot be imported ({type(error).__name__}: {first_line(error)}): {_WAY_OUT}"
        ) from error
