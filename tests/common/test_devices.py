"""The GPUs that a process may use, with and without CUDA_VISIBLE_DEVICES and a driver."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_lighteval.common.devices import count_gpus, visible_gpus


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        pytest.param("0,1, 2", ["0", "1", "2"], id="indices"),
        pytest.param("GPU-8f1a,MIG-2c,", ["GPU-8f1a", "MIG-2c"], id="names"),
        pytest.param("", [], id="none"),
        pytest.param("-1", [], id="hidden"),
    ],
)
def test_visible_gpus_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch, visible: str, expected: list[str]) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert visible_gpus(lambda: 8) == expected


def test_without_the_variable_all_gpus_are_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    assert visible_gpus(lambda: 3) == ["0", "1", "2"]


@pytest.mark.skipif(os.name == "nt", reason="the tool is a shell script here")
@pytest.mark.parametrize(("script", "count"), [("echo 'GPU 0: X'; echo '  MIG 1g'; echo 'GPU 1: X'", 2), ("echo GPU 0; exit 9", 0)])
def test_gpus_are_counted_by_the_drivers_tool_unless_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, count: int
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert count_gpus() == count


def test_without_the_drivers_tool_there_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert count_gpus() == 0
