"""Red gates between sessions, in pytest's own cache: what `--lf` and `--ff` ask again, and what a second attempt is held against.

A superset and the pooled test are no items, so `--lf` does not know them. Their tasks are kept among pytest's last failures instead.
A missing task has no item at all: it stays open until the suite declares it, or the baseline does not hold it any more.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec
import pytest

from pytest_lighteval.gates.judge import Judge
from pytest_lighteval.gates.red_gates import RETRIED, RedGate, RedGates, after_session
from pytest_lighteval.gates.session_reports import SessionReport
from pytest_lighteval.gates.session_verdicts import POOLED
from pytest_lighteval.plugin.environment import environment
from pytest_lighteval.types import TaskKey, Verdict

_RED = "lighteval/red_gates"
_LAST_FAILED = "cache/lastfailed"
_CONTINUES = ("lf", "failedfirst", "stepwise")
"""Options of a session that asks again what failed before."""


class _Kept(msgspec.Struct):
    """The content of the cache."""

    gates: dict[str, RedGate] = {}
    tasks: dict[str, list[str]] = {}
    """A superset, or the pooled test, that failed -> ids of its items."""
    missing: list[str] = []
    """Keys of tasks that the baseline holds and that vanished from their suite."""


def red_gates(config: pytest.Config, *, allowed: Iterable[str]) -> RedGates:
    """What earlier sessions found red, if this session continues them; the same in every worker."""
    cache = _cache(config)
    if cache is None or not continues(config):
        return RedGates()
    return RedGates(environment=_environment(), by_name=_read(cache).gates, is_allowed=RETRIED in allowed)


def continues(config: pytest.Config) -> bool:
    """Whether this session asks again what failed before."""
    return any(config.getoption(name, None) for name in _CONTINUES)


def open_missing(config: pytest.Config) -> frozenset[str]:
    """Keys of the tasks that earlier sessions found missing."""
    cache = _cache(config)
    return frozenset() if cache is None else frozenset(_read(cache).missing)


@dataclass(slots=True, kw_only=True)
class RedSession:
    """What a session found, to be kept for the next one. Used in the controller."""

    judge: Judge
    ids: dict[str, str] = field(default_factory=dict)
    """Task key -> id of its item."""
    failed: dict[str, bool] = field(default_factory=dict)
    """Supersets and the pooled test that were judged -> whether they failed."""
    missing: list[str] | None = None
    """Keys of the tasks that are missing now. None: the session has no baseline to tell."""

    def note_reports(self, reports: Iterable[SessionReport]) -> None:
        """Remember which supersets failed, for whatever reason."""
        self.failed |= {report.name: report.problem is not None for report in reports}

    def keep(self, config: pytest.Config, verdicts: Mapping[str, tuple[Verdict, ...]], *, model: str | None) -> None:
        """Write it into pytest's cache, after pytest wrote its last failures."""
        cache = _cache(config)
        if cache is None or config.getoption("cacheshow", None):
            return
        before = _read(cache)
        gates = before.gates if model is None else after_session(before.gates, verdicts, model=model, environment=_environment())
        tasks = dict(before.tasks)
        for name, has_failed in self.failed.items():
            ids = [self.ids[str(key)] for key in self._members(name) if str(key) in self.ids]
            if not has_failed:
                tasks.pop(name, None)
            elif ids:
                tasks[name] = ids
        kept = _Kept(gates=gates, tasks=tasks, missing=before.missing if self.missing is None else self.missing)
        if kept != before:
            cache.set(_RED, msgspec.to_builtins(kept))
        last_failed = cache.get(_LAST_FAILED, {})
        more = {nodeid: True for ids in tasks.values() for nodeid in ids if nodeid not in last_failed}
        if more:
            cache.set(_LAST_FAILED, {**last_failed, **more})

    def _members(self, name: str) -> list[TaskKey]:
        if name == POOLED:
            plan = self.judge.plan
            return [] if plan is None else [key for gate in plan.gates for key in gate.members or (gate.key,)]
        return [key for key, _ in self.judge.items if str(key.superset) == name]


def _cache(config: pytest.Config) -> pytest.Cache | None:
    """Pytest's cache. None: it is switched off (`-p no:cacheprovider`)."""
    cache: pytest.Cache | None = getattr(config, "cache", None)
    return cache


def _read(cache: pytest.Cache) -> _Kept:
    try:
        return msgspec.convert(cache.get(_RED, {}), _Kept)
    except msgspec.ValidationError:  # of another version
        return _Kept()


def _environment() -> str:
    return hashlib.sha256(json.dumps(environment(), sort_keys=True).encode()).hexdigest()[:16]
