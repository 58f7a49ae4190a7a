"""Every shipped suite file loads, names its folder's suite, known metrics and unique tasks, and fits the published schema."""

from __future__ import annotations

import json

import jsonschema
import pytest
import yaml

from pytest_lighteval.tasks.catalogue import Catalogue, shipped_suites
from tests.shared import ROOT

SUITES = shipped_suites()
FILES = sorted(path.relative_to(SUITES).as_posix() for path in Catalogue().suite_files(SUITES))
"""Without the families of many languages, of which `tests/golden/test_multilingual.py` loads every task."""
SCHEMA = jsonschema.Draft202012Validator(json.loads((ROOT / "pytest_lighteval" / "suite.schema.json").read_text("utf-8")))


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue()


@pytest.mark.parametrize("name", FILES)
def test_a_suite_file_loads_under_its_folders_name_and_fits_the_schema(name: str, catalogue: Catalogue) -> None:
    tasks = catalogue.load(SUITES / name)

    assert {task.suite for task in tasks} == {name.partition("/")[0]}
    SCHEMA.validate(yaml.load((SUITES / name).read_text("utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


def test_no_task_is_declared_twice(catalogue: Catalogue) -> None:
    ids = [task.id for name in FILES for task in catalogue.load(SUITES / name)]

    assert len(set(ids)) == len(ids)


def test_every_adapter_exists(catalogue: Catalogue) -> None:
    from importlib import import_module

    adapters = {task.prompt.adapter for name in FILES for task in catalogue.load(SUITES / name) if task.prompt.adapter}
    missing = [
        reference
        for reference in adapters
        if not callable(getattr(import_module(reference.partition(":")[0]), reference.partition(":")[2], None))
    ]

    assert not missing
