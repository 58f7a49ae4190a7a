"""docs/tasks.md lists the shipped tasks as they are, and each spec in it selects what its row says."""

from __future__ import annotations

import re
from pathlib import Path

from pytest_lighteval.tasks.catalogue import Catalogue
from pytest_lighteval.tasks.suite_file import declared_names, task_name
from pytest_lighteval.tasks.task_spec import parse_specs
from tools.task_index import LANGUAGES, PAGE, render

ROW = re.compile(r"\| `(?P<spec>[^`]+)` \| (?:<details><summary>)?(?P<tasks>\d+)")


def test_the_index_is_in_step_with_the_suites() -> None:
    assert PAGE.read_text("utf-8") == render(), "run: python -m tools.task_index"


def test_the_table_of_families_is_in_step_with_them() -> None:
    """Of its columns the number of tasks; to make all of them takes seconds."""
    rows = dict(re.findall(r"^\| \[([^\]]+)\]\(\.\./suites/multilingual/.*?\| (\d+) \| \d+ \|", LANGUAGES.read_text("utf-8"), re.MULTILINE))
    families = {path.stem: path for (suite, _), path in Catalogue().families.files.items() if suite == "lighteval"}

    counts = {name: sum(task_name(one) == one for one in declared_names(path)) for name, path in families.items()}
    assert rows == {name: str(count) for name, count in counts.items()}, "run: python -m tools.task_index"


def test_the_specs_of_the_index_select_as_many_tasks_as_it_says() -> None:
    catalogue = Catalogue()
    rows = [(found["spec"].replace("\\|", "|"), int(found["tasks"])) for found in ROW.finditer(PAGE.read_text("utf-8"))]

    selected = {spec: sum(map(len, catalogue.select(parse_specs(spec, folder=Path())).values())) for spec, _ in rows if "<" not in spec}

    assert selected == {spec: tasks for spec, tasks in rows if "<" not in spec}
    assert sum(tasks for _, tasks in rows) == sum(1 for _ in catalogue.tasks_below(catalogue.shipped))
