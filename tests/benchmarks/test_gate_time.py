"""The command that times judging does the work of which it prints the time."""

from __future__ import annotations

import pytest

from benchmarks import gate_time


def test_every_step_has_its_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(gate_time, "MMLU", 150)

    assert gate_time.main(["--pool", "600"]) == 0

    lines = [line.split(" s  ")[1] for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "the test and the bounds of 150 graded documents",
        "the whole gate: aligned with the baseline, tested, its changes listed",
        "the documents of the pool aligned",
        "each row taken once",
        "the test and the bounds of 600 graded documents",
    ]
