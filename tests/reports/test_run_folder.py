"""A run's files are whole or not there, and the index lists every run in the folder."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from pytest_lighteval.errors import LightevalError
from pytest_lighteval.reports.json_report import results_json
from pytest_lighteval.reports.run_folder import run_folder, write_run
from pytest_lighteval.reports.summary import summary_markdown
from pytest_lighteval.types import RunReport
from tests.reports.samples import FULL, GSM8K, run
from tests.shared import ROOT

STARTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def _started(day: int) -> RunReport:
    return replace(run(GSM8K), started=f"2026-01-{day:02}T00:00:00+00:00")


def _index(root: Path) -> list[str]:
    return [entry["folder"] for entry in json.loads((root / "index.json").read_text("utf-8"))["runs"]]


# ------------------------------------------------------------------------------------------------------ its name


@pytest.mark.parametrize(
    ("label", "slug"),
    [("accelerate", "accelerate"), ("org/My model: v2", "org-My-model-v2"), ("../..", "run"), ("", "run"), ("x" * 99, "x" * 60)],
    ids=["plain", "spaces", "hostile", "empty", "long"],
)
def test_a_run_is_named_by_time_and_label(label: str, slug: str) -> None:
    name = run_folder(Path("reports"), STARTED, label, "a1b2c3").relative_to("reports").name

    assert re.fullmatch(rf"20260102-030405-{re.escape(slug)}-a1b2c3", name)


def test_the_time_in_the_name_is_utc() -> None:
    there = STARTED.astimezone(timezone(timedelta(hours=9)))

    assert run_folder(Path("reports"), there, "fake", "a1b2c3").name.startswith("20260102-030405-fake-")


def test_runs_of_one_second_have_folders_of_their_own_and_nothing_is_made_for_them(tmp_path: Path) -> None:
    assert run_folder(tmp_path, STARTED, "fake", "a1b2c3") != run_folder(tmp_path, STARTED, "fake", "a1b2c4")
    assert list(tmp_path.iterdir()) == []


# ----------------------------------------------------------------------------------------------------- its files


def test_a_run_leaves_its_files_and_a_line_in_the_index(tmp_path: Path) -> None:
    report = replace(FULL, model_args={"accuracy": 0.7, "wrong": ["test:3"]})
    write_run(tmp_path / "one", report)

    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["report.html", "results.json", "summary.md"]
    assert (tmp_path / "one/results.json").read_text("utf-8") == results_json(report)
    assert (tmp_path / "one/summary.md").read_text("utf-8") == summary_markdown(report, page=("report.html", "report.html"))
    assert json.loads((tmp_path / "index.json").read_text("utf-8")) == {
        "schema": 1,
        "runs": [
            {
                "folder": "one",
                "started": "2026-01-02T03:04:05+00:00",
                "seconds": 61.5,
                "backend": "fake",
                "model": "fake",
                "model_args": {"accuracy": 0.7, "wrong": ["test:3"]},
                "max_samples": 100,
                "tasks": 4,
                "gates_passed": 2,
                "gates_failed": 1,
                "gates_inconclusive": 0,
                "gates_waived": 0,
                "scores": {
                    "leaderboard|gsm8k|5": {"qem": 0.35},
                    "leaderboard|mmlu:_average|5": {"acc": 0.3},
                    "lighteval|wikitext:2|0": {"word_perplexity": 23.4512},
                },
                "errors": 1,
                "skipped": 1,
            }
        ],
    }
    assert (tmp_path / "index.md").read_text("utf-8").splitlines()[2:] == [
        "| run | started | backend | model | max samples | model arguments | scores | tasks | gates passed | gates failed"
        " | gates inconclusive | errors | skipped | time |",
        "| --- |" + " --- |" * 13,
        "| [one](one/summary.md) | 2026-01-02 03:04 UTC | fake | fake | 100 | accuracy=0.7,wrong=\\[test:3\\] |"
        " leaderboard\\|gsm8k\\|5 qem 0.3500, leaderboard\\|mmlu:\\_average\\|5 acc 0.3000,"
        " lighteval\\|wikitext:2\\|0 word\\_perplexity 23.4512 |"
        " 4 | 2 | 1 | 0 | 1 | 1 | 1 min 02 s |",
    ]


def test_a_run_without_a_page_has_no_link_to_one(tmp_path: Path) -> None:
    write_run(tmp_path / "one", FULL, has_page=False)

    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["results.json", "summary.md"]
    assert (tmp_path / "one/summary.md").read_text("utf-8") == summary_markdown(FULL)


def test_a_run_that_is_written_again_replaces_what_the_index_says(tmp_path: Path) -> None:
    write_run(tmp_path / "one", _started(1))
    write_run(tmp_path / "one", replace(_started(1), errors={"a|b|0": "no data"}))

    (entry,) = json.loads((tmp_path / "index.json").read_text("utf-8"))["runs"]
    assert entry["errors"] == 1


def test_the_index_is_in_the_order_of_the_starts_and_forgets_deleted_runs(tmp_path: Path) -> None:
    for name, day in (("b", 2), ("gone", 3), ("a", 4), ("c", 1)):
        write_run(tmp_path / name, _started(day))
    shutil.rmtree(tmp_path / "gone")
    write_run(tmp_path / "d", _started(5))

    assert _index(tmp_path) == ["c", "b", "a", "d"]


@pytest.mark.parametrize(
    "damage", ["", "{", '{"schema": 1, "runs": [1]}', '{"schema": 0, "runs": []}'], ids=["empty", "torn", "odd", "old"]
)
def test_a_damaged_index_is_made_anew(tmp_path: Path, damage: str) -> None:
    write_run(tmp_path / "a", _started(1))
    (tmp_path / "index.json").write_text(damage)
    write_run(tmp_path / "b", _started(2))

    assert _index(tmp_path) == ["a", "b"]


@pytest.mark.parametrize("content", ["{", '{"schema": 2}', '{"schema": 1}'], ids=["torn", "newer", "incomplete"])
def test_results_that_cannot_be_read_do_not_fail_another_run(tmp_path: Path, content: str) -> None:
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd/results.json").write_text(content)
    write_run(tmp_path / "a", _started(1))

    assert _index(tmp_path) == ["a"]


def test_runs_that_end_at_once_are_all_in_the_index(tmp_path: Path) -> None:
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda day: write_run(tmp_path / f"{day:02}", _started(day)), range(1, 25)))

    assert _index(tmp_path) == [f"{day:02}" for day in range(1, 25)]


def test_a_run_waits_until_another_has_brought_the_index_in_step(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool, (tmp_path / ".index.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = pool.submit(write_run, tmp_path / "one", FULL)

        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.3)
        assert not (tmp_path / "index.json").exists()

        fcntl.flock(lock, fcntl.LOCK_UN)
        waiting.result(timeout=60)
        assert _index(tmp_path) == ["one"]


# ---------------------------------------------------------------------------------------------------- a bad disk

SMALL_DISK = """
import resource, signal, sys
from pathlib import Path
from pytest_lighteval.reports.run_folder import write_run
from tests.reports.samples import FULL

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
write_run(Path(sys.argv[1]) / "one", FULL)
"""


def test_a_full_disk_is_one_line_and_leaves_no_torn_file(tmp_path: Path) -> None:
    """The process may write files of 1000 bytes, which ends a write in its middle as a full disk does."""
    root = ROOT
    done = subprocess.run(
        [sys.executable, "-c", SMALL_DISK, str(tmp_path)], cwd=root, env=os.environ, capture_output=True, text=True, check=False
    )

    path = tmp_path / "one/results.json"
    assert done.stderr.splitlines()[-1] == f"pytest_lighteval.errors.LightevalError: {path}: the report cannot be written: File too large"
    assert list((tmp_path / "one").iterdir()) == []


def test_what_was_written_before_the_disk_was_full_is_kept(tmp_path: Path) -> None:
    (tmp_path / "one/summary.md").mkdir(parents=True)

    with pytest.raises(LightevalError, match=r"one/summary\.md: the report cannot be written: Is a directory$"):
        write_run(tmp_path / "one", FULL)

    assert (tmp_path / "one/results.json").read_text("utf-8") == results_json(FULL)


def test_an_index_that_cannot_be_written_is_named_and_the_run_is_kept(tmp_path: Path) -> None:
    (tmp_path / "index.json").mkdir()

    with pytest.raises(LightevalError, match=r"/index\.json: the index of runs cannot be written: Is a directory$"):
        write_run(tmp_path / "one", FULL)

    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["report.html", "results.json", "summary.md"]
