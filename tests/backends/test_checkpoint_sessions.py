"""Sessions over checkpoints of real, tiny models: three saved by transformers, and nanotron's own layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import pytest_lighteval.backends.accelerate.engine
import pytest_lighteval.backends.nanotron.conversion
import pytest_lighteval.evaluate
import pytest_lighteval.plugin.active
from pytest_lighteval.backends.accelerate.backend import AccelerateBackend
from tests.backends.nanotron.nanotron_layout import write_checkpoint
from tests.backends.tiny import tiny_model, tiny_tokenizer
from tests.plugin.conftest import write_mini

# what sessions inside of this process import themselves, pytester throws away; torch does not survive that
pytestmark = pytest.mark.series


@pytest.fixture(autouse=True)
def _only_when_asked(request: pytest.FixtureRequest) -> None:
    if "series" not in request.config.option.markexpr:
        pytest.skip("takes a quarter of a minute: -m series")


LIVE_ON = (
    torch,
    transformers,
    pytest_lighteval.backends.accelerate.engine,
    pytest_lighteval.backends.nanotron.conversion,
    pytest_lighteval.evaluate,
    pytest_lighteval.plugin.active,
)
CHOICE = ("suites", "-k", "choice and 0-shot", "--no-cache", "--max-samples", "12")


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """The suite `mini`."""
    monkeypatch.setenv("COLUMNS", "400")
    write_mini(pytester.path / "suites" / "mini")
    return pytester


def history_of(folder: Path) -> list[dict[str, Any]]:
    (path,) = folder.glob("reports/2*/history.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_three_checkpoints_score_what_each_scores_alone_with_one_engine_at_a_time(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed, step in enumerate((8, 16, 100)):
        folder = project.path / "run" / f"step-{step}"
        tiny_model(seed=seed).save_pretrained(folder)
        tiny_tokenizer().save_pretrained(folder)
    half = project.path / "run" / "step-200"
    tiny_model(seed=3).save_pretrained(half)
    weights = half / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    open_engines: list[object] = []
    close = AccelerateBackend.close

    def note_close(backend: AccelerateBackend) -> None:
        if backend in open_engines:
            open_engines.remove(backend)
        close(backend)

    def note_open(backend: AccelerateBackend, *arguments: Any) -> Any:
        open_engines.append(backend)
        assert len(open_engines) == 1
        return loglikelihood(backend, *arguments)

    loglikelihood = AccelerateBackend.loglikelihood
    monkeypatch.setattr(AccelerateBackend, "close", note_close)
    monkeypatch.setattr(AccelerateBackend, "loglikelihood", note_open)

    result = project.runpytest(*CHOICE, "--backend", "accelerate", "--checkpoints", "run/*", "-v")
    monkeypatch.undo()
    monkeypatch.chdir(project.path)
    alone = project.runpytest(*CHOICE, "--backend", "accelerate", "--model-args", "pretrained=run/step-16", "--report-dir", "alone")

    assert alone.ret == pytest.ExitCode.OK
    rows = [row for row in history_of(project.path) if row["metric"] == "acc"]
    assert [(row["point"], row["n"]) for row in rows] == [("step-8", 12), ("step-16", 12), ("step-100", 12)]
    (results,) = project.path.glob("alone/2*/results.json")
    assert rows[1]["score"] == json.loads(results.read_text())["results"]["mini|choice|0"]["acc"]
    result.stdout.fnmatch_lines(["*choice?0-shot-step-8? *", "*choice?0-shot-step-16? *", "*choice?0-shot-step-100? *"])
    result.stdout.fnmatch_lines(["step-200: not taken: model.safetensors has * of * bytes"])
    assert not open_engines


def test_nanotrons_checkpoints_are_taken_up_to_its_newest_complete_one(project: pytest.Pytester) -> None:
    tiny_tokenizer().save_pretrained(project.path / "tokenizer")
    for seed, step in enumerate((10, 20, 30)):
        write_checkpoint(project.path / "run" / str(step), tiny_model(seed=seed), tokenizer="tokenizer")
    (project.path / "run" / "latest.txt").write_text("20")

    result = project.runpytest(*CHOICE, "--backend", "nanotron", "--checkpoints", "run/[0-9]*")

    assert result.parseoutcomes().get("errors", 0) == 0
    rows = [row for row in history_of(project.path) if row["metric"] == "acc"]
    assert [(row["point"], row["step"]) for row in rows] == [("10", 10), ("20", 20)]
    result.stdout.fnmatch_lines(["30: not taken: * names step 20 as the newest one"])
