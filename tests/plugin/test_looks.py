"""The looks at one task: what is asked in which of them, when each gate is certain, and when not to look at all."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.backends.fake import FakeBackend
from pytest_lighteval.baselines import baseline_of, pair_up
from pytest_lighteval.baselines.values import BaselineTask
from pytest_lighteval.evaluate import Case, EvaluationSettings, evaluate
from pytest_lighteval.gate.sequential import look_ends
from pytest_lighteval.gate.verdict import Outcome, Policy
from pytest_lighteval.plugin.looks import GateLooks
from pytest_lighteval.types import PromptTemplate, Task, TaskResult
from tests.baselines.samples import report


@pytest.fixture
def task(tmp_path: Path) -> Task:
    """Six hundred questions on passages of three."""
    rows = [{"question": f"what is {n}?", "choices": [f" a{n}", f" b{n}"], "answer": n % 2, "passage": f"p{n // 3}"} for n in range(600)]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Task(
        suite="mini",
        name="choice",
        prompt=PromptTemplate(query="{{ question }}", choices="{{ choices }}", gold="{{ answer }}"),
        metrics=("loglikelihood_acc", "loglikelihood_acc_norm"),
        path=tmp_path / "mini.yaml",
        line=1,
        data_files={"test": "test.jsonl"},
        hf_avail_splits=("test",),
        evaluation_splits=("test",),
    )


def measured(task: Task, *, settings: EvaluationSettings | None = None, looks: GateLooks | None = None, **model: object) -> TaskResult:
    return evaluate(task, FakeBackend(accuracy=0.8, **model), few_shots=0, settings=settings, looks=looks)


def baseline_task(result: TaskResult) -> BaselineTask:
    return baseline_of(report(result)).tasks[result.key]


def looks_at(baseline: BaselineTask, *metrics: str, most: int = 5, max_samples: int | None = None, **policy: Any) -> GateLooks:
    return GateLooks(
        key=baseline.key,
        baseline=baseline,
        policies=dict.fromkeys(metrics or ("acc",), Policy(**{"max_drop": 0.03, **policy})),
        alpha=0.05,
        most=most,
        max_samples=max_samples,
        pair_up=functools.partial(_pair_up, baseline),
    )


def _pair_up(baseline: BaselineTask, result: TaskResult, metric: str) -> Any:
    return pair_up(result, baseline, metric, stopped_early=result.num_saved > 0)


def asked(looks: GateLooks, task: Task, settings: EvaluationSettings | None = None) -> list[list[str]]:
    """Ids of the documents look by look."""
    found: list[list[str]] = []

    class Spy:
        def parts(self, cases: Sequence[Case]) -> Sequence[Sequence[int]]:
            parts = looks.parts(cases)
            found.extend([cases[index].doc.id for index in part] for part in parts)
            return parts

        def enough(self, result: TaskResult) -> bool:
            return False

    evaluate(task, FakeBackend(), few_shots=0, settings=settings, looks=Spy())
    return found


def test_an_unchanged_model_is_certified_before_the_end(task: Task) -> None:
    baseline = baseline_task(measured(task))
    looks = looks_at(baseline)

    result = measured(task, looks=looks)

    decision = looks.decided["acc"]
    assert decision.decision.outcome is Outcome.PASSED
    assert 0 < result.num_saved == decision.saved == 600 - decision.seen
    assert result.metrics["acc"].n == decision.seen


def test_a_large_loss_is_found_before_the_end(task: Task) -> None:
    looks = looks_at(baseline_task(measured(task)))

    result = measured(task, looks=looks, lose=0.15)

    assert looks.decided["acc"].decision.outcome is Outcome.REGRESSED
    assert result.num_saved > 0


def test_a_task_goes_on_until_its_last_gate_is_certain_and_each_keeps_its_own_last_word(task: Task) -> None:
    baseline = baseline_task(measured(task))
    looks = GateLooks(
        key=baseline.key,
        baseline=baseline,
        policies={"acc": Policy(max_drop=0.2), "acc_norm": Policy(max_drop=0.03)},
        alpha=0.05,
        most=5,
        max_samples=None,
        pair_up=functools.partial(_pair_up, baseline),
    )

    result = measured(task, looks=looks)

    assert looks.decided["acc"].look < looks.decided["acc_norm"].look
    assert result.metrics["acc"].n == looks.decided["acc_norm"].seen


def test_an_open_verdict_sees_every_document(task: Task) -> None:
    looks = looks_at(baseline_task(measured(task)), max_drop=0.001)

    result = measured(task, looks=looks)

    assert result.num_saved == 0
    assert looks.decided["acc"].decision.outcome is Outcome.INCONCLUSIVE
    assert (looks.decided["acc"].look, looks.planned) == (5, 5)


def test_every_document_is_in_one_look_and_in_the_same_one_each_time(task: Task) -> None:
    baseline = baseline_task(measured(task))

    first, again = (asked(looks_at(baseline), task) for _ in range(2))

    assert first == again
    assert tuple(map(len, first)) == tuple(end - start for start, end in zip((0, *look_ends(600)), look_ends(600), strict=False))
    assert sorted(name for part in first for name in part) == sorted(baseline.ids)
    canonical = list(baseline.ids)
    assert all(part == sorted(part, key=canonical.index) for part in first)


def test_the_order_mixes_what_the_data_set_has_together(task: Task) -> None:
    (first, *_) = asked(looks_at(baseline_task(measured(task))), task)

    rows = [int(name.partition(":")[2]) for name in first]
    assert 40 < sum(row < 300 for row in rows) < 80


def test_documents_of_one_source_are_in_one_look(task: Task) -> None:
    from dataclasses import replace

    clustered = replace(task, cluster="passage")
    parts = asked(looks_at(baseline_task(measured(clustered))), clustered)

    where = {}
    for number, part in enumerate(parts):
        for name in part:
            assert where.setdefault(int(name.partition(":")[2]) // 3, number) == number


def test_all_few_shot_seeds_of_a_document_are_in_one_look(task: Task) -> None:
    settings = EvaluationSettings(few_shot_seeds=2)
    looks = looks_at(baseline_task(measured(task, settings=settings)))

    parts = asked(looks, task, settings)

    assert [len(part) for part in parts] == [2 * len(set(part)) for part in parts]


@pytest.mark.parametrize("shorter", ["baseline", "run"])
def test_other_documents_than_the_baselines_are_not_looked_at(task: Task, shorter: str) -> None:
    some = EvaluationSettings(max_samples=300)
    baseline = baseline_task(measured(task, settings=some if shorter == "baseline" else None))
    looks = looks_at(baseline)

    parts = asked(looks, task, None if shorter == "baseline" else some)

    assert len(parts) == 1


def test_a_limit_that_was_asked_for_is_looked_at_within(task: Task) -> None:
    some = EvaluationSettings(max_samples=300)

    parts = asked(looks_at(baseline_task(measured(task)), max_samples=300), task, some)

    assert tuple(map(len, parts)) == (60,) * 5


def test_a_baseline_of_other_prompts_never_ends_a_run(task: Task) -> None:
    from dataclasses import replace

    looks = looks_at(baseline_task(measured(task)))

    result = measured(replace(task, prompt=replace(task.prompt, query="Q: {{ question }}")), looks=looks)

    assert (result.num_saved, looks.decided) == (0, {})
