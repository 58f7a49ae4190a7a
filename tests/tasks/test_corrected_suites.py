"""Each corrected task is its parity task but for what docs/corrected.md states, and each known defect names a task that is there."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import fields

import pytest

from pytest_lighteval.metrics import metric
from pytest_lighteval.tasks.catalogue import Catalogue
from pytest_lighteval.tasks.task_spec import TaskPattern
from pytest_lighteval.types import PromptTemplate, Task

CATALOGUE = Catalogue()
CORRECTED = [task for path in sorted((CATALOGUE.shipped / "corrected").glob("*.yaml")) for task in CATALOGUE.load(path)]
EVERYWHERE = {"suite", "name", "path", "line", "known_defect", "corrected_by", "system_prompt_apart", "version"}
MAY_DIFFER: Mapping[str, Set[str]] = {
    "bigbench.hindi_question_answering": {"metrics", "generation_size", "prompt.choices", "prompt.gold"},
    "bigbench.international_phonetic_alphabet_transliterate": {"metrics", "generation_size", "prompt.choices", "prompt.gold"},
    "community.aimo_progress_prize_1": {"metrics"},
    "community.bac-fr": {"metrics", "generation_size", "stop_sequence", "prompt.query", "prompt.choices", "prompt.fewshot_sorting_class"},
    "harness.bbh": {"metrics", "generation_size"},
    "helm.numeracy": {"metrics"},
    **dict.fromkeys(
        (
            *("helm.bbq", "helm.commonsenseqa", "helm.hellaswag", "helm.interactive_qa_mmlu", "helm.legalsupport", "helm.lsat_qa"),
            *("helm.med_mcqa", "helm.mmlu", "helm.openbookqa", "helm.pubmedqa", "helm.siqa", "helm.truthfulqa"),
        ),
        frozenset({"metrics"}),
    ),
    "helm.med_qa": {"metrics", "prompt.instruction"},
    "helm.piqa": {"metrics", "prompt.choices"},
    "leaderboard.gsm8k": {"metrics", "generation_size"},
    "leaderboard.mmlu": set(),
    "lighteval.drop": {"metrics", "generation_size", "stop_sequence", "prompt.choices", "prompt.specific"},
    "lighteval.gpqa": {"metrics"},
    "lighteval.gsm8k": {"metrics", "generation_size"},
    "lighteval.math": {"metrics", "stop_sequence"},
    "lighteval.math_cot": {"metrics", "stop_sequence"},
    "lighteval.mgsm": {"metrics", "generation_size", "stop_sequence"},
    "lighteval.triviaqa": {"metrics", "generation_size", "stop_sequence", "prompt.choices", "prompt.adapter"},
}
"""Task or superset -> the fields whose values may differ."""


def parity_of(task: Task) -> Task:
    """The task that a corrected one corrects."""
    suite, _, name = task.name.partition(".")
    (found,) = CATALOGUE.find(TaskPattern(suite=suite, task=name))
    return found


def values(task: Task) -> dict[str, object]:
    prompt = {f"prompt.{field.name}": getattr(task.prompt, field.name) for field in fields(PromptTemplate)}
    return {field.name: getattr(task, field.name) for field in fields(Task) if field.name != "prompt"} | prompt


@pytest.mark.parametrize("task", CORRECTED, ids=lambda task: task.name)
def test_a_corrected_task_differs_where_it_says_and_its_parity_task_names_it(task: Task) -> None:
    parity = parity_of(task)
    ours, theirs = values(task), values(parity)

    differing = {name for name in ours if ours[name] != theirs[name]} - EVERYWHERE
    name = task.name if task.name in MAY_DIFFER else task.superset
    assert name is not None
    assert differing <= MAY_DIFFER[name]
    assert task.system_prompt_apart
    assert task.known_defect is None
    assert parity.corrected_by in (f"corrected|{task.name}", f"corrected|{task.superset}")


def test_a_known_defect_names_a_task_that_is_there() -> None:
    named = {task.corrected_by for task in CATALOGUE.tasks_below(CATALOGUE.shipped) if task.corrected_by is not None}
    covered = {name for name in named for task in CORRECTED if name in (task.id, f"corrected|{task.superset}")}

    assert named == covered
    assert {f"corrected|{name}" for name in MAY_DIFFER} == named


def test_corrected_tasks_score_with_corrected_metrics_and_no_other_task_does() -> None:
    for task in CATALOGUE.tasks_below(CATALOGUE.shipped):
        generative = [name for name in task.metrics if not task.skip and not name.startswith("loglikelihood")]
        if task.suite == "corrected":
            assert all(name.endswith("_corrected") for name in generative)
            assert all(metric(name).corpus for name in generative)
        else:
            assert not any(name.endswith("_corrected") for name in task.metrics)
