"""The end of engines that share a process: none takes what another one still needs."""

from __future__ import annotations

import weakref
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_lighteval.backends.vllm import local_engine


class _Engine:
    """As much of an `LLM` as is looked at when it ends."""

    def __init__(self, name: str, stopped: list[str], *, in_this_process: bool = True) -> None:
        inner = {"engine_core": object()} if in_this_process else {}
        core: Any = SimpleNamespace(shutdown=lambda: stopped.append(f"stop {name}"), **inner)
        self.llm_engine = SimpleNamespace(engine_core=core)


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happens, in order."""
    stopped: list[str] = []
    monkeypatch.setattr(local_engine, "_ENDED", [])
    monkeypatch.setattr(local_engine, "_ALIVE", weakref.WeakSet())
    monkeypatch.setattr(local_engine, "free_memory", lambda: stopped.append("free"))
    return stopped


def test_an_engine_alone_is_stopped_at_once(stopped: list[str]) -> None:
    engine = _Engine("first", stopped)
    local_engine._ALIVE.add(engine)

    local_engine._end_engines([engine])

    assert stopped == ["stop first", "free"]


def test_an_engine_beside_another_one_waits_for_its_end(stopped: list[str]) -> None:
    first, second = (_Engine(name, stopped) for name in ("first", "second"))
    local_engine._ALIVE.update((first, second))

    local_engine._end_engines([second])
    assert stopped == []
    local_engine._end_engines([first])

    assert sorted(stopped[:2]) == ["stop first", "stop second"]
    assert stopped[2:] == ["free"]


def test_a_users_engine_counts_until_the_user_drops_it(stopped: list[str]) -> None:
    theirs, ours = (_Engine(name, stopped) for name in ("theirs", "ours"))
    local_engine._ALIVE.update((theirs, ours))
    local_engine._end_engines([ours])
    assert stopped == []

    del theirs
    local_engine._end_engines([])  # as the next one does that is started

    assert stopped == ["stop ours", "free"]


def test_without_a_waiting_engine_nothing_is_stopped(stopped: list[str]) -> None:
    local_engine._end_engines([])

    assert stopped == []


def test_an_engine_in_another_process_is_stopped_at_once(stopped: list[str]) -> None:
    here, elsewhere = _Engine("here", stopped), _Engine("elsewhere", stopped, in_this_process=False)
    local_engine._ALIVE.add(here)

    local_engine._end_engines([elsewhere])

    assert stopped == ["stop elsewhere"]
    local_engine._end_engines([here])
