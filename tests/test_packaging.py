"""The wheel holds what a user needs: installed somewhere else, it knows every shipped suite."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.shared import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the unpacked wheel, to stand in front of everything installed."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    site = folder / "site"
    zipfile.ZipFile(wheel).extractall(site)
    return site


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_wheel_ships_every_suite_and_list(site: Path) -> None:
    assert files(site / "pytest_lighteval/_suites") == files(ROOT / "suites")
    assert (site / "pytest_lighteval/py.typed").is_file()
    assert (site / "pytest_lighteval/suite.schema.json").is_file()


def test_an_installed_package_collects_its_suites_from_any_directory(site: Path, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-P", "-m", "pytest", "--collect-only", "-q", "--backend", "fake", "--tasks", "leaderboard|mmlu|5|0"]

    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert result.stdout.splitlines()[0] == "suites/leaderboard/mmlu.yaml::mmlu:abstract_algebra[5-shot]"
    assert "57 tests collected" in result.stdout
