"""The session's cache of answers: one store for the process, around every backend that may be cached, and how often it had the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pytest_lighteval.backends.cache.answer_store import AnswerStore, newest_number
from pytest_lighteval.backends.cache.cached_backend import CachedBackend
from pytest_lighteval.backends.chunked import chunked
from pytest_lighteval.backends.protocol import is_cacheable
from pytest_lighteval.plugin.settings import CacheSettings
from pytest_lighteval.types import Backend


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheUse:
    """How many answers came from the cache in a stretch of the session."""

    hits: int = 0
    recalled: int = 0
    """Of the hits, those that another session computed; the others are equal requests of one call."""
    misses: int = 0
    problem: str | None = None
    """Why the cache is not used any more. None: it is used."""


class SessionCache:
    """The file is opened at the first evaluation of a process, and closed when the session ends.

    Args:
        settings: None means that nothing is cached.
        newest: The newest answer that this process may find. None: this process decides.
        on_close: Takes a function that is to be called when the session ends.
    """

    def __init__(self, settings: CacheSettings | None, *, newest: int | None, on_close: Callable[[Callable[[], None]], object]) -> None:
        self._settings = settings
        self._newest = newest
        self._on_close = on_close
        self._store: AnswerStore | None = None
        self._around: dict[tuple[int, int, tuple[int, int] | None], CachedBackend] = {}
        """By identity of the inner backend, which lives as long as what is around it, repeat, and share."""
        self._taken = CacheUse()

    def around(self, backend: Backend, *, repeat: int = 0, share: tuple[int, int] | None = None) -> Backend:
        """The backend, asked in chunks and with a cache, the same one each time; without one, if nothing is cached or it may not be.

        Answers of one `repeat` never serve another: they measure how much a model differs from itself.
        """
        if self._settings is None or not is_cacheable(backend):
            return chunked(backend, share=share)
        if self._store is None:
            self._store = AnswerStore(self._settings.folder, limit_bytes=self._settings.limit_bytes, newest=self._newest)
            self._on_close(self._store.close)
        key = id(backend), repeat, share
        if key not in self._around:
            self._around[key] = CachedBackend(backend, self._store, repeat=repeat, share=share)
        return self._around[key]

    def take_use(self) -> CacheUse:
        """What was found and computed since this was last asked."""
        counts = {name: sum(getattr(cached, name) for cached in self._around.values()) for name in ("hits", "recalled", "misses")}
        problem = self._store.problem if self._store is not None else None
        use = CacheUse(**{name: count - getattr(self._taken, name) for name, count in counts.items()}, problem=problem)
        self._taken = CacheUse(**counts)
        return use

    def newest_answer(self) -> int | None:
        """The newest answer when this was first asked, up to which workers may look. None: nothing is cached."""
        if self._newest is None and self._settings is not None:
            # kept, as a worker that takes a dead one's place must see no more than that one did
            self._newest = newest_number(self._settings.folder)
        return self._newest
