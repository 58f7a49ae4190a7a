"""The model arguments of `--backend accelerate`: names, types, defaults, help, and what contradicts what."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from pytest_lighteval.backends.common.dtypes import DTYPES
from pytest_lighteval.backends.common.generation_parameters import GenerationParameters, read_generation_parameters
from pytest_lighteval.errors import UserInputError, did_you_mean

QUANTIZED = ("4bit", "8bit")
LOADING_ARGUMENTS = frozenset(
    (
        *("pretrained", "model_name", "tokenizer", "revision", "subfolder", "trust_remote_code"),
        *("dtype", "quantization_config", "device", "model_parallel", "compile", "attn_implementation"),
        *("adapter_weights", "delta_weights", "base_model"),
    )
)
"""Those that say what to load and how."""
_DEVICE = re.compile(r"(cpu|cuda|mps|xpu|npu)(:\d+)?")


class EngineArguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a transformers model is run, wherever it comes from; a backend's arguments add what names the model."""

    tokenizer: Annotated[str | None, Meta(description="hub id or folder of the tokenizer; default: the model's own")] = None
    dtype: Annotated[
        str | None, Meta(description="auto (as stored), float32, bfloat16, float16, float64, or 4bit / 8bit (bitsandbytes)")
    ] = None
    quantization_config: Annotated[dict[str, Any] | None, Meta(description="arguments of bitsandbytes, e.g. {load_in_4bit: true}")] = None
    device: Annotated[str | None, Meta(description="cpu, cuda, cuda:1, ...; default: the GPU if there is one, else the CPU")] = None
    model_parallel: Annotated[
        bool | None, Meta(description="spread the layers over all visible GPUs; default: if there are several and no `device` is given")
    ] = None
    compile: Annotated[bool, Meta(description="torch.compile the model")] = False
    attn_implementation: Annotated[str | None, Meta(description="eager, sdpa, flash_attention_2, ...; default: transformers' choice")] = (
        None
    )
    batch_size: Annotated[
        int | Literal["auto"], Meta(description="rows at a time, or auto: by a budget of tokens; halved when memory runs out")
    ] = "auto"
    max_length: Annotated[int | None, Meta(description="longest sequence in tokens; default: the model's own limit")] = None
    max_gen_toks: Annotated[int | None, Meta(description="new tokens where the task sets no limit; default: as many as fit")] = None
    generation_parameters: Annotated[
        dict[str, Any], Meta(description="mapping: temperature, top_p, max_new_tokens, seed, ...; see docs/backends.md")
    ] = {}
    add_special_tokens: Annotated[bool, Meta(description="let the tokenizer add its special tokens to plain prompts")] = True
    use_chat_template: Annotated[bool, Meta(description="ask in the model's chat format, as --use-chat-template")] = False
    multichoice_continuations_start_space: Annotated[
        bool | None, Meta(description="true: choices get a leading space; false: they lose it; default: as the task writes them")
    ] = None
    pairwise_tokenization: Annotated[bool, Meta(description="encode context and continuation apart")] = False

    def generation(self) -> GenerationParameters:
        """`generation_parameters`, checked. Raises UserInputError that names the parameter, with the nearest ones if it is unknown."""
        return read_generation_parameters(self.generation_parameters)

    def check_engine(self) -> None:
        """Raise UserInputError for values that contradict one another."""
        _check_loading(self)
        _check_limits(self)
        self.generation()


class AccelerateArguments(EngineArguments, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `--backend accelerate`. Making one raises UserInputError for values that contradict one another."""

    pretrained: Annotated[
        str | None,
        Meta(description="the model: hub id, local folder, .gguf file, or package:NAME for a .gguf file in an installed package"),
    ] = None
    model_name: Annotated[str | None, Meta(description="another name of `pretrained`")] = None
    revision: Annotated[str, Meta(description="branch, tag or commit of a hub id")] = "main"
    subfolder: Annotated[str | None, Meta(description="folder inside the repository or folder")] = None
    trust_remote_code: Annotated[bool, Meta(description="let the model's repository run its own Python code")] = False
    adapter_weights: Annotated[Any, Meta(description="refused: merge the adapter into its base model first")] = None
    delta_weights: Annotated[Any, Meta(description="refused: apply the delta to its base model first")] = None
    base_model: Annotated[Any, Meta(description="refused: belongs to adapter_weights and delta_weights")] = None

    def __post_init__(self) -> None:
        _check_model(self)
        self.check_engine()

    @property
    def model(self) -> str:
        """What `pretrained` or `model_name` says."""
        return self.pretrained or self.model_name or ""


_REFUSED = {
    "adapter_weights": "adapters are not loaded: merge it into its base model (peft: merge_and_unload, save_pretrained), name that folder",
    "delta_weights": "delta weights are not loaded: apply them to the base model, and name the resulting folder",
    "base_model": "it belongs to adapter_weights and delta_weights, which are not loaded; name the whole model as `pretrained`",
}


def _check_model(arguments: AccelerateArguments) -> None:
    if arguments.pretrained and arguments.model_name:
        raise UserInputError("pretrained and model_name are two names of one argument: give one")
    if not arguments.model:
        raise UserInputError("pretrained is missing: name a hub id, a folder, a .gguf file, or package:NAME")
    for name, reason in _REFUSED.items():
        if getattr(arguments, name) not in (None, False, "false"):
            raise UserInputError(f"{name}: {reason}")


def _check_loading(arguments: EngineArguments) -> None:
    known = ("auto", *DTYPES, *QUANTIZED)
    if arguments.dtype is not None and arguments.dtype not in known:
        raise UserInputError(f"dtype: {arguments.dtype!r} is none of {', '.join(known)}{did_you_mean(arguments.dtype, known)}")
    if arguments.dtype in QUANTIZED and arguments.quantization_config:
        raise UserInputError(f"dtype={arguments.dtype} and quantization_config both quantize: give one")
    if arguments.device is not None and not _DEVICE.fullmatch(arguments.device):
        raise UserInputError(f"device: {arguments.device!r} is none of cpu, cuda, cuda:N, mps, xpu, npu")
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
        raise UserInputError("max_gen_toks and generation_parameters.max_new_tokens say the same thing: give one")
