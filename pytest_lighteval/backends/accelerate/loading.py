"""Load a model folder with transformers; every failure becomes one clear line. Knows neither scoring nor generation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import transformers
from safetensors import SafetensorError

from pytest_lighteval.backends.accelerate.arguments import QUANTIZED, AccelerateArguments
from pytest_lighteval.backends.accelerate.devices import choose_device
from pytest_lighteval.backends.accelerate.memory import is_out_of_memory
from pytest_lighteval.backends.common.dtypes import DTYPES, plain_dtype
from pytest_lighteval.backends.common.third_party import quiet_transformers
from pytest_lighteval.common.threads import choose_threads, usable_cores
from pytest_lighteval.common.versions import require
from pytest_lighteval.errors import BackendError, first_line


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model in memory, ready to run."""

    model: Any
    """A transformers causal model in eval mode."""
    device: torch.device
    """Where its inputs go."""
    dtype: str
    """The dtype that it computes in, e.g. `float32`."""

    @property
    def is_exact(self) -> bool:
        """Whether it computes in fp32 or better. Quantized weights are multiplied in half precision, whatever dtype the others have."""
        return self.dtype in ("float32", "float64") and not getattr(self.model, "is_quantized", False)


def load_model(folder: Path, arguments: AccelerateArguments) -> LoadedModel:
    """The model in the folder, on its device and in its dtype. It computes with one thread for each core, or as the environment says.

    Raises BackendError and MissingExtraError.
    """
    torch.set_num_threads(choose_threads(None, cores=usable_cores()))
    device = choose_device(None if arguments.device is None else str(arguments.device))
    settings: dict[str, Any] = {"trust_remote_code": arguments.trust_remote_code, "dtype": "auto"}
    if arguments.dtype in DTYPES:
        settings["dtype"] = getattr(torch, DTYPES[arguments.dtype])
    if arguments.attn_implementation is not None:
        settings["attn_implementation"] = arguments.attn_implementation
    if arguments.dtype in QUANTIZED or arguments.quantization_config:
        settings["quantization_config"] = _quantization(arguments)
    spread = arguments.model_parallel
    if spread is None:
        spread = arguments.device is None and torch.cuda.device_count() > 1
    if spread:
        settings["device_map"] = "auto"
    elif "quantization_config" in settings:
        # bitsandbytes quantizes while it loads; the model cannot be moved afterwards
        settings["device_map"] = {"": device}
    if "device_map" in settings:
        require("accelerate", extra="accelerate")
    with quiet_transformers(), _as_backend_error(f"{arguments.model}: cannot load it"):
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=arguments.trust_remote_code)
        if config.is_encoder_decoder:
            # transformers would load some of these as decoders without their encoder, and their scores would mean nothing
            raise BackendError(
                f"{arguments.model}: {config.model_type} is an encoder-decoder model, and this backend runs causal (decoder-only) models"
            )
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, **settings)
        if "device_map" not in settings:
            model = model.to(device)
    model.eval()
    dtype = str(model.dtype).removeprefix("torch.")
    if arguments.compile:
        # in place, so that both scoring and generation use it
        model.compile()
    return LoadedModel(model=model, device=model.device if "device_map" in settings else device, dtype=dtype)


def adopt_model(model: Any) -> LoadedModel:
    """The user's own model, as it is."""
    return LoadedModel(model=model, device=model.device, dtype=str(model.dtype).removeprefix("torch."))


def _quantization(arguments: AccelerateArguments) -> Any:
    asked = arguments.quantization_config or {f"load_in_{arguments.dtype}": True, "bnb_4bit_compute_dtype": "float16"}
    # bitsandbytes looks torch's dtypes up by their bare names, and takes no whole number for a threshold
    asked = {name: plain_dtype(value) if isinstance(value, str) else value for name, value in asked.items()}
    asked = {name: float(value) if name.endswith("_threshold") and type(value) is int else value for name, value in asked.items()}
    with _as_backend_error("quantization_config"):
        return transformers.BitsAndBytesConfig(**asked)


@contextlib.contextmanager
def _as_backend_error(what: str) -> Iterator[None]:
    """Turn what transformers raises for bad files and settings into one BackendError."""
    try:
        yield
    except (OSError, ValueError, ImportError, KeyError, TypeError, AttributeError, SafetensorError, UnpicklingError) as error:
        raise BackendError(f"{what}: {first_line(error)}") from error
    except (RuntimeError, MemoryError) as error:
        reason = "memory ran out" if is_out_of_memory(error) else first_line(error)
        raise BackendError(f"{what}: {reason}") from error
