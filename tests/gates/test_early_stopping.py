"""Early stopping of one task: which documents each part asks, when each gate is decided, and when a task is asked as a whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.asking import PromptedDoc
from pytest_lighteval.backends.fake import FakeBackend
from pytest_lighteval.baselines.align import MismatchKind
from pytest_lighteval.baselines.model import BaselineTask
from pytest_lighteval.baselines.save import baseline_of
from pytest_lighteval.comparison.decision import GateOutcome, Policy
from pytest_lighteval.comparison.sequential import look_ends
from pytest_lighteval.evaluate import EvaluationSettings, evaluate
from pytest_lighteval.gates.early_stopping import EarlyStopping, stopping_gates
from pytest_lighteval.gates.plan import PairedGate, plan_gates
from pytest_lighteval.metrics import metric as registered
from pytest_lighteval.types import GateSpec, PromptTemplate, Task, TaskKey, TaskResult
from tests.baselines.samples import report

KEY = TaskKey(suite="mini", task="choice", few_shots=0)


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


def measured(
    task: Task, *, settings: EvaluationSettings | None = None, stopping: EarlyStopping | None = None, **model: object
) -> TaskResult:
    return evaluate(task, FakeBackend(accuracy=0.8, **model), few_shots=0, settings=settings, stopping=stopping)


def baseline_task(result: TaskResult) -> BaselineTask:
    return baseline_of(report(result)).tasks[result.key]


def gate(metric: str, **spec: Any) -> PairedGate:
    return PairedGate(
        key=KEY,
        metric=metric,
        corpus=registered(f"loglikelihood_{metric}").corpus[metric],
        spec=GateSpec(**spec),
        advisory=False,
        alpha=0.05,
    )


def stopping_at(
    baseline: BaselineTask, *gates: PairedGate, most: int = 5, max_samples: int | None = None, max_drop: float = 0.03
) -> EarlyStopping:
    return EarlyStopping(gates or (gate("acc"),), baseline, Policy(max_drop=max_drop), most=most, max_samples=max_samples)


def asked(stopping: EarlyStopping, task: Task, settings: EvaluationSettings | None = None) -> list[list[str]]:
    """Ids of the documents, part by part."""
    found: list[list[str]] = []

    class Spy:
        def parts(self, docs: Sequence[PromptedDoc]) -> Sequence[Sequence[int]]:
            parts = stopping.parts(docs)
            found.extend([docs[index].doc.id for index in part] for part in parts)
            return parts

        def should_stop(self, result: TaskResult) -> bool:
            return False

    evaluate(task, FakeBackend(), few_shots=0, settings=settings, stopping=Spy())
    return found


def test_an_unchanged_model_is_certified_before_the_end(task: Task) -> None:
    baseline = baseline_task(measured(task))
    stopping = stopping_at(baseline)

    result = measured(task, stopping=stopping)

    decision = stopping.decided["acc"]
    assert decision.decision.outcome is GateOutcome.PASSED
    assert 0 < result.num_saved == decision.saved == 600 - decision.seen
    assert result.metrics["acc"].n == decision.seen
    verdict = stopping.verdict(gate("acc"))
    assert verdict is not None
    assert (verdict.outcome, verdict.n, verdict.red) == ("PASSED", decision.seen, False)
    assert verdict.notes == (
        f"check {decision.look} of 5",
        f"stopped early: {decision.seen} of the baseline's 600 documents are compared",
    )


def test_a_large_loss_is_found_before_the_end(task: Task) -> None:
    stopping = stopping_at(baseline_task(measured(task)))

    result = measured(task, stopping=stopping, lose=0.15)

    assert stopping.decided["acc"].decision.outcome is GateOutcome.REGRESSED
    assert result.num_saved > 0


def test_a_task_goes_on_until_its_last_gate_is_certain_and_each_keeps_its_own_verdict(task: Task) -> None:
    baseline = baseline_task(measured(task))
    stopping = stopping_at(baseline, gate("acc", max_drop=0.2), gate("acc_norm"))

    result = measured(task, stopping=stopping)

    assert stopping.decided["acc"].look < stopping.decided["acc_norm"].look
    assert result.metrics["acc"].n == stopping.decided["acc_norm"].seen


def test_an_inconclusive_task_is_asked_every_document(task: Task) -> None:
    stopping = stopping_at(baseline_task(measured(task)), max_drop=0.001)

    result = measured(task, stopping=stopping)

    assert result.num_saved == 0
    assert stopping.decided["acc"].decision.outcome is GateOutcome.INCONCLUSIVE
    verdict = stopping.verdict(gate("acc"))
    assert verdict is not None
    assert verdict.notes == ("check 5 of 5",)


def test_every_document_is_in_one_part_and_in_the_same_one_each_time(task: Task) -> None:
    baseline = baseline_task(measured(task))

    first, again = (asked(stopping_at(baseline), task) for _ in range(2))

    assert first == again
    assert tuple(map(len, first)) == tuple(end - start for start, end in zip((0, *look_ends(600)), look_ends(600), strict=False))
    assert sorted(name for part in first for name in part) == sorted(baseline.ids)
    canonical = list(baseline.ids)
    assert all(part == sorted(part, key=canonical.index) for part in first)


def test_the_order_mixes_what_the_data_set_has_together(task: Task) -> None:
    (first, *_) = asked(stopping_at(baseline_task(measured(task))), task)

    rows = [int(name.partition(":")[2]) for name in first]
    assert 40 < sum(row < 300 for row in rows) < 80


def test_documents_of_one_source_are_in_one_part(task: Task) -> None:
    clustered = replace(task, cluster="passage")
    parts = asked(stopping_at(baseline_task(measured(clustered))), clustered)

    where: dict[int, int] = {}
    for number, part in enumerate(parts):
        for name in part:
            assert where.setdefault(int(name.partition(":")[2]) // 3, number) == number


def test_all_few_shot_seeds_of_a_document_are_in_one_part(task: Task) -> None:
    settings = EvaluationSettings(few_shot_seeds=2)
    stopping = stopping_at(baseline_task(measured(task, settings=settings)))

    parts = asked(stopping, task, settings)

    assert [len(part) for part in parts] == [2 * len(set(part)) for part in parts]


@pytest.mark.parametrize("shorter", ["baseline", "run"])
def test_a_task_with_other_documents_than_the_baseline_is_asked_in_full(task: Task, shorter: str) -> None:
    some = EvaluationSettings(max_samples=300)
    baseline = baseline_task(measured(task, settings=some if shorter == "baseline" else None))
    stopping = stopping_at(baseline)

    parts = asked(stopping, task, None if shorter == "baseline" else some)

    assert len(parts) == 1


def test_a_limit_of_documents_is_divided_into_parts_too(task: Task) -> None:
    some = EvaluationSettings(max_samples=300)

    parts = asked(stopping_at(baseline_task(measured(task)), max_samples=300), task, some)

    assert tuple(map(len, parts)) == (60,) * 5


def test_a_baseline_of_other_prompts_never_ends_a_run(task: Task) -> None:
    stopping = stopping_at(baseline_task(measured(task)))

    result = measured(replace(task, prompt=replace(task.prompt, query="Q: {{ question }}")), stopping=stopping)

    assert (result.num_saved, stopping.decided) == (0, {})
    assert stopping.verdict(gate("acc")) is None


def test_documents_that_lost_their_score_keep_a_task_from_stopping_early(task: Task) -> None:
    """The user allows them; alpha was divided over looks at other documents."""
    baseline, whole = baseline_task(measured(task)), measured(task)
    stopping = EarlyStopping([gate("acc")], baseline, Policy(max_drop=0.03), most=5, allow=[MismatchKind.SCORES])
    asked(stopping, task)
    documents = tuple(
        replace(document, values={**document.values, "acc": None}) if row % 5 == 0 else document
        for row, document in enumerate(whole.documents)
    )

    assert not stopping.should_stop(replace(whole, documents=documents))
    assert stopping.verdict(gate("acc")) is None


def test_a_stopped_run_is_no_baseline(task: Task) -> None:
    stopping = stopping_at(baseline_task(measured(task)))

    stopped = measured(task, stopping=stopping)

    assert stopped.num_saved > 0
    assert baseline_of(report(stopped)).tasks == {}


def test_tasks_of_a_superset_and_corpus_metrics_never_stop_early(task: Task) -> None:
    members = [replace(task, name=f"words:{name}") for name in ("short", "long")]
    translated = replace(task, name="translated", metrics=("bleu",))
    named = {replace(KEY, task=entry.name): entry for entry in (task, *members, translated)}

    plan = plan_gates(named.items(), promised=lambda key: {"acc", "bleu"}, file=None, policy=Policy())

    assert [key.task for key in named if stopping_gates(plan, key)] == ["choice"]
