"""A task that brings its own documents, requests and scores: evaluated, judged and reported like any other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.backends.fake import FakeBackend
from pytest_lighteval.common.statistics import MEAN
from pytest_lighteval.errors import DataError
from pytest_lighteval.evaluate import EvaluationSettings, evaluate, requests_of, task_kinds
from pytest_lighteval.reports.groups import group_results
from pytest_lighteval.types import (
    Ask,
    Detail,
    Doc,
    GenerateRequest,
    GenerateResponse,
    GuestDocument,
    GuestDocuments,
    GuestSettings,
    LoglikelihoodRequest,
    Message,
    Metric,
    MetricResult,
    PromptTemplate,
    RequestKind,
    Response,
    Task,
    TaskKey,
    TaskResult,
)


def never(doc: Doc, response: Any) -> dict[str, Any]:
    raise AssertionError("a guest scores its documents itself")


@dataclass(frozen=True)
class Riddles:
    """Asks a choice and a text about each document, under names of its own."""

    harness: str = "riddles"
    kinds: tuple[RequestKind, ...] = (RequestKind.GENERATE, RequestKind.LOGLIKELIHOOD)
    metrics: tuple[Metric, ...] = (Metric(name="own", ask=Ask.CHOICES, sample=never, corpus={"both": MEAN, "words": MEAN}),)
    asked: list[GuestSettings] = field(default_factory=list)
    breaks: bool = False

    def documents(self, settings: GuestSettings, render: Callable[[Sequence[Message]], str | None]) -> GuestDocuments:
        self.asked.append(settings)
        documents = [self._document(number, seed) for seed in range(settings.few_shot_seeds) for number in range(settings.max_samples or 8)]
        return GuestDocuments(documents=documents, fingerprint="f" * 64, row_sources={"test": "riddles|test"}, notes=("riddles are old",))

    def _document(self, number: int, seed: int) -> GuestDocument:
        doc = Doc(id=f"test:{number}", query=f"riddle {number}", choices=(" yes", " no"), gold=(0,))

        def score(responses: Mapping[str, Response]) -> dict[str, Any]:
            if self.breaks:
                raise DataError("riddles: its own code failed")
            said = responses["riddle.text"]
            assert isinstance(said, GenerateResponse)
            return {"both": float(said.texts[0] == " yes"), "words": float(len(said.texts[0].split()))}

        prompt = f"{seed} riddle {number}:"
        return GuestDocument(
            doc=doc,
            few_shot_seed=seed,
            num_shots=3,
            prompt=prompt,
            requests={
                "choices": LoglikelihoodRequest(prompt=prompt, choices=doc.choices, tokenization="lm_eval"),
                "riddle.text": GenerateRequest(prompt=prompt, max_new_tokens=4, tokenization="lm_eval"),
            },
            score=score,
        )


def riddles(guest: Riddles, **changes: Any) -> Task:
    task = Task(suite="riddles", name="all", prompt=PromptTemplate(query=""), metrics=("both",), path=Path("r.yaml"), line=1, guest=guest)
    return replace(task, **changes)


def test_a_guests_documents_are_asked_and_scored_by_itself() -> None:
    guest = Riddles()
    details: list[Detail] = []
    settings = EvaluationSettings(max_samples=6, use_chat_template=True, system_prompt="Be brief.")
    result = evaluate(riddles(guest), FakeBackend(accuracy=1.0), few_shots=3, settings=settings, on_detail=details.append)

    assert guest.asked == [GuestSettings(few_shots=3, max_samples=6, use_chat_template=True, system_prompt="Be brief.")]
    assert result["both"] == 1.0
    assert (result.metrics["both"].n, result.effective_few_shots, result.max_samples) == (6, 3.0, 6)
    assert (result.dataset_fingerprint, result.row_sources, result.notes) == ("f" * 64, {"test": "riddles|test"}, ("riddles are old",))
    assert {name for detail in details for name in detail.requests} == {"choices", "riddle.text"}
    assert len({document.prompt_digest for document in result.documents}) == 6


def test_what_a_guest_asks_decides_which_backends_can_run_it() -> None:
    task = riddles(Riddles())

    assert task_kinds(task) == (RequestKind.GENERATE, RequestKind.LOGLIKELIHOOD)
    assert [len(requests) for requests in requests_of(task, FakeBackend(), few_shots=0)] == [8, 8]


def test_seeds_are_clusters_of_a_guests_documents_too() -> None:
    result = evaluate(riddles(Riddles()), FakeBackend(), few_shots=0, settings=EvaluationSettings(few_shot_seeds=2))

    assert (len(result.documents), result.metrics["both"].n) == (16, 8)


def test_a_guest_whose_code_fails_has_no_score() -> None:
    with pytest.raises(DataError, match="riddles: its own code failed"):
        evaluate(riddles(Riddles(breaks=True)), FakeBackend(), few_shots=0)


def test_a_superset_may_weigh_its_tasks_by_their_documents() -> None:
    def result(name: str, value: float, n: int, *, weighs: bool) -> TaskResult:
        number = MetricResult(value=value, stderr=0.1, n=n, higher_is_better=True)
        key = TaskKey(suite="lm_eval", task=f"mmlu:{name}", few_shots=5)
        return TaskResult(
            key=key, version=1, metrics={"acc": number}, documents=(), dataset_fingerprint="", prompt_digest="", effective_few_shots=5,
            weighs_documents=weighs,
        )  # fmt: skip

    weighed = group_results([result("a", 1.0, 30, weighs=True), result("b", 0.0, 10, weighs=True)])
    plain = group_results([result("a", 1.0, 30, weighs=False), result("b", 0.0, 10, weighs=False)])

    assert weighed["lm_eval|mmlu:_average|5"]["acc"].value == 0.75
    assert weighed["lm_eval|mmlu:_average|5"]["acc"].stderr == pytest.approx(0.1 * (0.75**2 + 0.25**2) ** 0.5)
    assert plain["lm_eval|mmlu:_average|5"]["acc"].value == 0.5
    assert weighed["all"]["acc"].value == 0.5
