"""A backend whose engine is made when it is first needed: the part that accelerate, vLLM and nanotron share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

import msgspec

from pytest_lighteval.backends.common.generation_parameters import GenerationParameters, limit_notes
from pytest_lighteval.backends.common.model_folder import Folders
from pytest_lighteval.backends.common.prompt_rules import ModelNaming
from pytest_lighteval.common.progress_log import PROGRESS
from pytest_lighteval.common.versions import require
from pytest_lighteval.errors import BackendError, BackendLostError, LightevalError, UnsupportedRequestError
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
    Tokenization,
)

if TYPE_CHECKING:  # transformers, which importing a backend must not cost
    from pytest_lighteval.backends.common.prompt_tokenizer import PromptTokenizer


class LocalArguments(ModelNaming, Protocol):
    """Model arguments of such a backend."""

    @property
    def add_special_tokens(self) -> bool: ...

    @property
    def pairwise_tokenization(self) -> bool: ...

    @property
    def tokenization(self) -> Tokenization | None: ...

    def generation(self) -> GenerationParameters: ...


class ModelEngine(Protocol):
    """A model in memory that answers requests."""

    def loglikelihood(self, requests: Sequence[LoglikelihoodRequest]) -> Iterator[tuple[int, LoglikelihoodResponse]]:
        """See `Backend.loglikelihood`."""

    def generate(self, requests: Sequence[GenerateRequest]) -> Iterator[tuple[int, GenerateResponse]]:
        """See `Backend.generate`."""

    def perplexity(self, requests: Sequence[PerplexityRequest]) -> Iterator[tuple[int, PerplexityResponse]]:
        """See `Backend.perplexity`."""

    def describe(self) -> dict[str, Any]:
        """Facts about what runs, for the report."""

    def close(self) -> None:
        """Release what garbage collection of the engine does not."""


EngineType = TypeVar("EngineType", bound=ModelEngine)


class LazyEngineBackend(ABC, Generic[EngineType]):
    """A `Backend` around a tokenizer and an engine. A subclass makes them."""

    name: str
    """Also the name of the extra that installs what the backend needs."""
    packages: tuple[str, ...]
    """Packages without which the backend answers nothing."""
    supports = frozenset(RequestKind)
    Arguments: type[Any]
    """The struct of its model arguments."""

    def __init__(self, arguments: LocalArguments, folders: Folders | None = None) -> None:
        """`folders` hold the model and its tokenizer. None: the user gave both in memory."""
        self.arguments = arguments
        self._found_folders = folders
        self._closed = False
        self._failure: str | None = None
        """Why there is no engine. None: nobody needed it yet, or it runs."""
        self._last_facts: dict[str, Any] = {}
        """What a closed engine reported, for a report that is written later."""

    @classmethod
    def from_arguments(cls, arguments: msgspec.Struct) -> Self:
        """A backend of checked arguments. Loads and starts nothing. Raises UserInputError for a model that is missing."""
        if not isinstance(arguments, cls.Arguments):
            raise TypeError(f"{cls.Arguments.__name__} were expected, not {type(arguments).__name__}")
        return cls(arguments)

    @property
    @abstractmethod
    def max_length(self) -> int:
        """See `Backend.max_length`."""

    @abstractmethod
    def _known(self) -> dict[str, Any]:
        """Facts for the report that need no engine."""

    @abstractmethod
    def _given_tokenizer(self) -> Any | None:
        """The transformers tokenizer that the user gave. None: it is loaded from its folder."""

    @abstractmethod
    def _make_engine(self, tokenizer: PromptTokenizer) -> EngineType:
        """The engine."""

    def check(self) -> None:
        """See `backends.protocol.check`: packages first, then devices, then the files, which may be on the hub."""
        self._require_open()
        self._check_devices()
        self.check_files()

    def check_files(self) -> None:
        """See `backends.protocol.check_files`."""
        if self._found_folders is not None:
            _ = self._found_folders.model, self._found_folders.tokenizer

    def _check_devices(self) -> None:
        """Raise LightevalError for a device that this machine has not. By default, nothing is known before the engine starts."""

    def count_tokens(self, prompt: Prompt) -> int:
        """See `Backend.count_tokens`. Loads only the tokenizer."""
        return self._tokenizer.count(prompt)

    def render(self, messages: Sequence[Message]) -> str:
        """See `Backend.render`. Loads only the tokenizer."""
        return self._tokenizer.render(messages)

    def describe(self) -> Mapping[str, Any]:
        """See `Backend.describe`. Loads nothing. Once there is an engine, device, dtype and threads are those that it uses."""
        facts = self._known()
        if "max_length" in self.__dict__:  # otherwise it might have to be read from files
            facts["max_length"] = self.max_length
        if self._found_folders is not None and self._found_folders.revision is not None:
            facts["revision"] = self._found_folders.revision
        facts |= self._engine.describe() if "_engine" in self.__dict__ else self._last_facts
        if notes := limit_notes(self.arguments.generation().max_new_tokens):
            facts["notes"] = [*facts.get("notes", ()), *notes]
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
        self.__dict__.pop("_tokenizer", None)
        if "_engine" in self.__dict__:
            self._last_facts = self._engine.describe()
            self._engine.close()
            del self.__dict__["_engine"]

    @cached_property
    def _tokenizer(self) -> PromptTokenizer:
        self._require_open()
        from pytest_lighteval.backends.common.prompt_tokenizer import PromptTokenizer, load_tokenizer

        arguments, tokenizer = self.arguments, self._given_tokenizer()
        if tokenizer is None:
            name = arguments.tokenizer or arguments.model
            tokenizer = load_tokenizer(self._folders.tokenizer, name, trust_remote_code=arguments.trust_remote_code)
        special, pairwise = arguments.add_special_tokens, arguments.pairwise_tokenization
        return PromptTokenizer(
            tokenizer, arguments.model, add_special_tokens=special, pairwise=pairwise, tokenization=arguments.tokenization
        )

    @property
    def _folders(self) -> Folders:
        if self._found_folders is None:
            raise self._closed_error()
        return self._found_folders

    @cached_property
    def _engine(self) -> EngineType:
        self._require_open()
        if self._failure is None:
            PROGRESS.info("%s: loading the model", self.arguments.model)
            try:
                return self._make_engine(self._tokenizer)
            except UnsupportedRequestError:
                raise
            except LightevalError as error:
                # the next task would wait as long for the same
                self._failure = str(error)
                raise BackendLostError(self._failure) from error
        raise BackendLostError(self._failure)

    def _closed_error(self) -> BackendError:
        return BackendError(f"{self.arguments.model}: the backend is closed")

    def _require_open(self) -> None:
        if self._closed:
            raise self._closed_error()
        require(*self.packages, extra=self.name)
