"""Sessions over checkpoints: an item and a run for each, the gate against the best so far, and checkpoints that come later."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.plugin.gated import properties_of, write_gated

CHECKPOINTS = ("suites", "--backend", "fake", "--checkpoints", "run/step-*")


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project with the suite `gated`."""
    monkeypatch.setenv("COLUMNS", "400")
    write_gated(pytester.path / "suites" / "gated", documents=200)
    return pytester


def write_checkpoint(folder: Path, step: int, **arguments: float) -> None:
    """A checkpoint without weights, completely written."""
    place = folder / "run" / f"step-{step}"
    place.mkdir(parents=True)
    (place / "fake.json").write_text(json.dumps(arguments))
    (place / ".done").touch()


def history_of(folder: Path) -> list[dict[str, Any]]:
    (path,) = folder.glob("reports/2*/history.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_checkpoint_is_a_run_and_a_drop_against_the_best_is_red(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project.path / "step.md"))
    write_checkpoint(project.path, 900, accuracy=0.5)
    write_checkpoint(project.path, 1000, accuracy=0.5, gain=0.4)
    write_checkpoint(project.path, 2000, accuracy=0.5, gain=0.4, lose=0.3)
    (project.path / "run" / "step-3000").mkdir()

    result = project.runpytest(*CHECKPOINTS, "-v", "-k", "alone or many", "--junitxml=j.xml")

    result.assert_outcomes(passed=12, failed=2)
    order = [line.partition("[")[2].partition("]")[0] for line in result.outlines if line.startswith("suites/") and "%]" in line]
    assert order == ["0-shot-step-900"] * 4 + ["0-shot-step-1000"] * 4 + ["0-shot-step-2000"] * 4
    result.stdout.fnmatch_lines(
        [
            "gated|alone|0: acc * -> *  REGRESSED (allowed 2.0)",
            "*step-2000: gated|many:_average|0: acc * REGRESSED *",
            "step-2000: gated|alone|0: acc *  loss to the best before * (step-1000)  REGRESSED",
            "step-3000: not taken: it has no .done yet, as others have",
            "history: reports/*/history.jsonl",
            "page: reports/*/report.html",
        ]
    )
    rows = history_of(project.path)
    alone = [row for row in rows if (row["task"], row["metric"]) == ("gated|alone|0", "acc")]
    assert [(row["point"], row["step"], row["verdict"]) for row in alone] == [
        ("step-900", 900, None),
        ("step-1000", 1000, "IMPROVED"),
        ("step-2000", 2000, "REGRESSED"),
    ]
    assert [row["best"] and row["best"]["point"] for row in alone] == [None, "step-900", "step-1000"]
    (folder,) = project.path.glob("reports/2*")
    for row in alone:
        results = json.loads((folder / row["point"] / "results.json").read_text())
        assert results["metrics"]["gated|alone|0"]["acc"]["value"] == row["score"]
        assert results["model_args"] == {"pretrained": str(project.path / "run" / row["point"])}
        assert (folder / row["point"] / "scores.json").is_file()
        assert (folder / row["point"] / "details" / "gated" / "alone.0-shot.jsonl").is_file()
    paired = json.loads((folder / "step-2000" / "results.json").read_text())["verdicts"]["gated|alone|0"][0]["paired"]
    assert paired["alpha"] + paired["soft_alpha"] == pytest.approx(0.05 / (3 * 2**2) / 2)
    assert "step-1000" in (folder / "index.md").read_text()
    assert ", 3 checkpoints |" in (folder.parent / "index.md").read_text()
    assert "| step-2000 | 0.5" in (project.path / "step.md").read_text()
    assert properties_of(project, "alone[0-shot-step-2000]")["lighteval.checkpoint"] == "step-2000"
    assert (folder / "report.html").is_file()


def test_items_are_selected_by_their_checkpoint_and_run_again_by_lf(project: pytest.Pytester) -> None:
    write_checkpoint(project.path, 1, accuracy=0.6)
    write_checkpoint(project.path, 2, accuracy=0.6, lose=0.5)

    project.runpytest(*CHECKPOINTS, "-k", "alone and step-1").assert_outcomes(passed=1, deselected=7)
    project.runpytest(*CHECKPOINTS, "-k", "alone").assert_outcomes(passed=1, failed=1, deselected=6)
    again = project.runpytest(*CHECKPOINTS, "-k", "alone", "--lf", "--no-html")

    again.assert_outcomes(passed=1, failed=1)  # what the best so far is measured again, too
    assert len([*project.path.glob("reports/2*/report.html")]) == 2


def test_a_watch_takes_checkpoints_as_they_are_completed(project: pytest.Pytester) -> None:
    write_checkpoint(project.path, 1, accuracy=0.6)

    def train() -> None:
        half = project.path / "run" / "step-2"
        half.mkdir()
        (half / "fake.json").write_text("{}")
        while not [*project.path.glob("reports/2*/history.jsonl")]:  # the first checkpoint is measured
            time.sleep(0.05)
        (half / "fake.json").write_text(json.dumps({"accuracy": 0.6, "lose": 0.5}))
        (half / ".done").touch()

    training = threading.Thread(target=train, daemon=True)
    training.start()
    result = project.runpytest(*CHECKPOINTS, "-k", "alone", "--watch", "--every", "0.1s", "--until", "2")
    training.join()

    result.assert_outcomes(passed=1, failed=1, deselected=3)
    result.stdout.fnmatch_lines(["*lighteval: waiting for a checkpoint of run/step-*"])
    assert [row["point"] for row in history_of(project.path) if row["metric"] == "acc"] == ["step-1", "step-2"]


def test_a_watch_says_that_it_waits_for_the_first_checkpoint_and_why(project: pytest.Pytester) -> None:
    write_checkpoint(project.path, 1, accuracy=0.6)
    (project.path / "run" / "step-1" / ".done").unlink()

    result = project.runpytest(*CHECKPOINTS, "-k", "alone", "--watch", "--every", "0.1s", "--until", "1")

    result.assert_outcomes(passed=1, deselected=3)
    result.stdout.fnmatch_lines(
        ["lighteval: waiting for the first checkpoint, looking every 0.1 s: step-1: its files may still grow", "1 checkpoint: step-1"]
    )


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--checkpoints", "run/x-*"), "--checkpoints run/x-*: none is complete"),
        (("--checkpoints", "run/*", "--baseline", "b.json"), "--checkpoints and --baseline: checkpoints are compared with each other*"),
        (("--checkpoints", "run/*", "-n", "2"), "--checkpoints and -n: one engine is in memory at a time; *"),
        (("--checkpoints", "run/*", "--every", "5s"), "--every is given without --watch"),
        (("--checkpoints", "run/*", "--watch", "--every", "soon"), "--every soon: a time was expected, such as 60s, 5min or 1h"),
        (("--checkpoints", "run/*", "--watch", "--until", "end"), "--until end: a step was expected, such as 20000"),
        (("--watch",), "--watch is given without --checkpoints, which names what to watch"),
        (("--checkpoints", "run/*", "--model-args", "pretrained=x"), "--model-args pretrained=x: --checkpoints names the model; *"),
    ],
)
def test_what_cannot_be_is_one_clear_line(project: pytest.Pytester, arguments: tuple[str, ...], problem: str) -> None:
    write_checkpoint(project.path, 1, accuracy=0.6)
    (project.path / "b.json").write_text("{}")

    result = project.runpytest("suites", "--backend", "fake", *arguments)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {problem}"])


def test_a_checkpoint_that_cannot_be_loaded_is_an_error_and_no_point(project: pytest.Pytester) -> None:
    write_checkpoint(project.path, 1, accuracy=0.6)
    write_checkpoint(project.path, 2, accuracy=7)
    write_checkpoint(project.path, 3, accuracy=0.6)

    result = project.runpytest(*CHECKPOINTS, "-k", "alone")

    result.assert_outcomes(passed=2, errors=1, deselected=9)
    rows = [row for row in history_of(project.path) if row["metric"] == "acc"]
    assert [(row["point"], row["best"] and row["best"]["point"]) for row in rows] == [("step-1", None), ("step-3", "step-1")]
