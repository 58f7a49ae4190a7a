"""A conformance test for backends, for ours and for anyone's: subclass `BackendConformance` beside a fixture named `backend`.

```python
@pytest.fixture(scope="module")
def backend():
    engine = MyEngine("tiny")
    yield engine
    engine.close()


class TestMyEngine(BackendConformance):
    pass
```
The checks ask only what `pytest_lighteval.types.Backend` promises. They need a model that can take a few dozen tokens; its answers
may be nonsense.
"""

from __future__ import annotations

import math

import pytest

from pytest_lighteval.types import (
    Backend,
    GenerateRequest,
    LoglikelihoodRequest,
    LoglikelihoodResponse,
    Message,
    PerplexityRequest,
    RequestKind,
)

__all__ = ["BackendConformance"]

TOLERANCE = 1e-3
"""Largest difference of a summed log-likelihood (nats) between two ways to ask the same: batched and alone, in any order."""

QUESTIONS = (
    ("The capital of France is", (" Paris", " London", " a very long river in the east")),
    ("One, two, three,", (" four", " nine")),
    ("Question: What colour is grass?\nAnswer:", (" green", " blue", " red", " yellow")),
    ("", ("Alone", "Together")),
)


def _choices(count: int = len(QUESTIONS)) -> list[LoglikelihoodRequest]:
    return [LoglikelihoodRequest(prompt=prompt, choices=choices) for prompt, choices in QUESTIONS[:count]]


def _skip_without(backend: Backend, kind: RequestKind) -> None:
    if kind not in backend.supports:
        pytest.skip(f"{backend.name} does not support {kind.value}")


class BackendConformance:
    """What every backend must do. The `backend` fixture is the test module's to give."""

    tolerance: float = TOLERANCE

    def test_it_has_every_member_of_the_protocol(self, backend: Backend) -> None:
        assert isinstance(backend, Backend)
        assert backend.name
        assert backend.supports <= frozenset(RequestKind)
        assert backend.supports

    def test_fingerprint_and_max_length_are_stable(self, backend: Backend) -> None:
        assert (backend.fingerprint, backend.max_length) == (backend.fingerprint, backend.max_length)
        assert isinstance(backend.fingerprint, str)
        assert backend.fingerprint
        assert backend.max_length is None or backend.max_length > 0

    def test_no_requests_give_no_responses(self, backend: Backend) -> None:
        for kind in backend.supports:
            assert list(getattr(backend, kind.value)([])) == []

    def test_every_loglikelihood_request_is_answered_once_with_one_entry_a_choice(self, backend: Backend) -> None:
        _skip_without(backend, RequestKind.LOGLIKELIHOOD)
        requests = _choices()

        answers = list(backend.loglikelihood(requests))

        assert sorted(index for index, _ in answers) == list(range(len(requests)))
        for index, response in answers:
            assert response.error is None
            assert len(response.logprobs) == len(response.greedy) == len(response.token_counts) == len(requests[index].choices)
            assert all(logprob <= 0 and math.isfinite(logprob) for logprob in response.logprobs)
            assert all(count > 0 for count in response.token_counts)

    def test_loglikelihoods_do_not_depend_on_order_or_company(self, backend: Backend) -> None:
        _skip_without(backend, RequestKind.LOGLIKELIHOOD)
        requests = _choices()

        together = dict(backend.loglikelihood(requests))
        backwards = dict(backend.loglikelihood(requests[::-1]))
        alone = [dict(backend.loglikelihood([request]))[0] for request in requests]

        for index, single in enumerate(alone):
            assert together[index].logprobs == pytest.approx(single.logprobs, abs=self.tolerance)
            assert backwards[len(requests) - 1 - index].logprobs == pytest.approx(single.logprobs, abs=self.tolerance)

    def test_asking_twice_gives_the_same_bits(self, backend: Backend) -> None:
        _skip_without(backend, RequestKind.LOGLIKELIHOOD)

        assert dict(backend.loglikelihood(_choices())) == dict(backend.loglikelihood(_choices()))

    def test_pmi_requests_are_answered_after_both_prompts(self, backend: Backend) -> None:
        _skip_without(backend, RequestKind.LOGLIKELIHOOD)
        prompt, choices = QUESTIONS[0]
        request = LoglikelihoodRequest(prompt=prompt, choices=choices, unconditioned_prompt="Answer:")
        plain = LoglikelihoodRequest(prompt="Answer:", choices=choices)

        answers: dict[int, LoglikelihoodResponse] = dict(backend.loglikelihood([request, plain]))

        assert answers[0].unconditioned_logprobs == pytest.approx(answers[1].logprobs, abs=self.tolerance)
        assert answers[1].unconditioned_logprobs is None

    def test_a_generation_keeps_to_its_limits(self, backend: Backend) -> None:
        _skip_without(backend, RequestKind.GENERATE)
        requests = [
            GenerateRequest(prompt="The capital of France is", max_new_tokens=4),
            GenerateRequest(prompt="One, two, three,", max_new_tokens=8, stop_sequence=(",", "\n")),
        ]

        answers = dict(backend.generate(requests))

        assert sorted(answers) == [0, 1]
        assert all(answer.error is None and len(answer.texts) == 1 for answer in answers.values())
        assert not any(stop in answers[1].texts[0] for stop in requests[1].stop_sequence)
        assert all(ids is None or len(ids[0]) <= limit for ids, limit in ((answers[0].token_ids, 4), (answers[1].token_ids, 8)))

    def test_greedy_text_is_repeatable_and_samples_come_in_the_number_asked(self, backend: Backend) -> None:
        _skip_without(backend, RequestKind.GENERATE)
        greedy = GenerateRequest(prompt="Once upon a time", max_new_tokens=6)
        sampled = GenerateRequest(prompt="Once upon a time", max_new_tokens=6, num_samples=3, do_sample=True)

        assert dict(backend.generate([greedy]))[0].texts == dict(backend.generate([greedy]))[0].texts
        assert len(dict(backend.generate([sampled]))[0].texts) == 3

    def test_perplexity_is_a_finite_loglikelihood_of_the_whole_text(self, backend: Backend) -> None:
        _skip_without(backend, RequestKind.PERPLEXITY)
        texts = ["The grass is green. The sky is blue.", "One, two, three, four, five."]

        answers = dict(backend.perplexity([PerplexityRequest(text=text) for text in texts]))

        assert sorted(answers) == [0, 1]
        for answer in answers.values():
            assert answer.error is None
            assert answer.logprob is not None
            assert -10_000 < answer.logprob < 0
            assert answer.token_count > 0

    def test_tokens_are_counted_or_said_to_be_unknown(self, backend: Backend) -> None:
        turns = (Message(role="user", content="Hello there"),)

        for prompt in ("Hello there", turns):
            count = backend.count_tokens(prompt)
            assert count is None or count > 0
