"""Every line of the shipped task lists is the spec of a task that Lighteval v0.9.2 has."""

from __future__ import annotations

import json

import pytest

from pytest_lighteval.tasks.catalogue import Catalogue
from pytest_lighteval.tasks.task_spec import parse_specs
from tests.shared import ROOT, SHARED, needs_shared

LISTS = ROOT / "suites" / "lists"
REGISTRY = SHARED / "reference" / "tasks_v092_core.json"


def _specs(name: str) -> list[str]:
    return [str(spec) for spec in parse_specs(f"./{name}.txt", folder=LISTS)]


def test_every_shipped_list_is_tested_here() -> None:
    assert sorted(path.name for path in LISTS.iterdir()) == ["bbh.txt", "finetasks", "open_llm_leaderboard.txt", "recommended.txt"]


def test_the_leaderboard_is_six_benchmarks_with_its_published_few_shot_counts() -> None:
    assert _specs("open_llm_leaderboard") == [
        "leaderboard|arc:challenge|25|0",
        "leaderboard|hellaswag|10|0",
        "leaderboard|mmlu|5|0",
        "leaderboard|truthfulqa:mc|0|0",
        "leaderboard|winogrande|5|0",
        "leaderboard|gsm8k|5|0",
    ]


def test_bbh_is_asked_in_two_prompts_with_three_examples() -> None:
    assert _specs("bbh") == ["lighteval|bigbench|3|0", "harness|bigbench|3|0"]


def test_the_recommended_set_gives_no_examples_and_repeats_no_task() -> None:
    specs = _specs("recommended")

    assert all(spec.endswith("|0|0") for spec in specs)
    assert len(set(specs)) == len(specs)


@needs_shared
@pytest.mark.parametrize(("name", "tasks"), [("open_llm_leaderboard", 62), ("recommended", 145), ("bbh", 36)])
def test_a_list_selects_as_many_tasks_as_in_the_reference(name: str, tasks: int) -> None:
    registry = json.loads(REGISTRY.read_text("utf-8"))["tasks"]
    known = {(suite, task["name"]) for task in registry for suite in task["suite"]}
    named: list[tuple[str, str]] = []
    for spec in parse_specs(f"./{name}.txt", folder=LISTS):
        own = (spec.suite, spec.task.removesuffix("_labelled"))
        found = [own] if own in known else [one for one in known if one[0] == spec.suite and one[1].startswith(f"{spec.task}:")]
        assert found, f"{spec} names no task of the reference"
        named += found

    assert len(named) == len(set(named)) == tasks


@pytest.mark.parametrize(("name", "tasks"), [("open_llm_leaderboard", 62), ("recommended", 145), ("bbh", 36)])
def test_a_list_selects_as_many_shipped_tasks(name: str, tasks: int) -> None:
    by_file = Catalogue().select(parse_specs(f"./{name}.txt", folder=LISTS))

    assert sum(map(len, by_file.values())) == tasks


@pytest.mark.parametrize("formulation", ["cf", "mcf"])
def test_finetasks_lists_name_tasks_of_their_language_and_formulation(formulation: str) -> None:
    counts = {"ara": 59, "fra": 65, "hin": 66, "rus": 69, "swa": 66, "tel": 63, "tha": 63, "tur": 72, "zho": 141}
    catalogue = Catalogue()
    for path in sorted((LISTS / "finetasks").glob(f"*_{formulation}.txt")):
        language = path.stem.partition("_")[0]
        selected = [one for file in catalogue.select(parse_specs(f"./{path.name}", folder=path.parent)).values() for one in file]

        assert {one.task.language for one in selected} == {language}
        assert {one.task.prompt.formulation for one in selected} <= {formulation, None}
        assert {(one.few_shots, one.truncate) for one in selected} <= {(0, True), *([(5, True)] if formulation == "mcf" else [])}
        assert len(selected) == counts.pop(language)
    assert not counts
