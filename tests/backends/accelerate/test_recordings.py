"""The real model answers as Lighteval v0.9.2 did, on its recorded contexts, choices and texts."""

from __future__ import annotations

import pytest

from pytest_lighteval.backends.accelerate import AccelerateBackend
from pytest_lighteval.types import GenerateRequest, LoglikelihoodRequest, PerplexityRequest
from tests.backends.recordings import recorded
from tests.shared import needs_shared

pytestmark = needs_shared


def tolerance(logprob: float) -> float:
    """How far a sum may be from the recorded one, in nats; what is recorded is itself off (`benchmarks.comparison.tolerance`)."""
    return max(5e-4, 5e-6 * abs(logprob))


@pytest.mark.parametrize(("run", "most"), [("arc_challenge_0", 6), ("blimp_anaphor_gender_0", 10), ("lambada_openai_0", 4)])
def test_choices_score_as_recorded(smollm2: AccelerateBackend, run: str, most: int) -> None:
    documents = recorded(run, most)
    requests = [
        LoglikelihoodRequest(prompt=document["context"], choices=tuple(request["choice"] for request in document["requests"]))
        for document in documents
    ]

    answers = dict(smollm2.loglikelihood(requests))

    for index, document in enumerate(documents):
        answer, expected = answers[index], document["requests"]
        assert answer.prompt_token_ids == tuple(document["context_token_ids"])
        assert answer.choice_token_ids == tuple(tuple(request["continuation_token_ids"]) for request in expected)
        assert answer.greedy == tuple(request["greedy_match"] for request in expected)
        for logprob, request in zip(answer.logprobs, expected, strict=True):
            assert logprob == pytest.approx(request["logprob_sum"], abs=tolerance(request["logprob_sum"]))


def test_texts_are_as_recorded(smollm2: AccelerateBackend) -> None:
    documents = recorded("triviaqa_0", 5) + recorded("gsm8k_lighteval_2", 1)
    asked = [document["requests"][0] for document in documents]
    requests = [
        GenerateRequest(
            prompt=document["context"], stop_sequence=tuple(request["stop_sequence"]), max_new_tokens=request["generation_size"]
        )
        for document, request in zip(documents, asked, strict=True)
    ]

    answers = dict(smollm2.generate(requests))

    for index, (document, request) in enumerate(zip(documents, asked, strict=True)):
        answer = answers[index]
        assert answer.prompt_token_ids == tuple(document["context_token_ids"])
        assert answer.texts == tuple(request["generated_text"])
        assert answer.token_ids is not None
        # theirs run on until the whole batch is done
        assert list(answer.token_ids[0]) == request["generated_token_ids"][0][: len(answer.token_ids[0])]


def test_rolling_texts_score_as_recorded(smollm2: AccelerateBackend) -> None:
    documents = recorded("wikitext2_0", 3)

    answers = dict(smollm2.perplexity([PerplexityRequest(text=document["context"]) for document in documents]))

    for index, document in enumerate(documents):
        expected = document["requests"][0]
        assert answers[index].token_count == len(expected["continuation_token_ids"])
        assert answers[index].logprob == pytest.approx(expected["logprob_sum"], abs=tolerance(expected["logprob_sum"]))
