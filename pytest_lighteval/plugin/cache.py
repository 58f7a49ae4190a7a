"""The session's memory of answers: one store for the process, around every backend that may be cached, and how much it served."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from pytest_lighteval.backends.cache.answer_store import AnswerStore, newest_number
from pytest_lighteval.backends.cache.cached_backend import CachedBackend
from pytest_lighteval.backends.protocol import is_cacheable
from pytest_lighteval.plugin.session import plan_of
from pytest_lighteval.plugin.xdist_hooks import newest_answer_of_controller
from pytest_lighteval.types import Backend


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheUse:
    """What a stretch of the session took from memory."""

    hits: int = 0
    misses: int = 0
    problem: str | None = None
    """Why nothing is found or kept any more. None: all is well."""


class SessionCache:
    """Made at the first evaluation of a process; its file is closed when the session ends."""

    def __init__(self, config: pytest.Config) -> None:
        self._settings = plan_of(config).settings.cache
        self._config = config
        self._store: AnswerStore | None = None
        self._around: dict[tuple[int, int], CachedBackend] = {}
        """By identity of the inner backend, which lives as long as what is around it, and repeat."""
        self._told = CacheUse()

    def around(self, backend: Backend, *, repeat: int = 0) -> Backend:
        """The backend with a memory, the same one each time; itself, if nothing is to be kept or it may not be cached.

        Answers of one `repeat` never serve another: for measuring how much a model differs from itself.
        """
        if self._settings is None or not is_cacheable(backend):
            return backend
        if self._store is None:
            newest = newest_answer_of_controller(self._config)
            self._store = AnswerStore(self._settings.folder, limit_bytes=self._settings.limit_bytes, newest=newest)
            self._config.add_cleanup(self._store.close)
        key = id(backend), repeat
        if key not in self._around:
            self._around[key] = CachedBackend(backend, self._store, repeat=repeat)
        return self._around[key]

    def take_use(self) -> CacheUse:
        """What was served since the last time that this was asked."""
        hits, misses = (sum(getattr(cached, count) for cached in self._around.values()) for count in ("hits", "misses"))
        problem = self._store.problem if self._store is not None else None
        use = CacheUse(hits=hits - self._told.hits, misses=misses - self._told.misses, problem=problem)
        self._told = CacheUse(hits=hits, misses=misses)
        return use


_CACHE = pytest.StashKey[SessionCache]()
_NEWEST = pytest.StashKey[int]()


def cache_of(config: pytest.Config) -> SessionCache:
    """The process's memory, made on first use."""
    if _CACHE not in config.stash:
        config.stash[_CACHE] = SessionCache(config)
    return config.stash[_CACHE]


def newest_answer(config: pytest.Config) -> int | None:
    """In the controller: the newest answer at the start of the session, up to which its workers may look. None: nothing is kept."""
    cache = plan_of(config).settings.cache
    if cache is None:
        return None
    if _NEWEST not in config.stash:  # a worker that takes a dead one's place must see no more than that one did
        config.stash[_NEWEST] = newest_number(cache.folder)
    return config.stash[_NEWEST]
