"""The benchmark of a device runs in its small form on the CPU, and one step's failure spares the others."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import device, device_steps
from benchmarks.device_kit import Kit, Row, Settings

SMALL = Settings(device="cpu", small=True, data_home=None, deadline=time.time() + 3600)


def test_every_step_on_a_model_measures_something_on_a_cpu(tmp_path: Path) -> None:
    for part in ("qwen-fp32", "qwen-bf16"):
        device.run_part(part, SMALL, tmp_path / "out.json")
        found = json.loads((tmp_path / "out.json").read_text())
        text = device.text_of({part: found})

        assert "FAILED" not in text, text
        assert {row[0] for row in found["rows"]} >= ({"texts", "memory"} if part == "qwen-fp32" else {"kernels", "throughput", "time"})
        if part == "qwen-fp32":
            assert found["figures"]["mmlu_largest_difference"] < 1e-3
            assert found["figures"]["texts_equal"] == [3, 3]
        else:
            assert set(found["figures"]) >= {"mmlu", "hellaswag-10", "gsm8k", "profile"}
            assert found["figures"]["mmlu"]["requests"] == 3


def test_a_step_that_fails_is_a_line_and_the_next_one_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(kit: Kit) -> Iterator[Row]:
        yield Row(step="first", what="before", measured="1")
        raise RuntimeError("no such kernel\non this device")

    def works(kit: Kit) -> Iterator[Row]:
        yield Row(step="second", what="after", measured="2")

    monkeypatch.setattr(device_steps, "scores_against_single_rows", fails)
    for name in ("texts_against_generate", "memory_runs_out", "memory_given_back"):
        monkeypatch.setattr(device_steps, name, works)
    device.run_part("qwen-fp32", SMALL, tmp_path / "out.json")

    rows: list[Any] = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert rows[:2] == [["first", "before", "1"], ["fails", "Qwen3-0.6B, float32", "FAILED: RuntimeError: no such kernel on this device"]]
    assert rows[2:] == [["second", "after", "2"]] * 3


def test_what_is_not_done_in_time_is_named(tmp_path: Path) -> None:
    late = Settings(device="cpu", small=True, data_home=None, deadline=time.time() - 1)

    results = device.measure(late, ["machine", "llama-bf16"])

    assert [part["rows"][0][2] for part in results.values()] == ["left out: the time is over"] * 2


def test_the_page_has_a_place_for_the_table() -> None:
    text = device.DOCUMENT.read_text("utf-8")

    assert (text.count(device.BEGIN), text.count(device.END)) == (1, 1)
