"""Each corrected task is its parity task but for what docs/corrected.md states, and each known defect names a task that is there."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import fields

import pytest

from pytest_lighteval.metrics import metric
from pytest_lighteval.tasks.catalogue import Catalogue
from pytest_lighteval.types import Ask, PromptTemplate, Task

CATALOGUE = Catalogue()
TASKS = {task.id: task for task in CATALOGUE.tasks_below(CATALOGUE.shipped)}
CORRECTED = [task for task in TASKS.values() if task.suite == "corrected"]
EVERYWHERE = {"suite", "name", "path", "line", "known_defect", "corrected_by", "system_prompt_apart", "version", "accepted_findings"}
MAY_DIFFER: Mapping[str, Set[str]] = {
    "bigbench.*": {"metrics", "generation_size"},
    "bigbench.conlang_translation": {"metrics", "generation_size", "stop_sequence"},
    "bigbench.physics_questions": {"metrics", "generation_size", "hf_filter"},
    "bigbench.minute_mysteries_qa": {"metrics", "generation_size", "stop_sequence"},
    "bigbench.coqa_bb": {"metrics", "generation_size", "prompt.query", "prompt.choices"},
    "community.aimo_progress_prize_1": {"metrics"},
    "community.bac-fr": {"metrics", "generation_size", "stop_sequence", "prompt.query", "prompt.choices", "prompt.fewshot_sorting_class"},
    **dict.fromkeys(("extended.tiny:arc", "extended.tiny:hellaswag", "extended.tiny:truthfulqa"), frozenset({"metrics"})),
    "harness.bbh": {"metrics", "generation_size"},
    "extended.lcb": {"metrics"},
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
    "original.mmlu": {"prompt.instruction", "prompt.choices"},
    "lighteval.asdiv": {"prompt.choices"},
    "lighteval.coqa": {"metrics", "generation_size", "prompt.query", "prompt.choices"},
    "lighteval.coqa_bb": {"metrics", "generation_size", "prompt.query", "prompt.choices"},
    "lighteval.drop": {"metrics", "generation_size", "stop_sequence", "prompt.choices", "prompt.specific"},
    "lighteval.gpqa": {"metrics"},
    "lighteval.gsm8k": {"metrics", "generation_size"},
    "lighteval.math": {"metrics", "stop_sequence"},
    "lighteval.math_cot": {"metrics", "stop_sequence"},
    "lighteval.mgsm": {"metrics", "generation_size", "stop_sequence"},
    "lighteval.unscramble": {"metrics", "generation_size"},
    "lighteval.triviaqa": {"metrics", "generation_size", "stop_sequence", "prompt.choices", "prompt.adapter"},
}
"""Task, superset or suite -> the fields whose values may differ."""

SOUND = {"bleu", "f1_score_macro"}
"""Metrics of texts that have no corrected version."""


def parity_of(task: Task) -> Task:
    """The task that a corrected one corrects."""
    suite, _, name = task.name.partition(".")
    return TASKS[f"{suite}|{name}"]


def values(task: Task) -> dict[str, object]:
    prompt = {f"prompt.{field.name}": getattr(task.prompt, field.name) for field in fields(PromptTemplate)}
    return {field.name: getattr(task, field.name) for field in fields(Task) if field.name != "prompt"} | prompt


@pytest.mark.parametrize("task", CORRECTED, ids=lambda task: task.name)
def test_a_corrected_task_differs_where_it_says_and_its_parity_task_names_it(task: Task) -> None:
    parity = parity_of(task)
    ours, theirs = values(task), values(parity)

    differing = {name for name in ours if ours[name] != theirs[name]} - EVERYWHERE
    names = (task.name, task.superset or "", f"{parity.suite}.*")
    assert differing <= next(MAY_DIFFER[name] for name in names if name in MAY_DIFFER)
    assert task.system_prompt_apart
    assert task.known_defect is None
    assert parity.corrected_by in (f"corrected|{task.name}", f"corrected|{task.superset}")


def test_a_known_defect_names_a_task_that_is_there() -> None:
    named = {task.corrected_by for task in TASKS.values() if task.corrected_by is not None}
    covered = {name for name in named for task in CORRECTED if name in (task.id, f"corrected|{task.superset}")}

    assert named == covered
    assert {name for name in MAY_DIFFER if not name.endswith("*")} <= {name.partition("|")[2] for name in named}


def test_corrected_tasks_score_with_corrected_metrics_and_no_other_task_does() -> None:
    for task in TASKS.values():
        generative = [name for name in task.metrics if not task.skip and metric(name).ask in (Ask.GENERATION, Ask.SAMPLES)]
        if task.suite == "corrected":
            assert all(name.endswith("_corrected") for name in set(generative) - SOUND)
        else:
            assert not any(name.endswith("_corrected") for name in task.metrics)
