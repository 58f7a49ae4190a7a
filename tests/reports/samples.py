"""Hand-made results and runs for the tests of the reports."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_lighteval.reports.groups import group_results
from pytest_lighteval.types import DocumentScore, MetricResult, RunReport, TaskKey, TaskResult, Verdict


def key(text: str) -> TaskKey:
    """`suite|task|few_shots[|1]` as a key."""
    suite, task, few_shots, *truncate = text.split("|")
    return TaskKey(suite=suite, task=task, few_shots=int(few_shots), truncate=truncate == ["1"])


def number(value: float, stderr: float | None = 0.05, n: int = 100, *, higher_is_better: bool = True) -> MetricResult:
    return MetricResult(value=value, stderr=stderr, n=n, higher_is_better=higher_is_better)


def result(
    text: str, documents: tuple[DocumentScore, ...] = (), *, num_truncated: int = 0, shots: float | None = None, **metrics: MetricResult
) -> TaskResult:
    """What an item of this key measured. Two documents unless others are given; as many few-shot examples as its key says, or `shots`."""
    return TaskResult(
        key=key(text),
        version=1,
        metrics=metrics,
        documents=documents or tuple(DocumentScore(id=f"test:{row}", prompt_digest="0" * 12, values={}) for row in range(2)),
        dataset_fingerprint="d" * 64,
        prompt_digest="e" * 64,
        effective_few_shots=float(key(text).few_shots) if shots is None else shots,
        num_truncated=num_truncated,
        max_samples=100,
        seconds=12.5,
    )


def verdict(metric: str, outcome: str, value: float, *, floor: float) -> Verdict:
    """What a floor says; the message is short."""
    passed = outcome == "passed"
    return Verdict(
        metric=metric,
        outcome="passed" if passed else "failed",
        message=f"{metric} {value:.4f} is {'at or above' if passed else 'below'} the floor {floor:.4f} (n = 100)",
        value=value,
        stderr=0.05,
        n=100,
        min=floor,
    )


MMLU = (
    result("leaderboard|mmlu:anatomy|5", acc=number(0.25, 0.03, 135)),
    result("leaderboard|mmlu:virology|5", acc=number(0.35, 0.04, 166)),
)
GSM8K = result("leaderboard|gsm8k|5", qem=number(0.35, 0.0479, 100))
WIKITEXT = result("lighteval|wikitext:2|0", num_truncated=2, word_perplexity=number(23.4512, None, 1, higher_is_better=False))


def run(
    *results: TaskResult,
    verdicts: Mapping[str, tuple[Verdict, ...]] | None = None,
    errors: Mapping[str, str] | None = None,
    skipped: Mapping[str, str] | None = None,
    run_id: str = "20260102-030405-fake",
    started: str = "2026-01-02T03:04:05+00:00",
    seconds: float = 61.5,
) -> RunReport:
    return RunReport(
        run_id=run_id,
        started=started,
        seconds=seconds,
        backend={"name": "fake", "fingerprint": "f" * 64, "arguments": {"accuracy": 0.5}, "model": "fake", "dtype": "float32"},
        settings={"max_samples": 100, "few_shot_seeds": 1, "use_chat_template": False, "system_prompt": None},
        environment={"python": "3.11.7", "packages": {"pytest-lighteval": "0.1.0"}},
        results=tuple(sorted(results, key=lambda task: task.key)),
        groups=group_results(results),
        verdicts=verdicts or {},
        errors=errors or {},
        skipped=skipped or {},
    )


FULL = run(
    *MMLU,
    GSM8K,
    WIKITEXT,
    verdicts={
        "leaderboard|gsm8k|5": (verdict("qem", "failed", 0.35, floor=0.42),),
        "leaderboard|mmlu:anatomy|5": (verdict("acc", "passed", 0.25, floor=0.2),),
        "leaderboard|mmlu:_average|5": (verdict("acc", "passed", 0.3, floor=0.3),),
    },
    errors={"lighteval|piqa|0": "split 'validation' is missing"},
    skipped={"lighteval|triviaqa|0": "the backend cannot generate"},
)
"""Something of everything."""
