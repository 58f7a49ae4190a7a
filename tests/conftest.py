"""Settings of this repository's own tests: no deadlines, and nothing kept in the cache of whoever runs them."""

from __future__ import annotations

import contextlib
import importlib
from pathlib import Path

import pytest
from hypothesis import settings

# a session inside of a test forgets what it has imported first, and httpx would go on with the errors of an httpcore that is gone
with contextlib.suppress(ImportError):
    for name in ("httpx", "httpcore"):
        importlib.import_module(name)

# a slow machine is no failure
settings.register_profile("timeless", deadline=None)
settings.load_profile("timeless")


@pytest.fixture(autouse=True)
def _private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fixtures of a session are older: the real model, made by one, keeps its conversion in the user's cache."""
    monkeypatch.setenv("LIGHTEVAL_CACHE", str(tmp_path / "user-cache"))


@pytest.fixture(autouse=True)
def _no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session inside of a test is nobody's worker, though the test may run in one."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
