"""The end of engines that share a process: none takes what another one still needs."""

from __future__ import annotations

import weakref
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_lighteval.backends.vllm import local_engine as starting


class _Engine:
    """As much of an `LLM` as is looked at when it ends."""

    def __init__(self, name: str, told: list[str], *, in_this_process: bool = True) -> None:
        inner = {"engine_core": object()} if in_this_process else {}
        core: Any = SimpleNamespace(shutdown=lambda: told.append(f"stop {name}"), **inner)
        self.llm_engine = SimpleNamespace(engine_core=core)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happens, in order."""
    told: list[str] = []
    monkeypatch.setattr(starting, "_ENDED", [])
    monkeypatch.setattr(starting, "_ALIVE", weakref.WeakSet())
    monkeypatch.setattr(starting, "free_memory", lambda: told.append("free"))
    return told


def test_an_engine_alone_is_stopped_at_once(told: list[str]) -> None:
    engine = _Engine("first", told)
    starting._ALIVE.add(engine)

    starting._end_engines([engine])

    assert told == ["stop first", "free"]


def test_an_engine_beside_another_one_waits_for_its_end(told: list[str]) -> None:
    first, second = (_Engine(name, told) for name in ("first", "second"))
    starting._ALIVE.update((first, second))

    starting._end_engines([second])
    assert told == []
    starting._end_engines([first])

    assert sorted(told[:2]) == ["stop first", "stop second"]
    assert told[2:] == ["free"]


def test_a_users_engine_counts_until_its_owner_lets_it_go(told: list[str]) -> None:
    theirs, ours = (_Engine(name, told) for name in ("theirs", "ours"))
    starting._ALIVE.update((theirs, ours))
    starting._end_engines([ours])
    assert told == []

    del theirs
    starting._end_engines([])  # as the next one does that is started

    assert told == ["stop ours", "free"]


def test_where_nothing_was_put_by_nothing_is_taken_down(told: list[str]) -> None:
    starting._end_engines([])

    assert told == []


def test_an_engine_in_a_process_of_its_own_waits_for_nobody(told: list[str]) -> None:
    here, elsewhere = _Engine("here", told), _Engine("elsewhere", told, in_this_process=False)
    starting._ALIVE.add(here)

    starting._end_engines([elsewhere])

    assert told == ["stop elsewhere"]
    starting._end_engines([here])
