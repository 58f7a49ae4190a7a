"""A backend around a backend: what was answered before is not asked again.

Answers are found by what is asked, of which model, by which code and on which kind of hardware. Knows nothing of what kind of backend
it is around.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar

import msgspec

from pytest_lighteval.backends.cache.answer_store import AnswerStore
from pytest_lighteval.backends.cache.environment_key import environment_key
from pytest_lighteval.backends.protocol import cached_apart, is_cacheable
from pytest_lighteval.errors import BackendError
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
Fact = TypeVar("Fact")

_CALL_BYTES = 8


class CachedBackend:
    """The backend it is around, with a memory. Answers are the same, bit by bit; one with an error is never kept.

    Nothing of the inner backend is loaded for what is known. Requests of one call that are equal are asked once. Answers prefer those of
    the very same call, so that a run which is repeated gets its own: which requests are batched together changes their last digits.
    `describe` tells of the engine that answered. The store stays open: it belongs to whoever made it.

    A backend may name, as `cached_apart`, those of its `arguments` that are no part of the fingerprint since their effect is rounding:
    answers under another value of one are not taken for those of this, as one may want to compare the two.

    Answers of one `repeat` never serve another: for measuring how much an engine differs from itself.
    """

    cacheable = False  # once is enough

    def __init__(self, backend: Backend, store: AnswerStore, *, repeat: int = 0) -> None:
        if not is_cacheable(backend):
            raise ValueError(f"backend {backend.name!r} does not say cacheable = True")
        self.inner = backend
        self.name = backend.name
        self.hits = 0
        """Requests that were answered from memory."""
        self.misses = 0
        """Requests that the inner backend answered; of equal ones in a call one, the others are hits."""
        self._store = store
        self._repeat = repeat
        self._has_computed = False

    @property
    def fingerprint(self) -> str:
        """The inner backend's."""
        return self.inner.fingerprint

    @property
    def supports(self) -> frozenset[RequestKind]:
        """What the inner backend supports."""
        return self.inner.supports

    @cached_property
    def max_length(self) -> int | None:
        """The inner backend's; some must import their engine to tell."""
        return self._recall("max_length", None, int, lambda: self.inner.max_length)

    def count_tokens(self, prompt: Prompt) -> int | None:
        """See `Backend.count_tokens`."""
        return self._recall("count_tokens", prompt, int, lambda: self.inner.count_tokens(prompt))

    def render(self, messages: Sequence[Message]) -> str | None:
        """See `Backend.render`."""
        return self._recall("render", tuple(messages), str, lambda: self.inner.render(messages))

    def describe(self) -> Mapping[str, Any]:
        """The inner backend's facts, as they were where the answers were computed if it computed none itself."""
        facts = self.inner.describe()
        if self._has_computed:
            return facts
        return {**facts, **(self._known("facts", None, dict[str, Any]) or {})}

    def loglikelihood(self, requests: Sequence[LoglikelihoodRequest]) -> Iterator[tuple[int, LoglikelihoodResponse]]:
        """See `Backend.loglikelihood`."""
        yield from self._answer(requests, self.inner.loglikelihood, LoglikelihoodResponse)

    def generate(self, requests: Sequence[GenerateRequest]) -> Iterator[tuple[int, GenerateResponse]]:
        """See `Backend.generate`."""
        yield from self._answer(requests, self.inner.generate, GenerateResponse)

    def perplexity(self, requests: Sequence[PerplexityRequest]) -> Iterator[tuple[int, PerplexityResponse]]:
        """See `Backend.perplexity`."""
        yield from self._answer(requests, self.inner.perplexity, PerplexityResponse)

    def close(self) -> None:
        """Close the inner backend."""
        self.inner.close()

    def _answer(
        self,
        requests: Sequence[AnyRequest],
        ask: Callable[[Sequence[AnyRequest]], Iterator[tuple[int, AnyResponse]]],
        kind: type[AnyResponse],
    ) -> Iterator[tuple[int, AnyResponse]]:
        keys = [self._key(request.kind.value, request) for request in requests]
        call = hashlib.blake2b(b"".join(key or b"?" for key in keys), digest_size=_CALL_BYTES).digest()
        waiting: dict[bytes, list[int]] = {}
        for index, key in enumerate(keys):
            # what has no key waits alone, under its number
            waiting.setdefault(key or str(index).encode(), []).append(index)

        for found in self._store.find(list(waiting), call):
            response = _decoded(found.value, kind)
            if response is not None:
                answered = waiting.pop(found.key)
                self.hits += len(answered)
                for index in answered:
                    yield index, response

        places = list(waiting.values())
        if not places:
            return
        for position, response in ask([requests[indices[0]] for indices in places]):
            if not 0 <= position < len(places):
                raise BackendError(f"backend {self.name!r} answered request {position} of {len(places)}, which it was never asked")
            indices = places[position]
            self._has_computed = True
            self.misses += 1
            self.hits += len(indices) - 1
            if response.error is None:
                self._keep(keys[indices[0]], call, response)
            for index in indices:
                yield index, response
        # what the work took is no fact about the engine, and a run that computes nothing took none of it
        facts = {name: fact for name, fact in self.inner.describe().items() if name != "use"}
        self._keep(self._key("facts", None), b"", facts)
        self._store.flush()

    def _recall(self, what: str, subject: object, kind: type[Fact], ask: Callable[[], Fact | None]) -> Fact | None:
        """A small fact about the model, from memory or from the inner backend; None, which is no fact, is not kept."""
        known = self._known(what, subject, kind)
        if known is None and (known := ask()) is not None:
            self._keep(self._key(what, subject), b"", known)
        return known

    def _known(self, what: str, subject: object, kind: type[Fact]) -> Fact | None:
        key = self._key(what, subject)
        return next((_decoded(found.value, kind) for found in self._store.find([key] if key else [], b"")), None)

    def _keep(self, key: bytes | None, call: bytes, answer: object) -> None:
        encoded = _encoded(answer)
        if key is not None and encoded is not None:
            self._store.write(key, call, encoded)

    def _key(self, what: str, subject: object) -> bytes | None:
        """SHA-256 of all that an answer depends on. None: it cannot be encoded."""
        encoded = _encoded((what, subject))
        if encoded is None:
            return None
        key = self._base.copy()
        key.update(encoded)
        return key.digest()

    @cached_property
    def _base(self) -> hashlib._Hash:
        """What all keys begin with."""
        apart = cached_apart(self.inner)
        return hashlib.sha256(msgspec.msgpack.encode((*environment_key(), self.name, self.inner.fingerprint, apart, self._repeat)))


def _encoded(value: object) -> bytes | None:
    """None: a text in it has no bytes, as with half of a surrogate pair, or a number too many."""
    try:
        return msgspec.msgpack.encode(value, enc_hook=str)
    except (UnicodeEncodeError, OverflowError):
        return None


def _decoded(value: bytes, kind: type[Fact]) -> Fact | None:
    try:
        return msgspec.msgpack.decode(value, type=kind)
    except msgspec.MsgspecError:
        return None
