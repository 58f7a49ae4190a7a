"""The vLLM backend: what is known from files and arguments alone, and an engine that is started when it is first needed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pytest_lighteval.backends.accelerate.folders import Folders, NamedFolders, read_max_length
from pytest_lighteval.backends.vllm.arguments import ENGINE_ARGUMENTS, VllmArguments
from pytest_lighteval.backends.vllm.fingerprint import fingerprint_folder, fingerprint_running, package_versions
from pytest_lighteval.devices import visible_gpus
from pytest_lighteval.errors import BackendError, MissingExtraError, UserInputError
from pytest_lighteval.types import (
    GenerateRequest,
    GenerateResponse,
    LoglikelihoodRequest,
    LoglikelihoodResponse,
    Message,
    PerplexityRequest,
    PerplexityResponse,
    Prompt,
    RequestKind,
)

if TYPE_CHECKING:  # torch and vllm, which importing a backend must not cost
    from pytest_lighteval.backends.accelerate.texts import Texts
    from pytest_lighteval.backends.vllm.engine import Engine, Running

__all__ = ["VllmBackend"]


class VllmBackend:
    """A model in vLLM, as a `Backend`; docs/backends.md explains its arguments."""

    Arguments = VllmArguments
    cached_apart = (
        *("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "batch_size"),
        *("enforce_eager", "enable_prefix_caching"),
    )
    name = "vllm"
    supports = frozenset(RequestKind)

    def __init__(self, arguments: VllmArguments, *, given: Any | None = None) -> None:
        self.arguments = arguments
        self._given = given
        """An `LLM` that runs already. None: the arguments say what to start."""
        self.cacheable = given is None
        """Of an engine in memory the fingerprint sees names and files; its weights may have been changed, its GPUs may be others."""
        self._named = NamedFolders(arguments.named()) if given is None else None
        self._closed = False
        self._last_facts: dict[str, Any] = {}
        """What a closed engine said of itself, for the report that is written afterwards."""

    @classmethod
    def from_arguments(cls, arguments: msgspec.Struct) -> VllmBackend:
        """A backend of checked arguments; nothing is started. Raises UserInputError for a model that is not there."""
        if not isinstance(arguments, VllmArguments):
            raise TypeError(f"VllmArguments were expected, not {type(arguments).__name__}")
        return cls(arguments)

    @classmethod
    def from_engine(cls, llm: Any, **arguments: Any) -> VllmBackend:
        """A backend around a `vllm.LLM` that runs.

        Takes the arguments that say how to tokenize and generate (`max_model_length`, `generation_parameters`, ...); those that say what
        to start raise UserInputError. Its prefix cache is emptied whenever a task is asked; do not use it meanwhile. `close` leaves it
        running.
        """
        for name in arguments:
            if name in ENGINE_ARGUMENTS:
                raise UserInputError(f"{name}: the engine runs already")
        model = llm.llm_engine.vllm_config.model_config
        try:
            converted = msgspec.convert({"pretrained": str(model.model), **arguments}, VllmArguments)
        except msgspec.ValidationError as error:
            raise UserInputError(str(error)) from error
        asked = converted.max_model_length
        if asked is not None and asked > model.max_model_len:
            raise UserInputError(f"max_model_length: {asked} is more than the engine's {model.max_model_len}")
        return cls(converted, given=llm)

    @cached_property
    def fingerprint(self) -> str:
        """See `Backend.fingerprint`. How many GPUs and sequences at a time are no part of it: their effect is rounding."""
        if self._given is not None:
            model = self._given.llm_engine.vllm_config.model_config
            folder = Path(str(model.model))
            facts = {
                "dtype": str(model.dtype),
                "quantization": model.quantization,
                "revision": model.revision,
                "config": model.hf_config.to_json_string(),
            }
            return fingerprint_running(folder if folder.is_dir() else None, self.arguments, facts)
        return fingerprint_folder(self._folders.model, self._folders.tokenizer, self.arguments)

    @cached_property
    def max_length(self) -> int:
        """The `max_model_length` argument, else what the model's configuration declares (or the running engine), else 2048."""
        if self.arguments.max_model_length is not None:
            return self.arguments.max_model_length
        if self._given is not None:
            return int(self._given.llm_engine.vllm_config.model_config.max_model_len)
        return read_max_length(self._folders.model, self.arguments.model, trust_remote_code=self.arguments.trust_remote_code)

    def count_tokens(self, prompt: Prompt) -> int:
        """See `Backend.count_tokens`. Loads the tokenizer alone."""
        return self._texts.count(prompt)

    def render(self, messages: Sequence[Message]) -> str:
        """See `Backend.render`. Loads the tokenizer alone."""
        return self._texts.render(messages)

    def describe(self) -> Mapping[str, Any]:
        """See `Backend.describe`. Starts nothing: device and dtype are those in use once the engine runs."""
        arguments = self.arguments
        facts: dict[str, Any] = {
            "model": arguments.model,
            "dtype": arguments.dtype,
            "batch_size": arguments.batch_size,
            "versions": package_versions(),
        }
        for name in ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"):
            if getattr(arguments, name) > 1:
                facts[name] = getattr(arguments, name)
        if self._named is not None and self._named.revision is not None:
            facts["revision"] = self._named.revision
        if arguments.quantization is not None:
            facts["quantization"] = arguments.quantization
        if "max_length" in self.__dict__:
            facts["max_length"] = self.max_length
        facts |= self._engine.describe() if "_engine" in self.__dict__ else self._last_facts
        return facts

    def loglikelihood(self, requests: Sequence[LoglikelihoodRequest]) -> Iterator[tuple[int, LoglikelihoodResponse]]:
        """See `Backend.loglikelihood`."""
        yield from self._engine.loglikelihood(requests) if requests else ()

    def generate(self, requests: Sequence[GenerateRequest]) -> Iterator[tuple[int, GenerateResponse]]:
        """See `Backend.generate`."""
        yield from self._engine.generate(requests) if requests else ()

    def perplexity(self, requests: Sequence[PerplexityRequest]) -> Iterator[tuple[int, PerplexityResponse]]:
        """See `Backend.perplexity`."""
        yield from self._engine.perplexity(requests) if requests else ()

    def close(self) -> None:
        """See `Backend.close`."""
        self._closed = True
        self.__dict__.pop("_texts", None)
        if "_engine" in self.__dict__:
            self._last_facts = self._engine.describe()
            self._engine.close()
            del self.__dict__["_engine"]
        self._given = None

    @property
    def _folders(self) -> Folders:
        if self._named is None:
            raise BackendError(f"{self.arguments.model}: the backend is closed")
        return self._named

    @cached_property
    def _texts(self) -> Texts:
        self._require_open()
        from pytest_lighteval.backends.accelerate.loading import load_tokenizer
        from pytest_lighteval.backends.accelerate.texts import Texts

        named = self.arguments.named()
        tokenizer = self._given.get_tokenizer() if self._given is not None else load_tokenizer(self._folders.tokenizer, named)
        return Texts(tokenizer, named)

    @cached_property
    def _engine(self) -> Engine:
        self._require_open()
        from pytest_lighteval.backends.vllm.engine import Engine

        texts = self._texts
        return Engine(texts, self._start(), self.arguments, self.max_length)

    def _start(self) -> Running:
        from pytest_lighteval.backends.vllm.starting import LocalEngine, start_engine

        if self._given is not None:
            return LocalEngine(self._given, owned=False)
        if self.arguments.data_parallel_size > 1:
            import torch

            from pytest_lighteval.backends.vllm.replicas import Replicas

            where = (self._folders.model, self._folders.tokenizer, self.arguments, self.max_length)
            return Replicas(*where, devices=visible_gpus(torch.cuda.device_count), start=start_engine)
        return start_engine(self._folders.model, self._folders.tokenizer, self.arguments, self.max_length)

    def _require_open(self) -> None:
        if self._closed:
            raise BackendError(f"{self.arguments.model}: the backend is closed")
        for package in ("transformers", "vllm"):
            if importlib.util.find_spec(package) is None:
                raise MissingExtraError(package, "vllm")
