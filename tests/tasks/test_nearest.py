"""A wrong name or path is answered with what it may have meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_lighteval.tasks.catalogue import Catalogue
from pytest_lighteval.tasks.nearest import files_of, item_meant, path_meant, specs_meant


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue()


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        pytest.param("gsm8k", "(did you mean 'leaderboard|gsm8k|5|0' or 'lighteval|gsm8k|0|0'?)", id="a-bare-name"),
        pytest.param("gsm8k|3", "(did you mean 'leaderboard|gsm8k|3|0' or 'lighteval|gsm8k|3|0'?)", id="newer-lighteval"),
        pytest.param("gsm8k|3|1", "(did you mean 'leaderboard|gsm8k|3|1' or 'lighteval|gsm8k|3|1'?)", id="with-the-flag"),
        pytest.param("gms8k", "(did you mean 'leaderboard|gsm8k|5|0' or 'lighteval|gsm8k|0|0'?)", id="misspelt"),
        pytest.param("leaderboard|gsm8k", "(did you mean 'leaderboard|gsm8k|5|0'?)", id="no-count"),
        pytest.param("leaderboard|gms8k", "(did you mean 'leaderboard|gsm8k|5|0'?)", id="misspelt-without-a-count"),
        pytest.param("lighteval|gsm8k", "(did you mean 'lighteval|gsm8k|0|0'?)", id="no-count-and-the-suite-decides"),
        pytest.param("mmlu", "'leaderboard|mmlu|5|0'", id="a-superset"),
        pytest.param("belebele_tha_Thai_cf|2", "(did you mean 'lighteval|belebele_tha_Thai_cf|2|0'?)", id="of-a-family"),
        pytest.param("lighteval|belebele_tha_Tha_cf", "(did you mean 'lighteval|belebele_tha_Thai_cf|0|0'?)", id="misspelt-of-a-family"),
        pytest.param("mlmm_mmlu_fra_cf", "(did you mean 'lighteval|mlmm_mmlu_fra_cf|0|0'?)", id="subtasks-in-a-language"),
        pytest.param("no such task at all", "", id="nothing-near"),
    ],
)
def test_a_name_that_is_no_spec_means_the_specs_of_its_tasks(catalogue: Catalogue, text: str, meant: str) -> None:
    found = specs_meant(text, catalogue)

    assert meant in found
    assert bool(meant) == bool(found)


@pytest.mark.parametrize(
    ("argument", "meant"),
    [
        pytest.param("suites/leaderbord", "'suites/leaderboard'", id="misspelt"),
        pytest.param("suites/leaderboard/arc.yml", "(did you mean 'suites/leaderboard/arc.yaml'?)", id="the-other-suffix"),
        pytest.param("leaderboard", "(did you mean 'suites/leaderboard'?)", id="a-bare-suite"),
        pytest.param("tets", "(did you mean 'tests'?)", id="beside-it"),
        pytest.param("completely/elsewhere", "", id="nothing-near"),
    ],
)
def test_a_path_that_is_not_there_means_what_is_near(catalogue: Catalogue, tmp_path: Path, argument: str, meant: str) -> None:
    (tmp_path / "tests").mkdir()
    found = path_meant(argument, tmp_path, catalogue)

    assert meant in found
    assert bool(meant) == bool(found)


def test_an_item_that_is_not_in_its_file_means_the_nearest_one(catalogue: Catalogue) -> None:
    tasks = catalogue.load(catalogue.shipped / "leaderboard" / "gsm8k.yaml")
    items = {"gsm8k": ["gsm8k[5-shot]"]}

    assert item_meant("gsm8k", tasks, items) is None
    assert item_meant("gsm8k[5-shot]", tasks, items) is None
    assert item_meant("gsm8k[3-shot]", tasks, items) == "gsm8k runs as gsm8k[5-shot]"
    assert item_meant("gsm8", tasks, items) == "no task 'gsm8' in this file (did you mean 'gsm8k'?)"


def test_where_tasks_are_is_told_for_two_of_them(catalogue: Catalogue, tmp_path: Path) -> None:
    names = {catalogue.shipped / "a.yaml": ["x|a", "x|b"], tmp_path / "b.yaml": ["x|c"], tmp_path / "c.yaml": ["x|d"]}

    assert files_of(names, catalogue, tmp_path) == "x|a is in suites/a.yaml, x|c is in b.yaml, ..."
