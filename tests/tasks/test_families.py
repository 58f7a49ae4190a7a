"""Families of many languages are read only when a name, a pattern or a path asks for them, and then only as far as it does."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pytest_lighteval.errors import UserInputError
from pytest_lighteval.tasks.catalogue import Catalogue
from pytest_lighteval.tasks.suite_file import declared_names, load_suite
from pytest_lighteval.tasks.suite_schema import SCHEMA_PATH
from pytest_lighteval.tasks.task_spec import TaskPattern, parse_specs
from pytest_lighteval.types import Task, TaskKey

CATALOGUE = Catalogue()
FILES = CATALOGUE.families.files
SCHEMA = jsonschema.Draft202012Validator(json.loads(SCHEMA_PATH.read_text("utf-8")))


def names(spec: str) -> list[str]:
    return [chosen.task.name for found in Catalogue().select(parse_specs(spec, folder=Path())).values() for chosen in found]


@pytest.mark.parametrize("start", [start for _, start in FILES])
def test_the_names_of_a_family_begin_with_its_files_name_and_fit_the_schema(start: str) -> None:
    path = next(path for (_, other), path in FILES.items() if other == start)
    found = declared_names(path)

    assert found
    assert all(name.startswith(start) for name in found)
    assert len(set(found)) == len(found)
    SCHEMA.validate(yaml.load(path.read_text("utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


def test_no_task_of_a_family_is_among_the_tasks_of_all_suites() -> None:
    assert not [task.id for task in CATALOGUE.every_task() if CATALOGUE.families.holds(task.path)]


def test_a_name_reads_the_one_file_that_can_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def load(path: Path, **options: Any) -> list[Task]:
        read.append(path.name)
        return load_suite(path, **options)

    monkeypatch.setattr("pytest_lighteval.tasks.catalogue.load_suite", load)

    (task,) = CATALOGUE.find(TaskPattern(suite="lighteval", task="global_mmlu_all_tha_cf:anatomy"))

    assert (task.language, task.prompt.formulation, task.hf_filter) == ("tha", "cf", "subject.lower() == 'anatomy'")
    assert [name for name in read if name.startswith("global")] == ["global_mmlu_all.yaml"]


def test_a_name_without_its_subtask_means_all_of_them() -> None:
    found = names("lighteval|mlmm_mmlu_fra_mcf|5|0")

    assert len(found) == 57
    assert all(name.startswith("mlmm_mmlu_fra_mcf:") for name in found)


def test_a_pattern_means_every_task_that_it_fits_by_its_name_or_its_supersets() -> None:
    assert len(names("lighteval|belebele_*_cf|0|0")) == 92
    assert names("lighteval|xnli_[de]*_cf|0") == ["xnli_eng_cf", "xnli_deu_cf", "xnli_ell_cf"]
    assert len(names("lighteval|thai_exams_*_mcf|0")) == 5
    assert names("leaderboard|arc:*|25") == ["arc:challenge"]


def test_the_superset_of_a_family_is_all_of_its_languages() -> None:
    assert names("lighteval|xnli_cf:_average|0") == names("lighteval|xnli_cf|0") == names("lighteval|xnli_???_cf|0")


@pytest.mark.parametrize(
    ("task", "superset", "part", "formulation"),
    [
        ("belebele_tha_Thai_cf", "belebele_cf", None, "cf"),
        ("mlmm_mmlu_fra_mcf:anatomy", "mlmm_mmlu_mcf", "mlmm_mmlu_fra_mcf", "mcf"),
        ("lighteval.pawsx_deu_hybrid", "lighteval.pawsx_hybrid", None, "hybrid"),
        ("mkqa_ara:entity", "mkqa_ara", None, None),
        ("mmlu:anatomy", "mmlu", None, None),
        ("gsm8k", None, None, None),
    ],
)
def test_a_task_of_many_languages_is_a_part_of_its_family(
    task: str, superset: str | None, part: str | None, formulation: str | None
) -> None:
    key = TaskKey(suite="lighteval", task=task, few_shots=5)

    def row(name: str | None) -> TaskKey | None:
        return name and TaskKey(suite="lighteval", task=f"{name}:_average", few_shots=5)  # type: ignore[return-value]

    assert (key.superset, key.part, key.formulation) == (row(superset), row(part), formulation)


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("lighteval|belebele_tha_Tha_cf|0", "has no task 'belebele_tha_Tha_cf' (did you mean 'belebele_tha_Thai_cf' or"),
        ("lighteval|belebele_*_fc|0", "has no task that fits 'belebele_*_fc'"),
    ],
)
def test_a_wrong_name_is_told_the_nearest_of_its_family(spec: str, problem: str) -> None:
    with pytest.raises(UserInputError) as caught:
        names(spec)

    assert problem in str(caught.value)


def test_gates_and_waivers_name_no_pattern() -> None:
    with pytest.raises(UserInputError, match=r"\* and \? are for --tasks"):
        CATALOGUE.find(TaskPattern(suite="lighteval", task="belebele_*_cf"))


def test_a_language_without_a_word_is_refused_by_the_word() -> None:
    (task,) = CATALOGUE.find(TaskPattern(suite="lighteval", task="belebele_ben_Beng_cf"))

    assert task.skip == "Bangla (ben) has no word for 'answer'; prompt.words can give it"


CORRECTED = {
    "pawsx": {"prompt.inputs"},
    "rummlu": {"hf_filter"},
    "tydiqa": {"hf_filter"},
    "xquad": {"few_shots_reserved"},
    "community_hellaswag": {"few_shots_reserved"},
    "ceval": {"prompt.adapter"},
    "agieval": {"prompt.adapter"},
    "xcodah": {"prompt.adapter"},
    "xwinograd": {"prompt.adapter"},
}
"""Family -> the fields in which a sound task differs, beside those of every corrected one."""
EVERYWHERE = {"suite", "name", "path", "line", "known_defect", "corrected_by", "system_prompt_apart"}


def values(task: Task) -> dict[str, object]:
    prompt = {f"prompt.{field.name}": getattr(task.prompt, field.name) for field in fields(task.prompt)}
    return {field.name: getattr(task, field.name) for field in fields(task) if field.name != "prompt"} | prompt


def test_every_family_with_a_sound_version_is_known() -> None:
    assert {path.stem for (suite, _), path in FILES.items() if suite == "corrected"} == set(CORRECTED)


@pytest.mark.parametrize("family", CORRECTED)
def test_a_sound_task_differs_where_it_says_and_its_parity_task_names_it(family: str) -> None:
    by_name = {task.name: task for task in CATALOGUE.load(CATALOGUE.families.root / f"{family}.yaml")}
    sound = CATALOGUE.load(CATALOGUE.families.root / "corrected" / f"{family}.yaml")
    defective = [task for task in by_name.values() if task.known_defect]

    for task in sound:
        parity = by_name[task.name.removeprefix("lighteval.")]
        ours, theirs = values(task), values(parity)
        differing = {name for name in ours if ours[name] != theirs[name]} - EVERYWHERE
        # of ruMMLU, the subject whose rows are those of all others is sound as it is
        assert differing == (set() if task.name.endswith(":world_religions") else CORRECTED[family]), task.name
        assert parity.corrected_by in (task.id, task.id.partition(":")[0])
        assert task.system_prompt_apart
        assert task.known_defect is None
    # the rest have no row in the data set
    assert {task.name for task in defective} - {task.name.removeprefix("lighteval.") for task in sound} == (
        {"tydiqa_jpn", "tydiqa_tha"} if family == "tydiqa" else set()
    )
