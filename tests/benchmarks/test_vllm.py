"""The page of the vLLM benchmark: what is measured goes into its place, and nothing else on the page moves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import vllm as benchmark
from pytest_lighteval.types import GenerateResponse, LoglikelihoodResponse


def measured(**changes: Any) -> dict[str, Any]:
    """One row as it is measured."""
    return {
        "task": "leaderboard|gsm8k|5",
        "documents": 4,
        "metric": "qem",
        "seconds": {"ours": [2.0, 4.0, 3.0], "lm-eval": [9.0, 8.0, 30.0]},
        "waited": {"ours": [20.0], "lm-eval": [90.0]},
        "tokens": {"ours": 1200, "lm-eval": 1300},
        "scores": {"ours": 0.25, "lm-eval": 0.25},
        "largest_difference": None,
        "agree": True,
        **changes,
    }


def test_a_row_shows_the_median_of_every_side_and_how_many_times_it_is() -> None:
    line = benchmark._table({"gsm8k": measured()}).splitlines()[2]

    assert [part.strip() for part in line.replace("\\|", "/").strip("|").split("|")] == [
        *("leaderboard/gsm8k/5", "4", "3.0 (2.0, 4.0, 3.0)", "9.0 (9.0, 8.0, 30.0)", "3.0", "1,200, 1,300", "20.0, 90.0"),
        *("qem 0.2500", "qem 0.2500", "same texts"),
    ]


def test_writing_replaces_the_table_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{benchmark._BEGIN}\nold\n{benchmark._END}\nafter\n", "utf-8")
    monkeypatch.setattr(benchmark, "DOCUMENT", page)

    benchmark._write({"setting": "a machine", "rows": {"gsm8k": measured()}})

    text = page.read_text("utf-8")
    assert text.startswith(f"before\n{benchmark._BEGIN}\n\n| task")
    assert text.endswith(f"a machine.\n\n{benchmark._END}\nafter\n")
    assert "old" not in text


def test_answers_that_differ_are_reported() -> None:
    ours, theirs = LoglikelihoodResponse(logprobs=(-1.0, -2.0)), LoglikelihoodResponse(logprobs=(-1.0, -2.5))
    text, other = GenerateResponse(texts=("a",)), GenerateResponse(texts=("b",))

    assert benchmark._compare([ours], [ours]) == (0.0, True)
    assert benchmark._compare([ours], [theirs]) == (0.5, False)
    assert benchmark._compare([text], [text]) == (None, True)
    assert benchmark._compare([text], [other]) == (None, False)
