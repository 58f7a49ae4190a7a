"""The model arguments of `--backend vllm`: names, types, defaults, help, and what contradicts what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta
from msgspec.structs import force_setattr, replace

from pytest_lighteval.backends.common.dtypes import DTYPES, plain_dtype
from pytest_lighteval.backends.common.generation_parameters import GenerationParameters, read_parameters
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

_DTYPES = {"auto": "auto", **{name: dtype for name, dtype in DTYPES.items() if dtype != "float64"}}
"""Names that `dtype` takes -> vLLM's own."""
_AT_LEAST = {
    "tensor_parallel_size": 1,
    "data_parallel_size": 1,
    "pipeline_parallel_size": 1,
    "max_model_length": 2,
    "batch_size": 1,
    "max_num_batched_tokens": 1,
}
_LEAST_TEMPERATURE = 0.01
"""vLLM replaces lower temperatures by this one, with a warning."""
_MOST_PENALTY = 2.0
"""vLLM refuses frequency and presence penalties beyond this, above and below 0."""
ENGINE_ARGUMENTS = frozenset(
    (
        *("pretrained", "model_name", "tokenizer", "revision", "subfolder", "trust_remote_code", "dtype", "quantization"),
        *("tensor_parallel_size", "data_parallel_size", "pipeline_parallel_size", "gpu_memory_utilization", "swap_space"),
        *("distributed_executor_backend", "batch_size", "max_num_batched_tokens", "enforce_eager", "enable_prefix_caching"),
    )
)
"""Arguments for starting an engine. For a running engine they mean nothing."""

_Share = Annotated[float, Meta(gt=0, le=1)]
_Size = Annotated[float, Meta(ge=0)]


class VllmArguments(TokenRules, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `--backend vllm`. Making one raises UserInputError for values that contradict one another."""

    pretrained: Pretrained = None
    model_name: ModelName = None
    tokenizer: TokenizerName = None
    revision: Revision = "main"
    subfolder: Subfolder = None
    trust_remote_code: TrustRemoteCode = False
    dtype: Annotated[
        str, Meta(description="auto (vLLM's choice: weights stored in float32 are computed in 16 bit), float32, bfloat16, float16")
    ] = "auto"
    quantization: Annotated[str | None, Meta(description="vLLM's name of a method: fp8, awq, gptq, ...; default: as the model says")] = None
    tensor_parallel_size: Annotated[int, Meta(description="GPUs that share each layer")] = 1
    pipeline_parallel_size: Annotated[int, Meta(description="groups of GPUs that share the layers out")] = 1
    data_parallel_size: Annotated[int, Meta(description="copies of the model, each in a process with GPUs of its own")] = 1
    gpu_memory_utilization: Annotated[
        _Share | None, Meta(description="share of a GPU's memory for weights and cache (on a CPU: of all RAM); default: vLLM's")
    ] = None
    swap_space: Annotated[_Size | None, Meta(description="GiB of RAM for swapped sequences; ignored by a vLLM that no longer has it")] = (
        None
    )
    max_model_length: MaxLength = None
    batch_size: Annotated[int | Literal["auto"], Meta(description="most sequences in one step (vLLM's max_num_seqs); auto: vLLM's")] = (
        "auto"
    )
    distributed_executor_backend: Annotated[
        Literal["mp", "ray"] | None,
        Meta(description="what runs vLLM's processes; ray: on several machines; default: vLLM's"),
    ] = None
    max_num_batched_tokens: Annotated[int | None, Meta(description="most tokens in one step; default: vLLM's choice")] = None
    enforce_eager: Annotated[
        bool | None, Meta(description="no compilation, no CUDA graphs; default: eager on a CPU, vLLM's choice elsewhere")
    ] = None
    enable_prefix_caching: Annotated[bool, Meta(description="compute the common prefix of prompts once")] = True
    seed: Annotated[int, Meta(description="seed of the engine, and of samples unless generation_parameters has one")] = 1234

    other_names: ClassVar[Mapping[str, str]] = {"max_num_seqs": "batch_size", "max_model_len": "max_model_length"}

    def __post_init__(self) -> None:
        force_setattr(self, "dtype", plain_dtype(self.dtype))
        if self.dtype not in _DTYPES:
            raise UserInputError(f"dtype: {self.dtype!r} is none of {', '.join(_DTYPES)}{did_you_mean(self.dtype, _DTYPES)}")
        for name, least in _AT_LEAST.items():
            value = getattr(self, name)
            if isinstance(value, int) and value < least:
                raise UserInputError(f"{name}: {value} is too small; give {least} or more")
        check_naming(self.pretrained, self.model_name)
        _check_sampling(self.generation())

    @property
    def model(self) -> str:
        """What `pretrained` or `model_name` says."""
        return self.pretrained or self.model_name or ""

    @property
    def gpus(self) -> int:
        """See `protocol.gpus_of_engine`."""
        return self.tensor_parallel_size * self.pipeline_parallel_size

    def alone(self) -> tuple[int, VllmArguments]:
        """See `protocol.own_replicas`: vLLM's `LLM` refuses `data_parallel_size` above 1, so the copies are engines of a pool."""
        return self.data_parallel_size, replace(self, data_parallel_size=1)

    def over_nodes(self) -> VllmArguments:
        """See `protocol.over_nodes`: vLLM's own Ray executor finds the placement group that its process is in."""
        return replace(self, distributed_executor_backend="ray")

    def generation(self) -> GenerationParameters:
        """See `TokenRules.generation`. The argument `seed` is their default seed."""
        given = {name: value for name, value in self.generation_parameters.items() if value is not None}
        return read_parameters(GenerationParameters, {"seed": self.seed, **given})

    def engine(self) -> dict[str, Any]:
        """Settings of vLLM's `LLM`, without the model, its length and the replicas, and without those that vLLM chooses itself."""
        settings: dict[str, Any] = {
            "dtype": _DTYPES[self.dtype],
            "seed": self.seed,
            "trust_remote_code": self.trust_remote_code,
            "tensor_parallel_size": self.tensor_parallel_size,
            "pipeline_parallel_size": self.pipeline_parallel_size,
            "enable_prefix_caching": self.enable_prefix_caching,
            "quantization": self.quantization,
            "gpu_memory_utilization": self.gpu_memory_utilization,
            "swap_space": self.swap_space,
            "enforce_eager": self.enforce_eager,
            "max_num_seqs": None if self.batch_size == "auto" else self.batch_size,
            "max_num_batched_tokens": self.max_num_batched_tokens,
            "distributed_executor_backend": self.distributed_executor_backend,
        }
        return {name: value for name, value in settings.items() if value is not None}


def _check_sampling(parameters: GenerationParameters) -> None:
    """Raise UserInputError for what vLLM would refuse at the first text, or silently change."""
    temperature = parameters.temperature
    if temperature is not None and 0 < temperature < _LEAST_TEMPERATURE:
        raise UserInputError(
            f"generation_parameters.temperature: vLLM would use {_LEAST_TEMPERATURE:g} for {temperature:g}; give that or more, 0 for greedy"
        )
    if parameters.top_p == 0:
        raise UserInputError("generation_parameters.top_p: vLLM takes no 0; give more, or temperature=0 for greedy")
    for name in ("frequency_penalty", "presence_penalty"):
        value = getattr(parameters, name)
        if not -_MOST_PENALTY <= value <= _MOST_PENALTY:
            raise UserInputError(f"generation_parameters.{name}: {value:g} is out of vLLM's range, -{_MOST_PENALTY:g} to {_MOST_PENALTY:g}")
