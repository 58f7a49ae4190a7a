"""Which runs can be judged together, and what is missing from all of them. The verdicts themselves: tests/plugin/test_gate_defer.py."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.backends.fake import FakeBackend
from pytest_lighteval.commands.main import main
from pytest_lighteval.evaluate import evaluate
from pytest_lighteval.reports.recorded_run import DEFERRED, RecordedRun, digest_of, read_deferred, render_run
from pytest_lighteval.tasks.suite_file import load_suite
from pytest_lighteval.types import RunReport, Task, TaskKey
from tests.plugin.gated import measured, write_gated

MODEL = FakeBackend(accuracy=0.7)
SETTINGS: dict[str, Any] = {"max_samples": None, "few_shot_seeds": 1, "few_shots": None, "threads": None}


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> list[Task]:
    return list(load_suite(write_gated(tmp_path_factory.mktemp("gated"), documents=60)))


@pytest.fixture
def folder(tasks: list[Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the baseline of all tasks."""
    monkeypatch.chdir(tmp_path)
    measured(tasks[0].path, tmp_path / "base.json", MODEL)
    return tmp_path


def keyed(task: Task) -> TaskKey:
    return TaskKey(suite=task.suite, task=task.name, few_shots=0)


def a_run(tasks: list[Task], *names: str, run_id: str = "one", **changes: Any) -> RecordedRun:
    """A run of these tasks of the suite, as `--gate-defer` records it."""
    chosen = [task for task in tasks if task.name in names]
    report = RunReport(
        run_id=run_id, started="2026-01-02T03:04:05+00:00", seconds=1.0, backend={"name": "fake", "fingerprint": MODEL.fingerprint},
        settings=SETTINGS, environment={"python": "3.11.7", "packages": {"torch": "2.12"}},
        results=tuple(evaluate(task, MODEL, few_shots=0) for task in chosen), groups={}, verdicts={}, errors={}, skipped={},
        cache={"hits": 0, "misses": 0},
    )  # fmt: skip
    run = RecordedRun(
        report=report,
        items=tuple((keyed(task), task) for task in chosen),
        suites={"gated": {keyed(task): False for task in tasks}},
        options={"baseline": ["base.json"]},
        digests={"baseline": digest_of([Path("base.json")])},
    )
    about_the_run = {name: value for name, value in changes.items() if name in ("suites", "selection", "options", "digests", "items")}
    about_the_report = {name: value for name, value in changes.items() if name not in about_the_run}
    return replace(run, report=replace(report, **about_the_report), **about_the_run)


def written(folder: Path, run: RecordedRun) -> str:
    place = folder / "runs" / run.report.run_id
    place.mkdir(parents=True, exist_ok=True)
    (place / DEFERRED).write_text(render_run(run))
    return f"runs/{run.report.run_id}"


FIRST, OTHERS = ("alone", "many:first"), ("many:second", "many:third")


def test_a_run_is_read_as_it_was_written(folder: Path, tasks: list[Task]) -> None:
    run = a_run(tasks, *FIRST, errors={"gated|x|0": "lost"}, selection="-k")

    read = read_deferred(folder / written(folder, run))

    assert read.report == run.report
    assert [(key, replace(task, path=tasks[0].path)) for key, task in read.items] == list(run.items)
    assert (read.suites, read.selection, read.options, read.digests) == (run.suites, "-k", run.options, run.digests)
    assert str(folder) not in render_run(run)


