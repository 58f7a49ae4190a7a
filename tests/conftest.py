"""What holds for all tests: they keep nothing in the cache of whoever runs them."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fixtures of a session are older: the real model, made by one, keeps its conversion in the user's cache."""
    monkeypatch.setenv("LIGHTEVAL_CACHE", str(tmp_path / "user-cache"))
