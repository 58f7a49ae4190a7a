"""The openai backend: a server over HTTP. It sends nothing before the first request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from pytest_lighteval.backends.common.fingerprints import canonical_settings, digest_content
from pytest_lighteval.backends.common.generation_parameters import limit_notes
from pytest_lighteval.backends.common.model_reference import resolve_reference
from pytest_lighteval.backends.openai.arguments import WITHOUT_EFFECT, OpenAIArguments
from pytest_lighteval.backends.openai.client import Client
from pytest_lighteval.backends.openai.generation import TextGenerator
from pytest_lighteval.backends.openai.scoring import EchoScorer
from pytest_lighteval.backends.openai.server import Server
from pytest_lighteval.backends.openai.tokenizer import digest_tokenizer, load_prompt_tokenizer
from pytest_lighteval.common.versions import installed_versions, require
from pytest_lighteval.errors import BackendError
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

if TYPE_CHECKING:  # transformers, which importing a backend must not cost
    from pytest_lighteval.backends.common.prompt_tokenizer import PromptTokenizer

_PROTOCOL = 2
"""Increased whenever this backend may answer differently with the same server."""


class OpenAIBackend:
    """A server that speaks the OpenAI protocol, as a `Backend`; docs/backends/openai.md explains its arguments."""

    Arguments = OpenAIArguments
    batches_itself = True
    name = "openai"

    def __init__(self, arguments: OpenAIArguments) -> None:
        self.arguments = arguments
        if arguments.tokenizer is not None:
            resolve_reference(arguments.tokenizer, argument="tokenizer")
        self._client = Client(
            arguments.base_url,
            arguments.key(),
            timeout=arguments.timeout,
            retries=arguments.retries,
            total_timeout=arguments.total_timeout,
        )
        self._is_closed = False
        self._last_facts: dict[str, Any] = {}
        """What was known about the server when it was closed, for a report that is written later."""

    @classmethod
    def from_arguments(cls, arguments: msgspec.Struct) -> OpenAIBackend:
        """A backend of checked arguments. Sends nothing.

        Raises UserInputError for a key's variable that is not set, or a tokenizer that is missing.
        """
        if not isinstance(arguments, OpenAIArguments):
            raise TypeError(f"OpenAIArguments were expected, not {type(arguments).__name__}")
        return cls(arguments)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the arguments and the tokenizer's files. The server's weights are unknown; `model_version` identifies them."""
        arguments = canonical_settings(self.arguments, without=WITHOUT_EFFECT)
        return digest_content({"protocol": _PROTOCOL, "arguments": arguments, "tokenizer": digest_tokenizer(self.arguments.tokenizer)})

    @property
    def cacheable(self) -> bool:
        """Whether answers may be kept for later runs: only if `model_version` identifies what the server runs."""
        return self.arguments.model_version is not None

    @property
    def supports(self) -> frozenset[RequestKind]:
        """All kinds; with `api=chat`, which has no log-probabilities, only texts. Whether a server has them is found out by a request."""
        return frozenset((RequestKind.GENERATE,)) if self.arguments.api == "chat" else frozenset(RequestKind)

    @property
    def max_length(self) -> int | None:
        """The `max_length` argument. None: unknown; the server is not asked for it here."""
        return self.arguments.max_length

    def check(self) -> None:
        """See `backends.protocol.check`: packages and the tokenizer. The server is not asked: all answers may be in the cache."""
        self._require_open()
        require("httpx", extra="openai")
        _ = self._tokenizer

    def count_tokens(self, prompt: Prompt) -> int | None:
        """See `Backend.count_tokens`. Loads the tokenizer, if one was named."""
        return None if self._tokenizer is None else self._tokenizer.count(prompt)

    def render(self, messages: Sequence[Message]) -> str | None:
        """See `Backend.render`. None: the server's chat API gets the turns."""
        return self._tokenizer.render(messages) if self.arguments.api == "completions" and self._tokenizer is not None else None

    def describe(self) -> Mapping[str, Any]:
        """See `Backend.describe`. `use` counts what this process has used so far."""
        arguments = self.arguments
        facts: dict[str, Any] = {
            "model": arguments.model,
            "base_url": arguments.base_url,
            "api": arguments.api,
            "concurrency": arguments.concurrency,
            "versions": installed_versions(("httpx", "transformers", "tokenizers")),
        }
        if arguments.model_version is not None:
            facts["model_version"] = arguments.model_version
        counts = self._client.counts
        facts["use"] = {name: counts[name] for name in ("requests", "retries", "prompt_tokens", "completion_tokens")}
        facts |= self._server.describe() if "_server" in self.__dict__ else self._last_facts
        parameters = arguments.generation()
        if notes := limit_notes(parameters.max_new_tokens, parameters.max_thinking_tokens):
            facts["notes"] = [*facts.get("notes", ()), *notes]
        return facts

    def loglikelihood(self, requests: Sequence[LoglikelihoodRequest]) -> Iterator[tuple[int, LoglikelihoodResponse]]:
        """See `Backend.loglikelihood`. Raises UnsupportedRequestError for a server that gives no log-probabilities."""
        yield from EchoScorer(self._server).loglikelihood(requests) if requests else ()

    def generate(self, requests: Sequence[GenerateRequest]) -> Iterator[tuple[int, GenerateResponse]]:
        """See `Backend.generate`."""
        yield from TextGenerator(self._server).generate(requests) if requests else ()

    def perplexity(self, requests: Sequence[PerplexityRequest]) -> Iterator[tuple[int, PerplexityResponse]]:
        """See `Backend.perplexity`. Raises UnsupportedRequestError likewise."""
        yield from EchoScorer(self._server).perplexity(requests) if requests else ()

    def close(self) -> None:
        """See `Backend.close`."""
        self._is_closed = True
        self._client.close()
        self.__dict__.pop("_tokenizer", None)
        if "_server" in self.__dict__:
            self._last_facts = self._server.describe()
            del self.__dict__["_server"]

    @cached_property
    def _tokenizer(self) -> PromptTokenizer | None:
        self._require_open()
        return None if self.arguments.tokenizer is None else load_prompt_tokenizer(self.arguments)

    @cached_property
    def _server(self) -> Server:
        self._require_open()
        return Server(self.arguments, self._client, self._tokenizer)

    def _require_open(self) -> None:
        if self._is_closed:
            raise BackendError(f"{self.arguments.model}: the backend is closed")
