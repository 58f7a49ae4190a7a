"""A backend that wraps another one and answers from the cache what was answered before.

An answer's key is made of the request, the model, our source and the kind of hardware. Knows nothing about the wrapped engine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import msgspec

from pytest_lighteval.backends.cache.answer_store import AnswerStore
from pytest_lighteval.backends.cache.environment_key import environment_key
from pytest_lighteval.backends.chunked import Chunk, ChunkedBackend, WorksAhead, ask_chunks, response_kind
from pytest_lighteval.backends.chunks import ChunkLimits
from pytest_lighteval.backends.delegating import AnyRequest, AnyResponse
from pytest_lighteval.backends.protocol import batches_itself, cached_apart, hardware_of, is_cacheable
from pytest_lighteval.types import Backend, Message, Prompt, Request

Fact = TypeVar("Fact")

_CALL_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A chunk that is asked, because the cache has not all of it."""

    chunk: Chunk
    keys: list[bytes | None]
    call: bytes
    positions: Sequence[int]
    """Those that are asked: all of them, unless the engine decides itself what runs together."""

    @property
    def requests(self) -> list[Request]:
        return [self.chunk.requests[position] for position in self.positions]


class CachedBackend(ChunkedBackend):
    """A backend with a cache. Cached answers are the same, bit by bit. An answer with an error is never cached.

    The inner backend loads nothing for cached answers. A chunk that is not wholly cached is asked whole, so that the scores do not depend
    on what is cached. `describe` gives the facts of the engine that computed the answers. `close` leaves the store open: its owner closes
    it.

    `backends.protocol` has the optional members of the inner backend: `cacheable` and `cached_apart`. Answers of one `repeat` never serve
    another, so that repeats measure how much an engine differs from itself.
    """

    def __init__(
        self,
        backend: Backend,
        store: AnswerStore,
        *,
        repeat: int = 0,
        limits: ChunkLimits | None = None,
        share: tuple[int, int] | None = None,
    ) -> None:
        if not is_cacheable(backend):
            raise ValueError(f"backend {backend.name!r} does not say cacheable = True")
        super().__init__(backend, limits=limits, share=share)
        self.hits = 0
        """Requests that were answered without being computed."""
        self.recalled = 0
        """Of the hits, those that another session computed."""
        self.misses = 0
        """Requests that the inner backend answered. Of equal requests in one call the first is a miss, the others are hits."""
        self._store = store
        self._repeat = repeat
        self._has_computed = False

    @cached_property
    def max_length(self) -> int | None:
        """The inner backend's, cached: some must import their engine to know it."""
        return self._recall("max_length", None, int, lambda: self.inner.max_length)

    def count_tokens(self, prompt: Prompt) -> int | None:
        """See `Backend.count_tokens`."""
        return self._recall("count_tokens", prompt, int, lambda: self.inner.count_tokens(prompt))

    def render(self, messages: Sequence[Message]) -> str | None:
        """See `Backend.render`."""
        return self._recall("render", tuple(messages), str, lambda: self.inner.render(messages))

    def describe(self) -> Mapping[str, Any]:
        """The inner backend's facts. If it computed no answer in this process: the facts from the process that did."""
        facts = self.inner.describe()
        if self._has_computed:
            return facts
        return {**facts, **(self._find_fact("facts", None, dict[str, Any]) or {})}

    def _answer(
        self, requests: Sequence[AnyRequest], kind: type[AnyResponse], *, wanted: Collection[int] | None = None
    ) -> Iterator[tuple[int, AnyResponse]]:
        asked: list[_Asked] = []
        for chunk in self._chunks(requests, wanted=wanted):
            one, known = self._look_up(chunk, kind)
            for position, found in known.items():
                self.hits += len(chunk.indices[position])
                self.recalled += len(chunk.indices[position])
                for index in chunk.indices[position]:
                    yield index, found
            if one.positions:
                asked.append(one)
        if not asked:
            return
        for number, position, response in ask_chunks(self.inner, [one.requests for one in asked]):
            one = asked[number]
            self._check(position, len(one.positions))
            assert isinstance(response, kind)
            indices = one.chunk.indices[one.positions[position]]
            self._has_computed = True
            self.misses += 1
            self.hits += len(indices) - 1
            if response.error is None:
                self._write(one.keys[one.positions[position]], one.call, response)
            for index in indices:
                yield index, response
        # `use` is what this run took, not a fact about the engine
        facts = {name: fact for name, fact in self.inner.describe().items() if name != "use"}
        self._write(self._key("facts", None), b"", facts)
        self._store.flush()

    def ask_ahead(self, requests: Sequence[Request]) -> None:
        """See `ChunkedBackend.ask_ahead`: of what is not cached."""
        if isinstance(self.inner, WorksAhead):
            looked_up = [self._look_up(chunk, response_kind(chunk.requests[0]))[0] for chunk in self._chunks(requests)]
            self.inner.ask_ahead([one.requests for one in looked_up if one.positions])

    def _look_up(self, chunk: Chunk, kind: type[AnyResponse]) -> tuple[_Asked, dict[int, AnyResponse]]:
        """What must be asked of a chunk, and what is known of it."""
        keys = [self._key(request.kind.value, request) for request in chunk.requests]
        call = hashlib.blake2b(b"".join(key or b"?" for key in keys), digest_size=_CALL_BYTES).digest()
        known = self._known(keys, call, kind)
        missing = [position for position in range(len(keys)) if position not in known]
        return _Asked(chunk=chunk, keys=keys, call=call, positions=missing), known

    def _known(self, keys: Sequence[bytes | None], call: bytes, kind: type[AnyResponse]) -> dict[int, AnyResponse]:
        """The responses that are taken from the cache, by position.

        Of a chunk all or none, and only those of the same chunk: what runs together changes the last digits. Of an engine that decides
        itself what runs together, all that there are.
        """
        places = {key: position for position, key in enumerate(keys) if key is not None}
        alone = batches_itself(self.inner)
        if not alone and len(places) < len(keys):
            return {}
        known = {}
        for found in self._store.find(list(places), call, any_call=alone):
            response = _decode(found.value, kind)
            if response is not None:
                known[places[found.key]] = response
        return known if alone or len(known) == len(keys) else {}

    def _recall(self, what: str, subject: object, kind: type[Fact], ask: Callable[[], Fact | None]) -> Fact | None:
        """A small fact about the model, from the cache or from the inner backend. None is no fact, and is not cached."""
        fact = self._find_fact(what, subject, kind)
        if fact is None and (fact := ask()) is not None:
            self._write(self._key(what, subject), b"", fact)
        return fact

    def _find_fact(self, what: str, subject: object, kind: type[Fact]) -> Fact | None:
        key = self._key(what, subject)
        return next((_decode(found.value, kind) for found in self._store.find([key] if key else [], b"")), None)

    def _write(self, key: bytes | None, call: bytes, answer: object) -> None:
        encoded = _encode(answer)
        if key is not None and encoded is not None:
            self._store.write(key, call, encoded)

    def _key(self, what: str, subject: object) -> bytes | None:
        """SHA-256 of all that an answer depends on. None: it cannot be encoded."""
        encoded = _encode((what, subject))
        if encoded is None:
            return None
        key = self._base.copy()
        key.update(encoded)
        return key.digest()

    @cached_property
    def _base(self) -> hashlib._Hash:
        """The part that all keys begin with."""
        source, here = environment_key()
        parts = (source, hardware_of(self.inner) or here, self.name, self.inner.fingerprint, cached_apart(self.inner), self._repeat)
        return hashlib.sha256(msgspec.msgpack.encode(parts))


def _encode(value: object) -> bytes | None:
    """As bytes. None: it has none, such as a text with half of a surrogate pair, or a number that is too large."""
    try:
        return msgspec.msgpack.encode(value, enc_hook=str)
    except (UnicodeEncodeError, OverflowError):
        return None


def _decode(value: bytes, kind: type[Fact]) -> Fact | None:
    """None: the bytes are no value of this type."""
    try:
        return msgspec.msgpack.decode(value, type=kind)
    except msgspec.MsgspecError:
        return None
