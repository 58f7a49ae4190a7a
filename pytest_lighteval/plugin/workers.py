"""What the workers of pytest-xdist get from their controller, and how many of them there are. Works the same in one process."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

_START = "lighteval_start"
_NEWEST_ANSWER = "lighteval_newest_answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """When a session started, the same in the controller and in its workers: the run's folder and the day of waivers follow from it."""

    time: datetime
    """In UTC."""
    token: str
    """Six random hex digits, so that no two runs share a folder."""


_STASHED = pytest.StashKey[Start]()


def start_of(config: pytest.Config) -> Start:
    """The session's start: the controller's, else fixed at the first call."""
    if _STASHED not in config.stash:
        time, _, token = getattr(config, "workerinput", {}).get(_START, "").partition(" ")
        config.stash[_STASHED] = (
            Start(time=datetime.fromisoformat(time), token=token) if token else Start(time=datetime.now(UTC), token=secrets.token_hex(3))
        )
    return config.stash[_STASHED]


def hand_start(node: Any) -> None:
    """Give a worker that is about to start the session's start."""
    start = start_of(node.config)
    node.workerinput[_START] = f"{start.time.isoformat()} {start.token}"


def hand_newest_answer(node: Any, newest: int | None) -> None:
    """Give a worker that is about to start the newest answer that it may find in the cache."""
    node.workerinput[_NEWEST_ANSWER] = newest


def may_use_cache(config: pytest.Config) -> bool:
    """Whether it is known which answers this process may find: not in a worker whose controller did not evaluate models at its start."""
    return not is_worker(config) or _NEWEST_ANSWER in getattr(config, "workerinput", {})


def newest_answer_of_controller(config: pytest.Config) -> int | None:
    """The newest answer that this worker may find in the cache. None: this process is the controller, or there is no cache."""
    newest: int | None = getattr(config, "workerinput", {}).get(_NEWEST_ANSWER)
    return newest


def is_worker(config: pytest.Config) -> bool:
    """Whether xdist's controller started this process."""
    return hasattr(config, "workerinput")


def is_controller(config: pytest.Config) -> bool:
    """Whether workers of xdist run this session's items. xdist starts none under `--collect-only`."""
    return not is_worker(config) and config.getoption("dist", "no") != "no" and not config.getoption("collectonly")


def worker_count(config: pytest.Config) -> int:
    """Processes that evaluate in this session, 1 without xdist."""
    workers = getattr(config, "workerinput", {}).get("workercount") or config.getoption("numprocesses", None)
    return workers if isinstance(workers, int) and workers > 0 else 1