def test_the_parts_of_a_suite_are_whole_together(folder: Path, tasks: list[Task], capsys: pytest.CaptureFixture[str]) -> None:
    runs = [written(folder, a_run(tasks, *FIRST)), written(folder, a_run(tasks, *OTHERS, run_id="two"))]

    assert main(["gate", *runs]) == 0
    assert "2 runs, 4 tasks, 6 verdicts, 0 failed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"run_id": "one"}, "runs/copy: is the same run as runs/one; name each run once"),
        ({"names": FIRST}, "runs/two: gated|alone|0 is in runs/one too; each task belongs to one run"),
        (
            {"backend": {"name": "fake", "fingerprint": "other"}},
            f"runs/two: is of another model (fake, fingerprint other) than runs/one (fake, fingerprint {MODEL.fingerprint})",
        ),
        (
            {"settings": SETTINGS | {"max_samples": 10}},
            "runs/two: was measured with max_samples=10, and runs/one with max_samples=None",
        ),
        (
            {"options": {"baseline": ["base.json"], "gate_alpha": "0.01"}},
            "runs/two: has --gate-alpha 0.01, and runs/one not given; give --gate-alpha here",
        ),
        ({"digests": {"baseline": "0"}}, "runs/two: --baseline base.json had another content than for runs/one; give --baseline here"),
    ],
    ids=["twice", "task", "model", "settings", "option", "file"],
)
def test_runs_that_do_not_belong_together_are_one_clear_line(
    folder: Path, tasks: list[Task], capsys: pytest.CaptureFixture[str], changes: dict[str, Any], problem: str
) -> None:
    changes = {"names": OTHERS, "run_id": "two", **changes}
    names = changes.pop("names")
    runs = [written(folder, a_run(tasks, *FIRST)), written(folder, a_run(tasks, *names, **changes))]
    if runs[0] == runs[1]:
        (folder / "runs/one").rename(folder / "runs/copy")
        runs = ["runs/copy", written(folder, a_run(tasks, *FIRST))][::-1]

    assert main(["gate", *runs]) == 2
    assert capsys.readouterr() == ("", f"{problem}\n")
    assert not (folder / "reports").exists()


def test_a_run_that_is_named_twice_is_one_clear_line(folder: Path, tasks: list[Task], capsys: pytest.CaptureFixture[str]) -> None:
    run = written(folder, a_run(tasks, *FIRST))

    assert main(["gate", run, run]) == 2
    assert capsys.readouterr().err == "runs/one: is named twice; name each run once\n"


def test_an_option_here_overrides_what_the_runs_differ_in(folder: Path, tasks: list[Task]) -> None:
    other = {"baseline": ["base.json"], "gate_alpha": "0.01"}
    runs = [written(folder, a_run(tasks, *FIRST)), written(folder, a_run(tasks, *OTHERS, run_id="two", options=other))]

    assert main(["gate", *runs, "--gate-alpha", "0.02"]) == 0
    (path,) = folder.glob("reports/*/results.json")
    assert json.loads(path.read_text())["verdicts"]["gated|alone|0"][0]["paired"]["alpha"] == 0.4 * 0.02 / 2


def test_a_baseline_that_changed_since_the_runs_is_named(folder: Path, tasks: list[Task], capsys: pytest.CaptureFixture[str]) -> None:
    run = written(folder, a_run(tasks, *FIRST, *OTHERS))
    measured(tasks[0].path, folder / "new.json", FakeBackend(accuracy=0.69))
    (folder / "new.json").rename(folder / "base.json")

    assert main(["gate", run]) == 2
    assert capsys.readouterr().err == "--baseline base.json: changed since the runs; give --baseline to judge them by what it is now\n"
    assert main(["gate", run, "--baseline", "base.json"]) == 0


def test_a_lost_job_is_red_although_the_runs_selected_their_tasks(
    folder: Path, tasks: list[Task], capsys: pytest.CaptureFixture[str]
) -> None:
    lost = written(folder, a_run(tasks, *FIRST))
    chosen = written(folder, a_run(tasks, *FIRST, run_id="two", selection="-k"))

    assert main(["gate", lost]) == 1
    assert capsys.readouterr().out.count("its suite declares it, the baseline holds it, and no run has it (--gate-allow missing)") == 2
    assert main(["gate", lost, "--gate-allow", "missing"]) == 0
    capsys.readouterr()
    assert main(["gate", chosen]) == 1
    problem = "its suite declares it, the baseline holds it, and no run has it (-k selected)"
    told = capsys.readouterr().out
    assert f"FAILED gated|many:second|0: {problem} (--gate-allow missing)" in told
    assert f"FAILED gated|many:third|0: {problem} (--gate-allow missing)" in told
    assert main(["gate", chosen, "--gate-allow", "missing"]) == 0
    assert f"gated|many:second|0: {problem}" in capsys.readouterr().out


