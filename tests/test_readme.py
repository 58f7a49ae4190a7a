"""The examples of README.md and CONTRIBUTING.md name options, fields, extras and functions that exist."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_lighteval.gates.gate_file import load_gates
from pytest_lighteval.metrics.matches import best_over_golds
from pytest_lighteval.plugin.options import OPTIONS
from pytest_lighteval.tasks.suite_file import load_suite
from pytest_lighteval.testing import BackendConformance
from pytest_lighteval.types import Backend, Doc, GenerateResponse, RunReport
from tests.reports.samples import GSM8K, run
from tests.shared import ROOT

README = (ROOT / "README.md").read_text("utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
BLOCKS = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
PYTESTS = {"--collect-only", "--lf", "--maxfail", "--durations", "--junitxml"}


def test_every_option_that_is_named_exists() -> None:
    # accelerate's own options have underscores
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+(?![\w])", README))

    assert named - PYTESTS - {"--lighteval-"} <= {f"--{option.name}" for option in OPTIONS}


def test_every_option_that_exists_is_named() -> None:
    assert {f"--{option.name}" for option in OPTIONS} - set(re.findall(r"--[a-z][a-z-]+", README)) == set()


def test_the_command_of_the_demo_is_the_one_that_it_runs() -> None:
    (shown,) = re.findall(r"^pytest (suites/demo --backend accelerate .*)$", README, re.MULTILINE)
    script = (ROOT / "demo").read_text("utf-8").replace("\\\n", "")

    assert shlex.split(script.partition("-m pytest ")[2].partition(" || ")[0]) == [*shlex.split(shown), "$@"]


def test_the_job_is_one_of_github_actions_that_runs_one_command() -> None:
    (job,) = (yaml.safe_load(block)["jobs"]["gate"] for block in BLOCKS if block.startswith("# .github"))
    commands = [shlex.split(step["run"]) for step in job["steps"] if "run" in step]

    assert [command[0] for command in commands] == ["pip", "pytest"]
    assert commands[0][2:] == ["./pytest-lighteval[accelerate,gate]", "."]
    assert "--baseline=baselines/smollm2.json" in commands[1]


def test_the_floors_are_a_gates_file(tmp_path: Path) -> None:
    (floors,) = (block for block in BLOCKS if block.startswith("# floors.yaml"))
    (tmp_path / "floors.yaml").write_text(floors, "utf-8")

    assert len(load_gates(tmp_path / "floors.yaml").entries) == 3


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=[page.relative_to(ROOT).as_posix() for page in PAGES])
def test_every_extra_and_group_that_a_page_installs_is_declared(page: Path) -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    text = page.read_text("utf-8")
    extras = {extra for names in re.findall(r"(?:pytest-lighteval|'\.)\[([a-z,]+)\]", text) for extra in names.split(",")}

    assert extras <= declared["project"]["optional-dependencies"].keys()
    assert set(re.findall(r"--group ([a-z]+)", text)) <= declared["dependency-groups"].keys()


def test_the_readme_names_every_page_of_the_docs() -> None:
    pages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")}

    assert pages - set(re.findall(r"\]\(([^)#]+)\)", README)) == set()


# --------------------------------------------------------------------------------------------------- CONTRIBUTING.md


def example(comment: str) -> str:
    """The block of CONTRIBUTING.md that begins with this comment."""
    (block,) = (
        block for block in re.findall(r"```(?:yaml|python)\n(.*?)```", CONTRIBUTING, re.DOTALL) if block.startswith(f"# {comment}\n")
    )
    return str(block)


def test_the_example_of_a_task_loads(tmp_path: Path) -> None:
    file = tmp_path / "suites/demo/capitals.yaml"
    (file.parent / "data").mkdir(parents=True)
    file.write_text(example("suites/demo/capitals.yaml"), "utf-8")
    (file.parent / "data/capitals.jsonl").write_text(json.dumps({"country": "Peru", "capital": "Lima"}), "utf-8")

    (task,) = load_suite(file)

    assert task.name == "capitals"


def test_the_example_of_a_metric_scores() -> None:
    names: dict[str, Any] = {"best_over_golds": best_over_golds}
    exec(example("in pytest_lighteval/metrics/matches.py"), names)
    (metric,) = names["METRICS"]
    doc = Doc(id="test:0", query="", choices=("Lima is it",), gold=(0,))

    scores = [metric.sample(doc, GenerateResponse(texts=(text,), finish_reasons=("stop",))) for text in ("Lima, Peru", "Lima it is", "")]

    assert (metric.name, scores) == ("first_word", [{"first_word": 0.0}, {"first_word": 1.0}, {"first_word": 0.0}])


def test_the_example_of_a_conformance_test_is_one() -> None:
    names: dict[str, Any] = {"BackendConformance": BackendConformance, "pytest": pytest, "Iterator": Iterator, "Backend": Backend}
    exec(example("tests/backends/mine/test_conformance.py"), names)

    assert issubclass(names["TestMine"], BackendConformance)


def test_the_example_of_a_report_writes_one_line_for_each_number() -> None:
    names: dict[str, Any] = {"RunReport": RunReport}
    exec(example("pytest_lighteval/reports/scores_csv.py"), names)

    assert names["scores_csv"](run(GSM8K)) == "task,metric,value,n\nleaderboard|gsm8k|5,qem,0.35,100\n"


def test_the_folders_and_files_of_contributing_exist() -> None:
    table = CONTRIBUTING.partition("## The tests")[2].partition("No test uses")[0]
    folders = re.findall(r"`([a-z/]+)`", "".join(line.split("|")[1] for line in table.splitlines() if line.startswith("|")))
    files = re.findall(r"`((?:tests|pytest_lighteval|tools)/[\w/]+\.py)`", CONTRIBUTING)

    assert folders
    assert files
    assert [name for name in folders if not (ROOT / "tests" / name).is_dir()] == []
    assert [name for name in files if not (ROOT / name).is_file()] == []


def test_check_names_folders_and_files_that_exist() -> None:
    check = (ROOT / "check").read_text("utf-8")
    (quick,) = re.findall(r"quick=\$\(for name in (.*?);", check)
    (edge,) = re.findall(r"edge=\$\(for name in (.*?);", check)
    slow = re.findall(r"--ignore=([\w/]+\.py)", check)

    assert [name for name in quick.split() if not (ROOT / "tests" / name).is_dir()] == []
    assert [name for name in edge.split() if not (ROOT / "tests/plugin" / f"test_{name}.py").is_file()] == []
    assert [name for name in slow if not (ROOT / name).is_file()] == []
