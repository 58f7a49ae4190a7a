"""How much memory was in use."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from pytest_lighteval.backends.accelerate.memory import peak_memory


@pytest.mark.parametrize(("platform", "expected"), [("linux", 3 * 1024), ("darwin", 3)])
def test_peak_memory_is_in_bytes_on_linux_and_on_macos(monkeypatch: pytest.MonkeyPatch, platform: str, expected: int) -> None:
    monkeypatch.setattr("resource.getrusage", lambda who: SimpleNamespace(ru_maxrss=3))
    monkeypatch.setattr("sys.platform", platform)

    assert peak_memory(torch.device("cpu")) == expected
