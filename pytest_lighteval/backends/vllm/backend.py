"""The vLLM backend. Fingerprint and length come from files and arguments; the engine starts when it is first needed."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pytest_lighteval.backends.common.lazy_engine import LazyEngineBackend
from pytest_lighteval.backends.common.model_folder import NamedFolders, read_max_length
from pytest_lighteval.backends.common.spellings import with_own_names, without_nones
from pytest_lighteval.backends.vllm.arguments import ENGINE_ARGUMENTS, VllmArguments
from pytest_lighteval.backends.vllm.fingerprint import RULES, fingerprint_running
from pytest_lighteval.errors import BackendError, UserInputError

if TYPE_CHECKING:  # torch and vllm, which importing a backend must not cost
    from pytest_lighteval.backends.common.prompt_tokenizer import PromptTokenizer
    from pytest_lighteval.backends.vllm.engine import RunningEngine, VllmEngine


class VllmBackend(LazyEngineBackend["VllmEngine"]):
    """A model in vLLM, as a `Backend`; docs/backends/vllm.md explains its arguments."""

    Arguments = VllmArguments
    arguments: VllmArguments
    cached_apart = (
        *("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "batch_size"),
        *("max_num_batched_tokens", "enforce_eager", "enable_prefix_caching"),
    )
    name = "vllm"
    packages: tuple[str, ...] = ("transformers", "vllm")

    def __init__(self, arguments: VllmArguments, *, given: Any | None = None) -> None:
        super().__init__(arguments, NamedFolders(arguments) if given is None else None)
        self._given = given
        """A running `LLM`. None: the arguments say what to start."""
        self.cacheable = given is None
        """Not for an engine in memory: its weights may differ from the files in its fingerprint, and its GPUs are unknown."""

    @classmethod
    def from_engine(cls, llm: Any, **arguments: Any) -> VllmBackend:
        """A backend around a running `vllm.LLM`.

        Takes the arguments for tokenizing and generating (`max_model_length`, `generation_parameters`, ...); those for starting an engine
        raise UserInputError. Each task empties the prefix cache; do not use the engine meanwhile. `close` leaves it running.
        """
        given = without_nones(with_own_names(arguments, VllmArguments), VllmArguments)
        for name in given:
            if name in ENGINE_ARGUMENTS:
                raise UserInputError(f"{name}: the engine runs already")
        model = llm.llm_engine.vllm_config.model_config
        mode = str(getattr(model, "logprobs_mode", ""))
        if mode.endswith("_logits"):
            raise UserInputError(f"the engine gives logits for log-probabilities (logprobs_mode={mode}): start it with raw_logprobs")
        try:
            converted = msgspec.convert({"pretrained": str(model.model), **given}, VllmArguments)
        except msgspec.ValidationError as error:
            raise UserInputError(str(error)) from error
        requested = converted.max_model_length
        if requested is not None and requested > model.max_model_len:
            raise UserInputError(f"max_model_length: {requested} is more than the engine's {model.max_model_len}")
        return cls(converted, given=llm)

    @cached_property
    def fingerprint(self) -> str:
        """See `Backend.fingerprint`. The numbers of GPUs and of sequences at a time are no part of it: they only change rounding."""
        if self._given is not None:
            model = self._given.llm_engine.vllm_config.model_config
            folder = Path(str(model.model))
            facts = {
                "dtype": str(model.dtype),
                "quantization": model.quantization,
                "revision": model.revision,
                "config": model.hf_config.to_json_string(),
            }
            return fingerprint_running(folder if folder.is_dir() else None, self._given_tokenizer(), self.arguments, facts)
        return RULES.of_folder(self._folders.model, self._folders.tokenizer, self.arguments)

    @cached_property
    def max_length(self) -> int:
        """The `max_model_length` argument, else the running engine's or what the model's configuration declares, else 2048."""
        if self.arguments.max_model_length is not None:
            return self.arguments.max_model_length
        if self._given is not None:
            return int(self._given.llm_engine.vllm_config.model_config.max_model_len)
        return read_max_length(self._folders.model, self.arguments.model, trust_remote_code=self.arguments.trust_remote_code)

    def close(self) -> None:
        """See `Backend.close`."""
        super().close()
        self._given = None

    def _known(self) -> dict[str, Any]:
        arguments = self.arguments
        facts: dict[str, Any] = {
            "model": arguments.model,
            "dtype": arguments.dtype,
            "batch_size": arguments.batch_size,
            "versions": RULES.versions(),
        }
        for name in ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"):
            if getattr(arguments, name) > 1:
                facts[name] = getattr(arguments, name)
        if arguments.quantization is not None:
            facts["quantization"] = arguments.quantization
        return facts

    def _given_tokenizer(self) -> Any | None:
        """The running engine's. Raises BackendError for one that is not transformers' own."""
        if self._given is None:
            return None
        tokenizer = self._given.get_tokenizer()
        if not all(hasattr(tokenizer, name) for name in ("added_tokens_decoder", "chat_template", "special_tokens_map")):
            kind = type(tokenizer).__name__
            raise BackendError(
                f"{self.arguments.model}: the engine's tokenizer, {kind}, is not a transformers tokenizer; start it with tokenizer_mode=hf"
            )
        return tokenizer

    def _make_engine(self, tokenizer: PromptTokenizer) -> VllmEngine:
        from pytest_lighteval.backends.vllm.engine import VllmEngine

        return VllmEngine(tokenizer, self._start(), self.arguments, self.max_length)

    def _start(self) -> RunningEngine:
        from pytest_lighteval.backends.vllm.local_engine import LocalEngine, start_engine

        if self._given is not None:
            return LocalEngine(self._given, owned=False)
        if self.arguments.data_parallel_size > 1:
            raise BackendError(f"{self.arguments.model}: data_parallel_size is for a pool of engines (`backends.pool`); this is one engine")
        return start_engine(self._folders.model, self._folders.tokenizer, self.arguments, self.max_length)
