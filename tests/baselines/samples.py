"""Hand-made results for the tests of baselines."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_lighteval.types import DocumentScore, MetricResult, RunReport, SampleValue, TaskKey, TaskResult

GSM8K = TaskKey(suite="leaderboard", task="gsm8k", few_shots=5)


def digest(text: str) -> str:
    """48 bit of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def shuffled_ids(count: int, *, split: str = "test", seed: int = 42) -> list[str]:
    """Ids in the order in which an evaluation has its documents."""
    rows = list(range(count))
    random.Random(seed).shuffle(rows)
    return [f"{split}:{row}" for row in rows]


def result(
    scores: Mapping[str, Sequence[SampleValue | None]],
    *,
    key: TaskKey = GSM8K,
    ids: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    prompt: str = "Question:",
    version: int = 0,
    fingerprint: str = "d" * 64,
    max_samples: int | None = None,
    num_truncated: int = 0,
    effective_few_shots: float = 5.0,
    higher_is_better: bool = True,
    values: Mapping[str, float] | None = None,
    clusters: Sequence[str | None] | None = None,
    soft: Mapping[str, Sequence[float]] | None = None,
) -> TaskResult:
    """A result whose documents score so by metric; the reported values are means unless they are given."""
    count = len(next(iter(scores.values())))
    names = list(ids) if ids is not None else shuffled_ids(count)
    of = list(seeds) if seeds is not None else [0] * count
    documents = tuple(
        DocumentScore(
            id=name,
            prompt_digest=digest(f"{prompt} {key} {name} {seed}"),
            values={metric: column[row] for metric, column in scores.items()},
            few_shot_seed=seed,
            cluster=clusters[row] if clusters else None,
            truncated=row < num_truncated,
            soft={metric: column[row] for metric, column in (soft or {}).items()},
        )
        for row, (name, seed) in enumerate(zip(names, of, strict=True))
    )
    metrics = {}
    for metric, column in scores.items():
        numbers = [float(value) for value in column if value is not None and not isinstance(value, tuple)]
        value = values[metric] if values and metric in values else sum(numbers) / len(numbers) if numbers else float("nan")
        metrics[metric] = MetricResult(value=value, stderr=0.01, n=len(set(names)), higher_is_better=higher_is_better)
    return TaskResult(
        key=key,
        version=version,
        metrics=metrics,
        documents=documents,
        dataset_fingerprint=fingerprint,
        prompt_digest=hashlib.sha256("\n".join(document.prompt_digest for document in documents).encode()).hexdigest(),
        effective_few_shots=effective_few_shots,
        num_truncated=num_truncated,
        max_samples=max_samples,
        seconds=12.5,
    )


SETTINGS: dict[str, Any] = {"max_samples": None, "few_shot_seeds": 1, "use_chat_template": False, "system_prompt": None}


def report(*results: TaskResult, settings: Mapping[str, Any] | None = None, **backend: Any) -> RunReport:
    """A run of these results."""
    facts = {
        "name": "accelerate",
        "fingerprint": "f" * 64,
        "arguments": {"pretrained": "/home/someone/models/secret"},
        "model": "/home/someone/models/secret",
        "dtype": "bfloat16",
        "device": "cuda:0",
        "threads": 8,
        "versions": {"torch": "2.13.0"},
    }
    return RunReport(
        run_id="20260102-030405-accelerate",
        started="2026-01-02T03:04:05+00:00",
        seconds=61.5,
        backend=facts | backend,
        settings=settings or SETTINGS,
        environment={
            "python": "3.11.7",
            "platform": "Linux x86_64",
            "processors": 16,
            "packages": {"pytest-lighteval": "0.1.0", "numpy": "2.3.1"},
        },
        results=tuple(sorted(results, key=lambda task: task.key)),
        groups={},
        verdicts={},
        errors={},
        skipped={},
    )


def coins(count: int, right: float, *, seed: int) -> list[float]:
    """0/1 scores, 1 with this probability."""
    rng = random.Random(seed)
    return [float(rng.random() < right) for _ in range(count)]