def test_the_jobs_of_a_matrix_that_select_all_tasks_together_are_whole(folder: Path, tasks: list[Task]) -> None:
    jobs = [written(folder, a_run(tasks, *names, run_id=run_id, selection="-k")) for run_id, names in (("one", FIRST), ("two", OTHERS))]

    assert main(["gate", *jobs]) == 0


def test_a_task_that_vanished_is_red_although_the_runs_selected_their_tasks(
    folder: Path, tasks: list[Task], capsys: pytest.CaptureFixture[str]
) -> None:
    declared = {"gated": {keyed(task): False for task in tasks if task.name != "alone"}}

    assert main(["gate", written(folder, a_run(tasks, "many:first", *OTHERS, suites=declared, selection="-k"))]) == 1
    assert "FAILED gated|alone|0: the baseline holds it, and no run has it (-k selected)" in capsys.readouterr().out


def test_the_shards_of_one_session_that_selected_its_tasks_miss_none(folder: Path, tasks: list[Task]) -> None:
    shard = written(folder, a_run(tasks, *FIRST, selection="-k", settings={**SETTINGS, "shard": [1, 1]}))

    assert main(["merge", shard, "-o", "merged"]) == 0


def test_a_task_that_vanished_from_its_suite_is_red(folder: Path, tasks: list[Task], capsys: pytest.CaptureFixture[str]) -> None:
    declared = {"gated": {keyed(task): False for task in tasks if task.name != "alone"}}

    assert main(["gate", written(folder, a_run(tasks, "many:first", *OTHERS, suites=declared))]) == 1
    assert "gated|alone|0: the baseline holds it, and its suite does not declare it any more" in capsys.readouterr().out


def test_a_task_without_an_end_is_red(folder: Path, tasks: list[Task], capsys: pytest.CaptureFixture[str]) -> None:
    run = a_run(tasks, *FIRST, *OTHERS)
    run = replace(run, report=replace(run.report, results=run.report.results[1:]))

    assert main(["gate", written(folder, run)]) == 1
    assert "ERROR gated|alone|0: it was planned, and ended without a result, an error or a skip" in capsys.readouterr().out


def test_runs_with_several_versions_of_a_package_are_told(folder: Path, tasks: list[Task], capsys: pytest.CaptureFixture[str]) -> None:
    other = {"python": "3.11.7", "packages": {"torch": "2.13"}}
    runs = [written(folder, a_run(tasks, *FIRST)), written(folder, a_run(tasks, *OTHERS, run_id="two", environment=other))]

    assert main(["gate", *runs]) == 0
    assert "the runs were made with several versions of torch: 2.12, 2.13" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "no recorded run: Expecting property name enclosed in double quotes"),
        ("[" * 100_000, "no recorded run: maximum recursion depth exceeded"),
        ("[]", "no recorded run of version 1"),
        ('{"format": "pytest-lighteval deferred run", "version": 2}', "no recorded run of version 1"),
        ('{"format": "pytest-lighteval deferred run", "version": 1}', "damaged: Object missing required field `report`"),
    ],
    ids=["json", "deep", "list", "version", "fields"],
)
def test_a_damaged_run_is_one_clear_line(folder: Path, capsys: pytest.CaptureFixture[str], text: str, problem: str) -> None:
    (folder / DEFERRED).write_text(text)

    assert main(["gate", "."]) == 2
    assert capsys.readouterr().err.startswith(f"{DEFERRED}: {problem}")


def test_a_run_that_was_judged_and_a_folder_without_a_run_are_told_apart(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "judged").mkdir()
    (folder / "judged" / "results.json").write_text("{}")
    (folder / "index.json").write_text("{}")

    assert main(["gate", "judged"]) == main(["gate", "nothing"]) == main(["gate", "index.json"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "judged: was judged when it ran; a run under --gate-defer has a deferred.json",
        "nothing: is no run folder; a run under --gate-defer has a deferred.json",
        "index.json: is no run folder; a run under --gate-defer has a deferred.json",
    ]
