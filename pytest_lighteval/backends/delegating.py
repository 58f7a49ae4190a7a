"""What backends around backends have in common: all that is known without an engine is the inner backend's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pytest_lighteval.types import (
    Backend,
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

AnyRequest = TypeVar("AnyRequest", LoglikelihoodRequest, GenerateRequest, PerplexityRequest)
AnyResponse = TypeVar("AnyResponse", LoglikelihoodResponse, GenerateResponse, PerplexityResponse)


class DelegatingBackend(ABC):
    """A backend around another one. A subclass says in one method how requests of any kind are answered."""

    def __init__(self, inner: Backend) -> None:
        self.inner = inner
        self.name = inner.name

    @property
    def fingerprint(self) -> str:
        """The inner backend's."""
        return self.inner.fingerprint

    @property
    def supports(self) -> frozenset[RequestKind]:
        """What the inner backend supports."""
        return self.inner.supports

    @property
    def max_length(self) -> int | None:
        """The inner backend's."""
        return self.inner.max_length

    def count_tokens(self, prompt: Prompt) -> int | None:
        """See `Backend.count_tokens`."""
        return self.inner.count_tokens(prompt)

    def render(self, messages: Sequence[Message]) -> str | None:
        """See `Backend.render`."""
        return self.inner.render(messages)

    def describe(self) -> Mapping[str, Any]:
        """The inner backend's facts."""
        return self.inner.describe()

    def loglikelihood(self, requests: Sequence[LoglikelihoodRequest]) -> Iterator[tuple[int, LoglikelihoodResponse]]:
        """See `Backend.loglikelihood`."""
        return self._answer(requests, LoglikelihoodResponse)

    def generate(self, requests: Sequence[GenerateRequest]) -> Iterator[tuple[int, GenerateResponse]]:
        """See `Backend.generate`."""
        return self._answer(requests, GenerateResponse)

    def perplexity(self, requests: Sequence[PerplexityRequest]) -> Iterator[tuple[int, PerplexityResponse]]:
        """See `Backend.perplexity`."""
        return self._answer(requests, PerplexityResponse)

    def close(self) -> None:
        """Close the inner backend."""
        self.inner.close()

    @abstractmethod
    def _answer(self, requests: Sequence[AnyRequest], kind: type[AnyResponse]) -> Iterator[tuple[int, AnyResponse]]:
        """Every request's index and response, which is of this kind."""
