"""The workloads of `benchmarks.engine`: real tasks on real rows, as the requests that an evaluation makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.recordings import SHARED, declared_task
from pytest_lighteval.backends.fake import FakeBackend
from pytest_lighteval.data.data_sets import DataSets
from pytest_lighteval.evaluate import EvaluationSettings, evaluate
from pytest_lighteval.types import (
    FewShotsSelect,
    GenerateRequest,
    GenerateResponse,
    LoglikelihoodRequest,
    LoglikelihoodResponse,
    Request,
)

HUB = SHARED / "data" / "hub"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A task, how many of its documents, and how many times faster than each peer we want to be."""

    name: str
    title: str
    task: str
    """`suite|task`."""
    few_shots: int
    documents: int
    targets: Mapping[str, float]
    """Peer -> the ratio that was aimed at."""
    few_shots_select: FewShotsSelect | None = None
    """Instead of the task's own. None: the task's own."""
    max_new_tokens: int | None = None


WORKLOADS = (
    Workload(
        name="mmlu", title="MMLU anatomy, 5-shot", task="leaderboard|mmlu:anatomy", few_shots=5, documents=100,
        targets={"lighteval": 15, "lm-eval": 4},
    ),
    Workload(
        name="hellaswag-10", title="HellaSwag, 10-shot, the same few-shots for all", task="leaderboard|hellaswag", few_shots=10,
        documents=24, targets={"lighteval": 12, "lm-eval": 12}, few_shots_select="sequential",
    ),
    Workload(
        name="arc-25", title="ARC-challenge, 25-shot, few-shots drawn per document", task="leaderboard|arc:challenge",
        few_shots=25, documents=6, targets={"lighteval": 3, "lm-eval": 3},
    ),
    Workload(
        name="truthfulqa", title="TruthfulQA mc, 0-shot", task="leaderboard|truthfulqa:mc", few_shots=0, documents=10,
        targets={"lighteval": 6, "lm-eval": 6},
    ),
    Workload(
        name="hellaswag-0", title="HellaSwag, 0-shot", task="leaderboard|hellaswag", few_shots=0, documents=24,
        targets={"lighteval": 2, "lm-eval": 1.7},
    ),
    Workload(
        name="gsm8k", title="GSM8K, 5-shot, few-shots drawn per document, 128 new tokens", task="leaderboard|gsm8k", few_shots=5,
        documents=32, targets={"lighteval": 2, "lm-eval": 2}, max_new_tokens=128,
    ),
    Workload(
        name="gsm8k-shared", title="GSM8K, 5-shot, the same few-shots for all, 128 new tokens", task="leaderboard|gsm8k", few_shots=5,
        documents=32, targets={"lighteval": 2, "lm-eval": 2}, few_shots_select="sequential", max_new_tokens=128,
    ),
)  # fmt: skip


def requests_of(workload: Workload, *, data_home: Path = HUB) -> list[dict[str, Any]]:
    """The requests of an evaluation of the workload, as plain values. Raises LightevalError if the data are missing."""
    task = declared_task(*workload.task.split("|"))
    if workload.few_shots_select is not None:
        task = replace(task, few_shots_select=workload.few_shots_select)
    if workload.max_new_tokens is not None:
        task = replace(task, generation_size=workload.max_new_tokens)
    recorder = _Recorder()
    evaluate(
        task,
        recorder,
        few_shots=workload.few_shots,
        settings=EvaluationSettings(max_samples=workload.documents),
        data_sets=DataSets(data_home=data_home),
    )
    return [_plain(request) for request in recorder.requests]


def _plain(request: Request) -> dict[str, Any]:
    if isinstance(request, LoglikelihoodRequest):
        return {"prompt": request.prompt, "choices": list(request.choices)}
    if isinstance(request, GenerateRequest):
        return {"prompt": request.prompt, "stop_sequence": list(request.stop_sequence), "max_new_tokens": request.max_new_tokens}
    raise TypeError(f"no workload asks for a {type(request).__name__}")


class _Recorder(FakeBackend):
    """Records its requests."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Request] = []

    def loglikelihood(self, requests: Sequence[LoglikelihoodRequest]) -> Iterator[tuple[int, LoglikelihoodResponse]]:
        """See `Backend.loglikelihood`."""
        self.requests += requests
        return super().loglikelihood(requests)

    def generate(self, requests: Sequence[GenerateRequest]) -> Iterator[tuple[int, GenerateResponse]]:
        """See `Backend.generate`."""
        self.requests += requests
        return super().generate(requests)
