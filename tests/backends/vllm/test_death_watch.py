"""An engine's own process is killed: who waits for it is woken, with a stand-in for vLLM's client."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_lighteval.backends.vllm.death_watch import DeathWatch

PATIENCE = 60
"""Seconds, far more than a look takes."""


@pytest.fixture
def client() -> Iterator[SimpleNamespace]:
    """As far as it is looked at."""
    core = SimpleNamespace(resources=SimpleNamespace(engine_dead=False), outputs_queue=queue.Queue(), utility_results={})
    watch = DeathWatch(core)
    # calls are made after the watch has begun
    core.utility_results[1] = Future()
    yield core
    watch.close()
    watch.close()


def test_a_death_reaches_who_waits_for_answers_and_for_calls(client: SimpleNamespace) -> None:
    answered: Future[Any] = Future()
    answered.set_result("before")
    client.utility_results[2] = answered

    client.resources.engine_dead = True

    assert isinstance(client.outputs_queue.get(timeout=PATIENCE), RuntimeError)
    assert isinstance(client.utility_results[1].exception(timeout=PATIENCE), RuntimeError)
    assert answered.result() == "before"


def test_a_living_engine_and_one_in_this_process_are_left_alone(client: SimpleNamespace) -> None:
    with pytest.raises(queue.Empty):
        client.outputs_queue.get(timeout=1.2)
    assert not client.utility_results[1].done()
    DeathWatch(SimpleNamespace()).close()
    DeathWatch(None).close()
