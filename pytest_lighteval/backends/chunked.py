"""A backend that is asked chunk by chunk, so that no answer depends on how many engines answer, or on what was answered before."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

from pytest_lighteval.backends.chunks import ChunkLimits, cut
from pytest_lighteval.backends.delegating import AnyRequest, AnyResponse, DelegatingBackend
from pytest_lighteval.backends.protocol import batches_itself
from pytest_lighteval.errors import BackendError
from pytest_lighteval.types import (
    Backend,
    GenerateRequest,
    GenerateResponse,
    LoglikelihoodRequest,
    LoglikelihoodResponse,
    PerplexityResponse,
    Request,
    Response,
)

Chunks = TypeVar("Chunks")


@runtime_checkable
class AnswersChunks(Protocol):
    """A backend that takes many chunks at once, because it has several engines."""

    def answer_chunks(self, chunks: Sequence[Sequence[Request]]) -> Iterator[tuple[int, int, Response]]:
        """The number of a chunk, a position in it and the response, each once and in any order."""


@runtime_checkable
class WorksAhead(Protocol):
    """A backend that can be told what it will be asked."""

    def ask_ahead(self, chunks: Sequence[Sequence[Request]]) -> None:
        """Compute these chunks when there is nothing else to do, and keep the answers until they are asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """What is asked at once."""

    requests: tuple[Request, ...]
    indices: tuple[tuple[int, ...], ...]
    """For each request, the indices at which the caller asked it."""


class ChunkedBackend(DelegatingBackend):
    """A backend around another one, which is asked one chunk after the other, or all chunks at once if it has several engines."""

    cacheable = False  # one that is cached is a `CachedBackend`

    def __init__(self, backend: Backend, *, limits: ChunkLimits | None = None, share: tuple[int, int] | None = None) -> None:
        """`limits`: of a chunk. None: the usual ones.

        `share` (number from 1 on, of how many): only a contiguous part of the chunks is asked and answered. None: all are.
        """
        super().__init__(backend)
        self._share = share
        self._limits = limits

    def follow_up(self, requests: Sequence[GenerateRequest]) -> Iterator[tuple[int, GenerateResponse]]:
        """As `generate`, of all requests: those that follow from the answers to this part."""
        return self._answer(requests, GenerateResponse, wanted=range(len(requests)))

    def complete(self, requests: Sequence[Any], wanted: Collection[int]) -> Iterator[tuple[int, Any]]:
        """The answers to the requests at these indices, and to those of the same chunks: what another kind's share leaves to be asked."""
        return self._answer(requests, response_kind(requests[0]), wanted=wanted)

    def ask_ahead(self, requests: Sequence[Request]) -> None:
        """Let a backend with several engines compute what it will be asked later. Any other backend is left alone."""
        if isinstance(self.inner, WorksAhead):
            self.inner.ask_ahead([chunk.requests for chunk in self._chunks(requests)])

    def _answer(
        self, requests: Sequence[AnyRequest], kind: type[AnyResponse], *, wanted: Collection[int] | None = None
    ) -> Iterator[tuple[int, AnyResponse]]:
        """See `DelegatingBackend._answer`. `wanted`: see `_chunks`."""
        chunks = self._chunks(requests, wanted=wanted)
        for number, position, response in ask_chunks(self.inner, [chunk.requests for chunk in chunks]):
            self._check(position, len(chunks[number].requests))
            assert isinstance(response, kind)
            for index in chunks[number].indices[position]:
                yield index, response

    def _chunks(self, requests: Sequence[Request], *, wanted: Collection[int] | None = None) -> list[Chunk]:
        """Of equal requests one is asked. An engine that decides itself what runs together gets them all.

        `wanted`: indices; only chunks with one of them are asked. None: those of the own share, or all.
        """
        share = self._share if wanted is None else None
        places: dict[Request, list[int]] = {}
        for index, request in enumerate(requests):
            places.setdefault(request, []).append(index)
        if share is None and wanted is None and batches_itself(self.inner):
            chunks = [tuple(chosen[0] for chosen in places.values())]
        else:
            chunks = cut(requests, self._limits)
        if share is not None:
            chunks = share_of(chunks, *share, turn=repr(requests[0])) if chunks else []
        if wanted is not None:
            is_wanted = {chosen[0] for chosen in places.values() if any(index in wanted for index in chosen)}
            chunks = [chunk for chunk in chunks if not is_wanted.isdisjoint(chunk)]
        if batches_itself(self.inner):
            chunks = [tuple(sorted(index for chunk in chunks for index in chunk if wanted is None or index in is_wanted))]
        return [
            Chunk(requests=tuple(requests[index] for index in chunk), indices=tuple(tuple(places[requests[index]]) for index in chunk))
            for chunk in chunks
            if chunk
        ]

    def _check(self, position: int, count: int) -> None:
        """Raise BackendError for an answer to what was not asked."""
        if not 0 <= position < count:
            raise BackendError(f"backend {self.name!r} answered request {position} of {count}, which it was never asked")


class ChunkedLearner(ChunkedBackend):
    """The same around a backend that is given the documents (`evaluate.LearnsAnswers`)."""

    @property
    def learn(self) -> Callable[[Request, Any], None]:
        """The inner backend's."""
        learn: Callable[[Request, Any], None] = getattr(self.inner, "learn")  # noqa: B009  # `Backend` has no such member
        return learn


def share_of(chunks: Sequence[Chunks], number: int, of: int, *, turn: str) -> list[Chunks]:
    """A contiguous part of the chunks; all parts together are all of them, once.

    `turn` decides, as a task may have fewer chunks than there are parts, which parts have one: another one in every task.
    """
    first = int.from_bytes(hashlib.blake2b(turn.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
    place = (number - 1 + first) % of
    return list(chunks[place * len(chunks) // of : (place + 1) * len(chunks) // of])


def chunked(backend: Backend, *, share: tuple[int, int] | None = None) -> Backend:
    """The backend, asked chunk by chunk; itself, if its engine decides what runs together and is asked everything."""
    if batches_itself(backend) and share is None:
        return backend
    return (ChunkedLearner if callable(getattr(backend, "learn", None)) else ChunkedBackend)(backend, share=share)


def ask_chunks(backend: Backend, chunks: Sequence[Sequence[Request]]) -> Iterator[tuple[int, int, Response]]:
    """What a backend answers: all chunks at once if it can take them so, else one after the other."""
    if not chunks:
        return
    if isinstance(backend, AnswersChunks):
        yield from backend.answer_chunks(chunks)
        return
    for number, chunk in enumerate(chunks):
        # each kind has its own request type, which the method of that name takes
        for position, response in getattr(backend, chunk[0].kind.value)(chunk):
            yield number, position, response


def response_kind(request: Request) -> type[Any]:
    """The type of the responses to requests of this kind."""
    if isinstance(request, LoglikelihoodRequest):
        return LoglikelihoodResponse
    return GenerateResponse if isinstance(request, GenerateRequest) else PerplexityResponse
