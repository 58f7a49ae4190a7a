"""The model arguments of `--backend accelerate`: names, types, defaults, help, and what contradicts what."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta
from msgspec.structs import force_setattr

from pytest_lighteval.backends.common.dtypes import DTYPES, plain_dtype
from pytest_lighteval.backends.common.prompt_rules import (
    MaxLength,
    ModelName,
    Pretrained,
    Revision,
    Subfolder,
    TokenizerName,
    TokenRules,
    TrustRemoteCode,
    check_naming,
)
from pytest_lighteval.errors import UserInputError, did_you_mean

QUANTIZED = ("4bit", "8bit")
LOADING_ARGUMENTS = frozenset(
    (
        *("pretrained", "model_name", "tokenizer", "revision", "subfolder", "trust_remote_code"),
        *("dtype", "quantization_config", "device", "model_parallel", "compile", "attn_implementation"),
        *("adapter_weights", "delta_weights", "base_model"),
    )
)
"""Arguments for loading a model. For a model in memory they mean nothing."""
_DEVICE = re.compile(r"(cpu|cuda|mps|xpu|npu)(:\d+)?")


class EngineArguments(TokenRules, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a transformers model runs. A backend's arguments add what names the model."""

    tokenizer: TokenizerName = None
    dtype: Annotated[
        str | None, Meta(description="auto (as stored), float32, bfloat16, float16, float64, or 4bit / 8bit (bitsandbytes)")
    ] = None
    quantization_config: Annotated[dict[str, Any] | None, Meta(description="arguments of bitsandbytes, e.g. {load_in_4bit:true}")] = None
    device: Annotated[
        str | int | None, Meta(description="cpu, cuda, cuda:1, 1 (the same), ...; default: the GPU if there is one, else the CPU")
    ] = None
    model_parallel: Annotated[
        bool | None, Meta(description="spread the layers over all visible GPUs; default: if there are several and no `device` is given")
    ] = None
    compile: Annotated[bool, Meta(description="torch.compile the model")] = False
    attn_implementation: Annotated[str | None, Meta(description="eager, sdpa, flash_attention_2, ...; default: transformers' choice")] = (
        None
    )
    batch_size: Annotated[
        int | Literal["auto"], Meta(description="rows at a time, or auto: by a budget of tokens; it is halved when memory runs out")
    ] = "auto"
    max_length: MaxLength = None
    max_gen_toks: Annotated[int | None, Meta(description="new tokens where the task sets no limit; default: as many as fit")] = None

    other_names: ClassVar[Mapping[str, str]] = {"generation_size": "max_gen_toks"}

    @property
    def gpus(self) -> int | None:
        """See `protocol.gpus_of_engine`."""
        if self.device is not None and not str(self.device).startswith("cuda"):
            return 0
        return None if self.model_parallel else 1

    def check_engine(self) -> None:
        """Spell `dtype` and `device` in one way. Raise UserInputError for values that contradict one another."""
        if self.dtype is not None:
            force_setattr(self, "dtype", plain_dtype(self.dtype))
        if isinstance(self.device, int) or (self.device is not None and self.device.isdecimal()):
            force_setattr(self, "device", f"cuda:{int(self.device)}")
        _check_loading(self)
        _check_limits(self)
        self.generation()


class AccelerateArguments(EngineArguments, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `--backend accelerate`. Making one raises UserInputError for values that contradict one another."""

    pretrained: Pretrained = None
    model_name: ModelName = None
    revision: Revision = "main"
    subfolder: Subfolder = None
    trust_remote_code: TrustRemoteCode = False

    refused: ClassVar[Mapping[str, str]] = {
        "adapter_weights": (
            "adapters are not loaded: merge it into its base model (peft: merge_and_unload, save_pretrained), name that folder"
        ),
        "delta_weights": "delta weights are not loaded: apply them to the base model, and name the resulting folder",
        "base_model": "it belongs to adapter_weights and delta_weights, which are not loaded; name the whole model as `pretrained`",
    }

    def __post_init__(self) -> None:
        check_naming(self.pretrained, self.model_name)
        self.check_engine()

    @property
    def model(self) -> str:
        """What `pretrained` or `model_name` says."""
        return self.pretrained or self.model_name or ""


def _check_loading(arguments: EngineArguments) -> None:
    known = ("auto", *DTYPES, *QUANTIZED)
    if arguments.dtype is not None and arguments.dtype not in known:
        raise UserInputError(f"dtype: {arguments.dtype!r} is none of {', '.join(known)}{did_you_mean(arguments.dtype, known)}")
    if arguments.dtype in QUANTIZED and arguments.quantization_config:
        raise UserInputError(f"dtype={arguments.dtype} and quantization_config both quantize: give one")
    if arguments.device is not None and not _DEVICE.fullmatch(str(arguments.device)):
        raise UserInputError(f"device: {arguments.device!r} is none of cpu, cuda, cuda:N, N (a GPU's number), mps, xpu, npu")
    if arguments.model_parallel and arguments.device is not None:
        raise UserInputError("model_parallel=true spreads the model over all devices: leave device out")


def _check_limits(arguments: EngineArguments) -> None:
    if isinstance(arguments.batch_size, int) and arguments.batch_size < 1:
        raise UserInputError(f"batch_size: {arguments.batch_size} is not a number of rows; give 1 or more, or auto")
    if arguments.max_length is not None and arguments.max_length < 2:
        raise UserInputError(f"max_length: {arguments.max_length} tokens hold no prompt; give 2 or more")
    if arguments.max_gen_toks is not None and arguments.max_gen_toks < 1:
        raise UserInputError(f"max_gen_toks: {arguments.max_gen_toks} tokens are no text; give 1 or more")
    if arguments.max_gen_toks is not None and arguments.generation_parameters.get("max_new_tokens") is not None:
        raise UserInputError("max_gen_toks says nothing beside generation_parameters.max_new_tokens, the limit of every text: give one")
