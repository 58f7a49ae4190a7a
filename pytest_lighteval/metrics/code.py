"""Metrics of programs: the share that passes its tests, and pass@k. A sandbox runs the programs (`Metric.grader`)."""

from __future__ import annotations

from pytest_lighteval.common.statistics import MEAN
from pytest_lighteval.errors import NotJudgedError
from pytest_lighteval.metrics.sampling import pass_at
from pytest_lighteval.types import Ask, Doc, Grade, Metric

LIVE_CODE_BENCH_SAMPLES = 16


def _right(doc: Doc, grade: Grade) -> tuple[int, int]:
    """How many programs passed, and of how many. A mark without a verdict is no wrong program."""
    if any(mark.value is None for mark in grade.marks):
        raise NotJudgedError(f"{doc.id}: a program has no verdict")
    return sum(mark.value is True for mark in grade.marks), len(grade.marks)


def _passes(name: str, reported: str) -> Metric:
    """1 if the one program passes."""

    def sample(doc: Doc, grade: Grade) -> dict[str, float]:
        right, _ = _right(doc, grade)
        return {reported: float(right > 0)}

    return Metric(name=name, ask=Ask.GENERATION, sample=sample, corpus={reported: MEAN}, grader="sandbox", judges_answers=False)


def _pass_at(name: str, reported: dict[int, str], *, samples: int) -> Metric:
    """pass@k of that many programs (Chen et al. 2021, arXiv:2107.03374). A k above the number of programs is left out."""

    def sample(doc: Doc, grade: Grade) -> dict[str, float | None]:
        right, count = _right(doc, grade)
        return {called: pass_at(k, right=right, samples=count) if k <= count else None for k, called in reported.items()}

    corpus = dict.fromkeys(reported.values(), MEAN)
    return Metric(name=name, ask=Ask.SAMPLES, sample=sample, corpus=corpus, num_samples=samples, grader="sandbox", judges_answers=False)


def _sampled(samples: int, *ks: int) -> Metric:
    return _pass_at(f"code_pass_at_k_{samples}n", {k: f"pass@{k}:{samples}_samples" for k in ks}, samples=samples)


METRICS = (
    _passes("code_pass_at_1", "pass@1"),
    _sampled(8, 1, 2, 4, 8),
    _sampled(20, 1, 5, 10, 20),
    # lm-evaluation-harness's humaneval_64
    _sampled(64, 1, 2, 8, 16, 32, 64),
    # the paper's
    _sampled(200, 1, 10, 100),
    _pass_at("lcb_codegen_metric", {1: "codegen_pass@1:16"}, samples=LIVE_CODE_BENCH_SAMPLES),
    _pass_at("lcb_codegen_metric_corrected", {1: "codegen_pass@1:16"}, samples=LIVE_CODE_BENCH_SAMPLES),
)
