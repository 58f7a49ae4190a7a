"""From an evaluation through the file to the statistics, with a backend whose loss is planted."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.backends.fake import FakeBackend
from pytest_lighteval.baselines.align import AlignedScores, Mismatch, align, corpus_rows, mean_scores
from pytest_lighteval.baselines.read import read_baselines
from pytest_lighteval.baselines.save import baseline_of, write_baseline
from pytest_lighteval.comparison.compare import compare
from pytest_lighteval.comparison.corpus import compare_corpus
from pytest_lighteval.comparison.paired import pair
from pytest_lighteval.evaluate import EvaluationSettings, evaluate
from pytest_lighteval.metrics import metric
from pytest_lighteval.tasks.suite_file import load_suite
from pytest_lighteval.types import TaskResult
from tests.baselines.samples import SETTINGS, report
from tests.shared import ROOT

TASKS = {task.name: task for task in load_suite(ROOT / "suites" / "demo" / "demo.yaml")}


def measured(name: str, *, few_shots: int, settings: EvaluationSettings | None = None, **arguments: Any) -> TaskResult:
    return evaluate(TASKS[name], FakeBackend(**arguments), few_shots=few_shots, settings=settings)


@pytest.mark.parametrize(("name", "few_shots"), [("multiple_choice", 3), ("short_answer", 3), ("perplexity", 0)])
def test_a_model_that_did_not_change_lost_nothing(tmp_path: Path, name: str, few_shots: int) -> None:
    before = measured(name, few_shots=few_shots)
    write_baseline(tmp_path / "b.json", baseline_of(report(before)))
    baseline = read_baselines([tmp_path / "b.json"]).find(before.key)
    assert baseline is not None

    for reported in before.metrics:
        pairs = align(measured(name, few_shots=few_shots), baseline, reported, settings=SETTINGS)
        assert isinstance(pairs, AlignedScores)
        assert pairs.candidate == pairs.baseline
        assert len(pairs.ids) == len(before.documents)
        assert pairs.notes == ()


def test_a_planted_regression_is_found_in_the_documents_that_were_lost(tmp_path: Path) -> None:
    before = measured("multiple_choice", few_shots=3, accuracy=1.0)
    write_baseline(tmp_path / "b.json", baseline_of(report(before)))
    lost = tuple(document.id for document in before.documents[:9])
    after = measured("multiple_choice", few_shots=3, accuracy=1.0, wrong=lost)
    baseline = read_baselines([tmp_path]).find(after.key)
    assert baseline is not None
    pairs = align(after, baseline, "acc")
    assert isinstance(pairs, AlignedScores)

    comparison = compare(pair(*mean_scores(pairs), clusters=pairs.clusters), alpha=0.05)

    assert (comparison.n, comparison.lost, comparison.won) == (96, 9, 0)
    assert comparison.p == pytest.approx(2**-9)
    assert [name for name, old, new in zip(pairs.ids, pairs.baseline, pairs.candidate, strict=True) if old != new] == list(lost)


def test_a_corpus_metric_is_compared_over_the_same_documents(tmp_path: Path) -> None:
    before = measured("perplexity", few_shots=0, bits_per_byte=2.0)
    after = measured("perplexity", few_shots=0, bits_per_byte=2.5)
    write_baseline(tmp_path / "b.json", baseline_of(report(before)))
    baseline = read_baselines([tmp_path]).find(after.key)
    assert baseline is not None
    pairs = align(after, baseline, "bits_per_byte")
    assert isinstance(pairs, AlignedScores)
    old, new, clusters = corpus_rows(pairs)

    comparison = compare_corpus(old, new, metric("bits_per_byte").corpus["bits_per_byte"], alpha=0.05, clusters=clusters)

    assert comparison.baseline == before["bits_per_byte"]
    assert comparison.candidate == after["bits_per_byte"]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (EvaluationSettings(use_chat_template=True), "the chat template is used now"),
        (EvaluationSettings(system_prompt="Be brief."), "another system prompt"),
    ],
    ids=["template", "system prompt"],
)
def test_other_prompts_are_noticed(settings: EvaluationSettings, text: str) -> None:
    before = baseline_of(report(measured("short_answer", few_shots=3)))
    after = measured("short_answer", few_shots=3, settings=settings)
    asked = SETTINGS | {"use_chat_template": settings.use_chat_template, "system_prompt": settings.system_prompt}

    stale = align(after, before.tasks[after.key], "em", settings=asked)

    assert isinstance(stale, Mismatch)
    assert [(reason.kind.value, text in reason.text) for reason in stale.reasons] == [("prompts", True)]


def test_max_samples_compares_the_nested_subset() -> None:
    before = measured("multiple_choice", few_shots=3)
    after = measured("multiple_choice", few_shots=3, settings=EvaluationSettings(max_samples=10))

    pairs = align(after, baseline_of(report(before)).tasks[after.key], "acc")

    assert isinstance(pairs, AlignedScores)
    assert pairs.ids == tuple(document.id for document in before.documents[:10])
    assert pairs.candidate == pairs.baseline
    assert pairs.notes == ("--max-samples 10: the first 10 of the baseline's 96 documents are compared",)


def test_aligned_scores_are_what_the_tests_take() -> None:
    """The two sides come first, and clusters are named, in both."""
    assert list(inspect.signature(pair).parameters)[:2] == ["baseline", "candidate"]
    assert list(inspect.signature(compare_corpus).parameters)[:2] == ["baseline", "candidate"]


def test_the_committed_baseline_of_the_demo_fits_its_suite() -> None:
    """Whatever the model: prompts, data and versions are those that were measured, or the demo and its tests would be errors."""
    (place,) = read_baselines([ROOT / "baselines" / "demo.json"]).places
    tasks = place[0].baseline.tasks

    assert {str(key) for key in tasks} == {f"demo|{task.name}|{few_shots}" for task in TASKS.values() for few_shots in task.few_shots}
    for key, baseline in tasks.items():
        after = measured(key.task, few_shots=key.few_shots)
        for reported in baseline.metrics:
            assert isinstance(align(after, baseline, reported), AlignedScores), (key, reported)
