"""Mathematical comparison in its own process: right, bounded in time, and gone when it is not needed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from math_verify import verify

from pytest_lighteval.errors import LightevalError
from pytest_lighteval.metrics import math_process
from pytest_lighteval.metrics.math_process import MathAnswer, MathProcess, Target
from tests.metrics.differences import COMPARISONS
from tests.metrics.golden import read_lines
from tests.shared import needs_shared

ENDLESS = r"$123456789^{987654321}$"


@needs_shared
def test_expressions_are_compared_as_recorded() -> None:
    def read(line: dict[str, Any], side: str) -> Any:
        return pytest.importorskip("sympy").sympify(line[f"{side}_sympy"]) if f"{side}_sympy" in line else line[f"{side}_str"]

    lines = [line for line in read_lines("class_level") if line.get("function") == "compare_gold_target"]
    compared = [line for line in lines if (line.get("gold_sympy"), line.get("pred_sympy")) not in COMPARISONS]
    equal = [verify(read(line, "gold"), read(line, "pred"), float_rounding=line["precision"], timeout_seconds=None) for line in compared]

    assert equal == [line["value"] for line in compared]
    assert len(lines) - len(compared) == 3 * len(COMPARISONS)


@pytest.fixture
def process() -> Iterator[MathProcess]:
    worker = MathProcess(cpu_seconds=1)
    yield worker
    worker.close()


def equal(process: MathProcess, golds: Sequence[str], text: str, *, text_targets: Sequence[Target] = ("expr", "latex_boxed_first")) -> bool:
    return process.compare(golds, text, gold_targets=["latex"], text_targets=text_targets, precision=5).equal


def test_answers_are_compared_by_what_they_mean(process: MathProcess) -> None:
    assert equal(process, [r"$\frac{1}{2}$"], "The answer is 0.5")
    assert equal(process, [r"$\frac{1}{3}$"], r"$\boxed{0.33333}$")
    assert equal(process, ["$7$", "$8$"], "8")
    assert not equal(process, [r"$\frac{1}{2}$"], "The answer is 0.6")
    assert not equal(process, ["$5$"], "")


def test_what_takes_too_long_is_not_equal_and_costs_one_comparison(process: MathProcess) -> None:
    assert equal(process, ["$5$"], "5")
    first = process.pid

    assert not equal(process, [ENDLESS], r"$\boxed{123456789^{987654321}+1}$")
    assert process.pid is None
    assert equal(process, ["$5$"], "5")
    assert process.pid not in (None, first)


def test_a_killed_worker_costs_one_comparison(process: MathProcess) -> None:
    assert equal(process, ["$5$"], "5")
    assert process.pid is not None
    os.kill(process.pid, 9)

    equal(process, ["$5$"], "5")

    assert equal(process, ["$5$"], "5")


def test_a_text_longer_than_a_pipe_holds_arrives_whole(process: MathProcess) -> None:
    assert equal(process, ["$5$"], "word " * 40_000 + r"$\boxed{5}$", text_targets=["latex_boxed_first"])


def test_a_closed_process_is_gone_and_starts_again_at_need(process: MathProcess) -> None:
    assert equal(process, ["$5$"], "5")
    pid = process.pid
    process.close()
    process.close()

    assert pid is not None
    assert not Path(f"/proc/{pid}").exists()
    assert equal(process, ["$5$"], "5")


def test_no_worker_outlives_its_parent() -> None:
    program = (
        "from pytest_lighteval.metrics import math_process as m\n"
        "m.compare(('$1$',), '1', gold_targets=('latex',), text_targets=('expr',), precision=5)\n"
        "print(m._PROCESS.pid, flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)

    assert done.stderr == ""
    assert not Path(f"/proc/{int(done.stdout)}").exists()


def test_a_worker_notices_that_its_parent_was_killed() -> None:
    program = (
        "import os\n"
        "from pytest_lighteval.metrics import math_process as m\n"
        "m.compare(('$1$',), '1', gold_targets=('latex',), text_targets=('expr',), precision=5)\n"
        "print(m._PROCESS.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    status = Path(f"/proc/{int(done.stdout)}/stat")

    for _ in range(200):
        if not status.exists() or status.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return
        subprocess.run(["sleep", "0.02"], check=True)
    pytest.fail("the worker is still there")


def test_a_library_that_cannot_be_imported_is_an_error_and_no_wrong_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "math_verify.py").write_text("raise ImportError('antlr4 is of another version')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    process = MathProcess()

    with pytest.raises(LightevalError, match="math-verify is installed and cannot be used: ImportError: antlr4 is of another version"):
        process.compare(["1"], "1", gold_targets=("expr",), text_targets=("expr",), precision=5)

    assert process.pid is None


def test_answers_are_remembered_by_a_digest_and_not_with_their_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Process:
        def compare(self, golds: Sequence[str], text: str, **_: Any) -> MathAnswer:
            asked.append(text)
            return MathAnswer(equal=text == golds[0])

    monkeypatch.setattr(math_process, "_PROCESS", Process())
    monkeypatch.setattr(math_process, "_ANSWERS", {})
    monkeypatch.setattr(math_process, "_MOST_ANSWERS", 2)
    texts = ["1", "2", "2", "1", "3", "1"]

    equal = [math_process.compare(("1",), text, gold_targets=("expr",), text_targets=("expr",), precision=5).equal for text in texts]

    assert equal == [text == "1" for text in texts]
    assert asked == ["1", "2", "3", "1"]
    assert [len(key) for key in math_process._ANSWERS] == [32, 32]


def test_the_answer_in_a_text_is_told(process: MathProcess) -> None:
    def found(text: str) -> str | None:
        return process.compare(["7"], text, gold_targets=["expr"], text_targets=["expr", "latex_boxed_first"], precision=5).found

    assert found("So $x = 3$ and the answer is $\\boxed{7.0}$.") == "7.0"
    assert found("I do not know.") is None
