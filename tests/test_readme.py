"""The README's examples name options and fields that there are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import yaml

from pytest_lighteval.gates.gate_file import load_gates
from pytest_lighteval.plugin.options import OPTIONS
from tests.shared import ROOT

README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
PYTESTS = {"--collect-only", "--lf", "--maxfail", "--durations", "--junitxml"}


def test_every_option_that_is_named_exists() -> None:
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README))

    assert named - PYTESTS - {"--lighteval-"} <= {f"--{option.name}" for option in OPTIONS}


def test_every_option_that_exists_is_named() -> None:
    assert {f"--{option.name}" for option in OPTIONS} - set(re.findall(r"--[a-z][a-z-]+", README)) == set()


def test_the_job_is_one_of_github_actions_that_runs_one_command() -> None:
    (job,) = (yaml.safe_load(block)["jobs"]["gate"] for block in BLOCKS if block.startswith("# .github"))
    commands = [shlex.split(step["run"]) for step in job["steps"] if "run" in step]

    assert [command[0] for command in commands] == ["pip", "pytest"]
    assert "--baseline=baselines/smollm2.json" in commands[1]


def test_the_floors_are_a_gates_file(tmp_path: Path) -> None:
    (floors,) = (block for block in BLOCKS if block.startswith("# floors.yaml"))
    (tmp_path / "floors.yaml").write_text(floors, "utf-8")

    assert len(load_gates(tmp_path / "floors.yaml").entries) == 3
