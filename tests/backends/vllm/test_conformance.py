"""The vLLM backend held to the protocol, on an engine with vLLM's interface and pitfalls; `test_vllm.py` does it on the real one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pytest_lighteval.backends.vllm import VllmBackend
from pytest_lighteval.backends.vllm.runner import Abilities
from pytest_lighteval.testing import BackendConformance
from pytest_lighteval.types import Backend
from tests.backends.tiny import tiny_model, tiny_tokenizer
from tests.backends.vllm.fake_vllm import FakeLLM, FakeRunning


class _OnAStandIn(VllmBackend):
    """Around an engine that runs, without asking vLLM for its classes."""

    packages = ("transformers",)
    abilities = Abilities(reads_cache=True, names_tokens=True)

    def _start(self) -> FakeRunning:
        assert self._given is not None
        return FakeRunning(self._given, max_model_len=128, abilities=self.abilities)


class _Plain(_OnAStandIn):
    """On a version that knows no fast way."""

    abilities = Abilities()


class TestFastWays(BackendConformance):
    """Prefixes out of the cache, and choices by name."""

    kind: type[_OnAStandIn] = _OnAStandIn

    @pytest.fixture(scope="class")
    @classmethod
    def llm(cls) -> Any:
        """The engine."""
        return FakeLLM(tiny_model(max_length=128), tiny_tokenizer())

    @pytest.fixture
    def backend(self, llm: Any) -> Iterator[Backend]:
        """On an engine that has no prompts left."""
        backend = self.kind.from_engine(llm)
        yield backend
        backend.close()
        assert not llm.waiting

    @pytest.fixture
    def new_backend(self, llm: Any) -> Callable[[], Backend]:
        """Another one, to be closed."""
        return lambda: self.kind.from_engine(llm)


class TestPlainWays(TestFastWays):
    """Every prompt as a whole."""

    kind = _Plain
