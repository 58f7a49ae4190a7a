"""What `compare` takes and refuses, several runs with one alpha, its exit status. The verdicts themselves: tests/plugin/test_compare.py."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.backends.fake import FakeBackend
from pytest_lighteval.baselines.read import read_baseline
from pytest_lighteval.baselines.save import baseline_of, write_baseline
from pytest_lighteval.commands.main import main
from pytest_lighteval.errors import UserInputError
from pytest_lighteval.evaluate import evaluate
from pytest_lighteval.gates.run_baselines import read_places
from pytest_lighteval.reports.details import DetailsWriter
from pytest_lighteval.reports.history import read_history
from pytest_lighteval.reports.recorded_run import SCORES, RecordedRun, write_recorded
from pytest_lighteval.tasks.suite_file import load_suite
from pytest_lighteval.types import RunReport, Task, TaskKey, TaskResult
from tests.plugin.gated import write_gated

GOOD, SAME, BAD = FakeBackend(accuracy=0.7), FakeBackend(accuracy=0.7), FakeBackend(accuracy=0.7, lose=0.2)

MakeRun = Callable[..., str]
EvaluateAlone = Callable[[FakeBackend], TaskResult]


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> list[Task]:
    return list(load_suite(write_gated(tmp_path_factory.mktemp("gated"), documents=100)))


@pytest.fixture
def alone(tasks: list[Task]) -> EvaluateAlone:
    """Evaluates the task `alone`."""
    return lambda model: evaluate(tasks[0], model, few_shots=0)


@pytest.fixture
def a_run(tasks: list[Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeRun:
    """Makes the folder of a run of some tasks, as a session leaves it; its fields may be changed."""
    monkeypatch.chdir(tmp_path)

    def make(name: str, model: FakeBackend, *only: str, **changes: Any) -> str:
        chosen = [task for task in tasks if task.name in (only or ("alone",))]
        results = []
        for task in chosen:
            key = TaskKey(suite=task.suite, task=task.name, few_shots=0)
            with DetailsWriter(tmp_path / name, key) as details:
                results.append(evaluate(task, model, few_shots=0, on_detail=details.write))
        about_the_run = {field: value for field, value in changes.items() if field in ("options", "digests")}
        about_the_report = {field: value for field, value in changes.items() if field not in about_the_run}
        report = RunReport(
            run_id=name, started="2026-01-02T03:04:05+00:00", seconds=1.0, backend={"name": "fake", "model": f"model-{name}"},
            settings={}, environment={}, results=tuple(results), groups={}, verdicts={}, errors={}, skipped={},
        )  # fmt: skip
        items = tuple((result.key, task) for result, task in zip(results, chosen, strict=True))
        run = RecordedRun(report=replace(report, **about_the_report), items=items, **about_the_run)
        write_recorded(tmp_path / name / SCORES, run)
        return name

    return make


def test_two_runs_are_a_table_with_the_reasons_of_every_flip(a_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    runs = a_run("good", GOOD), a_run("bad", BAD)

    assert main(["compare", *runs]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "bad (model-bad) compared with good (model-good)"
    assert "gated|alone|0: acc: why documents flipped: other choice 17 lost / 0 won" in told
    assert any(line.startswith("FAILED gated|alone|0: acc 0.700 -> 0.530  loss 17.0 points") for line in told)


@pytest.mark.parametrize(
    ("on", "model", "status"),
    [("never", BAD, 0), ("regressed", BAD, 1), ("red", BAD, 1), ("regressed", SAME, 0), ("red", SAME, 0)],
)
def test_the_exit_status_is_what_fail_on_asks(a_run: MakeRun, on: str, model: FakeBackend, status: int) -> None:
    runs = a_run("good", GOOD), a_run("other", model)

    assert main(["compare", *runs, "--fail-on", on, "--json"]) == status


def test_a_baseline_that_does_not_fit_is_red_and_no_regression(
    a_run: MakeRun, alone: EvaluateAlone, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = a_run("good", GOOD), a_run("newer", GOOD, results=(replace(alone(GOOD), version=7),))

    assert main(["compare", *runs, "--fail-on", "regressed"]) == 0
    assert main(["compare", *runs, "--fail-on", "red"]) == 1
    assert "the task has version 7, the baseline is of version 0 (--gate-allow version compares anyway)" in capsys.readouterr().out
    assert main(["compare", *runs, "--fail-on", "red", "--gate-allow", "version"]) == 0


def test_three_runs_share_one_alpha_and_are_a_matrix(
    a_run: MakeRun, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    runs = a_run("good", GOOD), a_run("same", SAME), a_run("bad", BAD)

    assert main(["compare", *runs, "--json"]) == 0
    compared = json.loads(capsys.readouterr().out)["runs"]
    paired = [run["verdicts"]["gated|alone|0"][0]["paired"] for run in compared]
    assert [verdict["alpha"] + verdict["soft_alpha"] for verdict in paired] == [0.025, 0.025]
    assert [verdict["certify_alpha"] for verdict in paired] == [0.05, 0.05]
    assert main(["compare", *runs, "--reference", "same"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[:3] == ["[0] same (model-same): the reference", "[1] good (model-good)", "[2] bad (model-bad)"]
    assert told[3].startswith("a column has the score, the loss with its two bounds")
    assert told[4].split() == ["task", "metric", "[0]", "[1]", "[2]"]
    assert told[5].split()[:4] == ["gated|alone|0", "acc", "0.7000", "0.7000"]
    assert told[5].endswith("REGRESSED")


def test_tasks_that_only_one_side_has_are_named(a_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    runs = a_run("good", GOOD, "alone", "many:first"), a_run("other", GOOD, "alone", "many:second")

    assert main(["compare", *runs]) == 0
    told = capsys.readouterr().out
    assert "only in good: gated|many:first|0" in told
    assert "gated|many:second|0: acc 0.680  n = 50  NEW (not in the baseline)" in told


def test_baseline_files_are_compared_without_texts(
    a_run: MakeRun, alone: EvaluateAlone, tasks: list[Task], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = a_run("good", GOOD)
    for name, model in (("good.json", GOOD), ("bad.json", BAD)):
        report = RunReport(
            run_id="", started="", seconds=0, backend={}, settings={}, environment={}, results=(alone(model),), groups={},
            verdicts={}, errors={}, skipped={},
        )  # fmt: skip
        write_baseline(tmp_path / name, baseline_of(report))

    assert main(["compare", run, "bad.json", "--json"]) == 0
    by_run = json.loads(capsys.readouterr().out)["runs"][0]["verdicts"]
    a_run("bad", BAD)
    assert main(["compare", "good.json", "bad", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"][0]["verdicts"] == by_run
    assert main(["compare", "good.json", "bad.json", "--custom-tasks", str(tasks[0].path.parent)]) == 0
    told = capsys.readouterr().out
    assert "gated|alone|0: acc: why documents flipped: other choice 17 lost / 0 won" in told
    assert "neither side knows which documents belong together" in told
    assert main(["compare", "good.json", "bad.json"]) == 2
    assert "bad.json: gated|alone|0: no suite declares it" in capsys.readouterr().err
    assert read_baseline(tmp_path / "bad.json").tasks


def harness_run(folder: Path, date: str, right: int) -> Path:
    """Results and samples of lm-evaluation-harness: 40 documents of ARC easy, so many of them right."""
    results = {"arc_easy": {"alias": "arc_easy", "acc,none": right / 40, "acc_stderr,none": 0.05}}
    (folder / f"results_{date}.json").write_text(json.dumps({"results": results, "n-shot": {"arc_easy": 0}, "config": {"model": "hf"}}))
    samples = [{"doc_id": row, "filter": "none", "acc": float(row < right)} for row in range(40)]
    path = folder / f"samples_arc_easy_{date}.jsonl"
    path.write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    return path


def test_runs_of_the_harness_are_compared_once_the_user_vouches_for_their_prompts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    before, after = harness_run(tmp_path, "2026-11-01", 30), harness_run(tmp_path, "2026-11-02", 18)

    assert main(["compare", before.name, after.name, "--fail-on", "red"]) == 1
    assert "--gate-allow unknown-prompts compares anyway" in capsys.readouterr().out
    assert main(["compare", before.name, "results_2026-11-02.json", "--fail-on", "regressed", "--gate-allow", "unknown-prompts"]) == 1
    assert "acc 0.750 -> 0.450  loss 30.0 points" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["good"], "good: is compared with nothing; name a second run"),
        (["good", "./good"], "good: is named twice; name each run once"),
        (["good", "none"], "none: there is no such file or folder"),
        (["good", "apart"], "no task is in both: good has gated|alone|0, and apart has gated|many:first|0"),
        (
            ["good", "old"],
            "old: has no scores.json, as an earlier version made it: run it again (its answers may be in the cache)",
        ),
        (["good", "x.jsonl"], "x.jsonl: no results_<date>.json lies beside it; lm-eval writes both with --log_samples"),
        (["good", "shard"], "shard: is shard 1 of 2: join all shards first, with merge"),
        (["good", "empty"], "empty: no task of this run has a score of all its documents, so there is nothing to compare with"),
        (["good", "one", "two"], "two: recorded --gate-alpha 0.01, and one not at all; give --gate-alpha here"),
        (["good", "series"], "series: is a history of several runs; name one of them, such as series/step-1"),
        (["good", "changed"], "--gates gates.yaml: changed since the runs; give --gates to judge them by what it is now"),
    ],
)
def test_what_cannot_be_compared_is_one_clear_line(
    a_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str
) -> None:
    a_run("good", GOOD)
    a_run("apart", GOOD, "many:first")
    a_run("shard", GOOD, settings={"shard": [1, 2]})
    a_run("empty", GOOD, results=())
    a_run("one", GOOD)
    a_run("two", GOOD, options={"gate_alpha": "0.01"})
    a_run("changed", GOOD, options={"gates": "gates.yaml"}, digests={"gates": "0"})
    (tmp_path / "gates.yaml").write_text("gated|alone: {acc: {min: 0.1}}\n")
    (tmp_path / "x.jsonl").write_text("")
    a_run("series/step-1", GOOD)
    (tmp_path / "series" / "history.jsonl").write_text("")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "results.json").write_text("{}")

    assert main(["compare", *arguments]) == 2
    assert capsys.readouterr() == ("", f"{problem}\n")


def test_a_run_that_is_not_complete_says_so(a_run: MakeRun, alone: EvaluateAlone, capsys: pytest.CaptureFixture[str]) -> None:
    lacking = a_run("lacking", GOOD, "alone", "many:first", results=(alone(GOOD),), errors={"gated|many:first|0": "lost"})

    assert main(["compare", lacking, a_run("bad", BAD)]) == 0
    assert "lacking: the run is not complete: it has no whole score of gated|many:first|0" in capsys.readouterr().out


def test_a_run_folder_as_the_baseline_of_a_session_says_what_it_lacks(a_run: MakeRun, alone: EvaluateAlone, tmp_path: Path) -> None:
    a_run("shard", GOOD, settings={"shard": [1, 2]})
    a_run("old", GOOD)
    (tmp_path / "old" / SCORES).unlink()
    a_run("series/step-1", GOOD)
    (tmp_path / "series" / "history.jsonl").write_text("")
    (tmp_path / "old" / "results.json").write_text("{}")
    lacking = a_run("lacking", GOOD, "alone", "many:first", results=(alone(GOOD),), errors={"gated|many:first|0": "lost"})

    for name, problem in (("shard", "is shard 1 of 2: join all"), ("old", "has no scores.json"), ("series", "is a history of")):
        with pytest.raises(UserInputError, match=f"{name}: {problem}"):
            read_places([tmp_path / name])
    baselines = read_places([tmp_path / lacking])
    assert [str(key) for key in baselines.keys] == ["gated|alone|0"]
    path = tmp_path / lacking / SCORES
    assert baselines.notes == (f"{path}: the run is not complete: it has no whole score of gated|many:first|0",)
    assert baselines.facts(tmp_path)[0]["path"] == f"{lacking}/{SCORES}"


def page_blocks(path: Path) -> dict[str, Any]:
    """The data of a page, by the names of its blocks."""
    found = re.findall(r'<script type="application/octet-stream" id="([^"]+)">([^<]*)</script>', path.read_text("utf-8"))
    return {name: json.loads(zlib.decompress(base64.b64decode(content))) for name, content in found}


def test_the_page_has_both_runs_their_verdicts_and_every_flip_with_its_reason(
    a_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = a_run("good", GOOD), a_run("bad", BAD)

    assert main(["compare", *runs, "-o", "page.html", "--json"]) == 0
    verdicts = json.loads(capsys.readouterr().out)["runs"][0]["verdicts"]
    blocks = page_blocks(tmp_path / "page.html")
    head = blocks["head"]
    assert [run["name"] for run in head["runs"]] == ["model-bad", "model-good"]
    (comparison,) = head["comparisons"]
    assert (comparison["candidate"], comparison["reference"]) == (0, 1)
    flips = comparison["flips"]["gated|alone|0"]["acc"]
    assert len(flips) == 17
    assert {flip[4] for flip in flips} == {"other choice"}
    shown = comparison["verdicts"]["gated|alone|0"][0]["paired"]["line"]
    assert shown == verdicts["gated|alone|0"][0]["paired"]["line"]
    assert [len(blocks[f"columns-{run}"][0]["id"]) for run in (0, 1)] == [100, 100]
    assert main(["compare", *runs, "-o", "small.html", "--no-documents"]) == 0
    small = page_blocks(tmp_path / "small.html")
    assert {*small["columns-0"][0]["id"]} == {flip[0] for flip in flips}
    assert small["head"]["notes"] == ["only documents that flipped are in this page: its plots show them alone"]


def test_a_history_is_of_each_model_with_several_runs_and_the_index_links_it(
    a_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = {"name": "fake", "model": "org/m"}
    for day, backend in ((2, GOOD), (1, SAME), (3, BAD)):
        a_run(f"reports/day-{day}", backend, backend=model, started=f"2026-01-0{day}T03:04:05+00:00")
    a_run("reports/other", GOOD)
    (tmp_path / "reports" / "old").mkdir()
    (tmp_path / "reports" / "old" / "results.json").write_text("{}")

    assert main(["compare", "--history", "reports"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("left out: reports/old: has no scores.json")
    assert told[1:] == ["org/m: 3 runs: reports/history/org-m/report.html"]
    rows = read_history(tmp_path / "reports/history/org-m/history.jsonl")
    of_acc = [row for row in rows if row.metric == "acc"]
    assert [row.point for row in of_acc] == ["day-1", "day-2", "day-3"]
    assert [row.best and row.best.point for row in of_acc] == [None, "day-1", "day-1"]
    (curve, _) = page_blocks(tmp_path / "reports/history/org-m/report.html")["head"]["curves"]
    assert [point["value"] for point in curve["points"]] == [row.score for row in of_acc]
    assert curve["has_times"]
    assert "[org-m over time](history/org-m/report.html)" in (tmp_path / "reports" / "index.md").read_text().replace("\\", "")
    assert main(["compare", "--history", "none"]) == main(["compare", "--history", "reports", "x"]) == main(["compare"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "--history none: there is no such folder",
        "--history and runs: a history is of all runs of its folder; give one or the other",
        "no run is named; name two or more, or --history DIR",
    ]
