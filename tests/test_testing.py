"""The conformance test can fail: a backend with one fault is caught by the check that is about it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from pytest_lighteval.backends.fake import FakeBackend
from pytest_lighteval.testing import BackendConformance
from pytest_lighteval.types import (
    GenerateRequest,
    GenerateResponse,
    LoglikelihoodRequest,
    LoglikelihoodResponse,
    PerplexityRequest,
    PerplexityResponse,
)

Choices = Iterator[tuple[int, LoglikelihoodResponse]]
Texts = Iterator[tuple[int, GenerateResponse]]


class Forgets(FakeBackend):
    """The last request of a call has no answer."""

    def loglikelihood(self, requests: Sequence[LoglikelihoodRequest]) -> Choices:
        yield from itertools.islice(super().loglikelihood(requests), max(0, len(requests) - 1))


class AnswersTwice(FakeBackend):
    """The first request of a call has two answers."""

    def generate(self, requests: Sequence[GenerateRequest]) -> Texts:
        answers = list(super().generate(requests))
        yield from (*answers, *answers[:1])


class MixesUp(FakeBackend):
    """Answers belong to other requests, depending on their place in the call."""

    def loglikelihood(self, requests: Sequence[LoglikelihoodRequest]) -> Choices:
        for index, answer in super().loglikelihood(requests):
            yield index, replace(answer, logprobs=tuple(logprob - 0.1 * index for logprob in answer.logprobs))


class Positive(FakeBackend):
    """Gives negative log-likelihoods, as losses are."""

    def loglikelihood(self, requests: Sequence[LoglikelihoodRequest]) -> Choices:
        for index, answer in super().loglikelihood(requests):
            yield index, replace(answer, logprobs=tuple(-logprob for logprob in answer.logprobs))


class Raises(FakeBackend):
    """One bad request takes all others with it."""

    def loglikelihood(self, requests: Sequence[LoglikelihoodRequest]) -> Choices:
        if not all(request.choices and all(request.choices) for request in requests):
            raise ValueError("an empty choice")
        yield from super().loglikelihood(requests)


class RunsOn(FakeBackend):
    """Cuts a text after the stop sequence."""

    def generate(self, requests: Sequence[GenerateRequest]) -> Texts:
        uncut = [replace(request, stop_sequence=()) for request in requests]
        for index, answer in super().generate(uncut):
            (text,) = answer.texts
            for stop in requests[index].stop_sequence:
                text = text.partition(stop)[0] + stop if stop in text else text
            yield index, replace(answer, texts=(text,))


class FirstStopOnly(FakeBackend):
    """Knows one stop sequence."""

    def generate(self, requests: Sequence[GenerateRequest]) -> Texts:
        yield from super().generate([replace(request, stop_sequence=request.stop_sequence[:1]) for request in requests])


class Unseeded(FakeBackend):
    """Draws other samples each time."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._calls = itertools.count()

    def generate(self, requests: Sequence[GenerateRequest]) -> Texts:
        call = next(self._calls)
        for index, answer in super().generate(requests):
            yield index, replace(answer, texts=tuple(f"{text} {call}" for text in answer.texts))


class SaysTheSame(FakeBackend):
    """Its samples are copies of one."""

    def generate(self, requests: Sequence[GenerateRequest]) -> Texts:
        for index, answer in super().generate(requests):
            yield index, replace(answer, texts=answer.texts[:1] * len(answer.texts))


class CutsSilently(FakeBackend):
    """Does not say that a prompt was too long."""

    def loglikelihood(self, requests: Sequence[LoglikelihoodRequest]) -> Choices:
        for index, answer in super().loglikelihood(requests):
            yield index, replace(answer, truncated_tokens=0)


class Unlikely(FakeBackend):
    """An answer of the empty text is no number."""

    def perplexity(self, requests: Sequence[PerplexityRequest]) -> Iterator[tuple[int, PerplexityResponse]]:
        for index, answer in super().perplexity(requests):
            yield index, answer if requests[index].text else replace(answer, logprob=None)


class AnswersTextsTwice(FakeBackend):
    """The first text of a call has two answers."""

    def perplexity(self, requests: Sequence[PerplexityRequest]) -> Iterator[tuple[int, PerplexityResponse]]:
        answers = list(super().perplexity(requests))
        yield from (*answers, *answers[:1])


class ReadsTheFront(FakeBackend):
    """Scores as many words of a text as the model takes, and says nothing of the others."""

    def perplexity(self, requests: Sequence[PerplexityRequest]) -> Iterator[tuple[int, PerplexityResponse]]:
        fronts = [" ".join(request.text.split()[: self.max_length]) for request in requests]
        for index, answer in super().perplexity([replace(request, text=text) for request, text in zip(requests, fronts, strict=True)]):
            yield index, replace(answer, token_count=len(fronts[index].split()))


class ScoresNothing(FakeBackend):
    """A sum of no tokens is 0, a perfect score."""

    def loglikelihood(self, requests: Sequence[LoglikelihoodRequest]) -> Choices:
        filled = [replace(request, choices=tuple(choice or "?" for choice in request.choices)) for request in requests]
        for index, answer in super().loglikelihood(filled):
            logprobs = tuple(logprob if choice else 0.0 for choice, logprob in zip(requests[index].choices, answer.logprobs, strict=False))
            yield index, replace(answer, logprobs=logprobs)


class NeverRunsOut(FakeBackend):
    """Keeps to the limit, and says that the text was over."""

    def generate(self, requests: Sequence[GenerateRequest]) -> Texts:
        for index, answer in super().generate(requests):
            yield index, replace(answer, texts=tuple(" ".join(text.split()[: requests[index].max_new_tokens]) for text in answer.texts))


class Immortal(FakeBackend):
    """Answers on when closed."""

    def close(self) -> None:
        """Nothing."""


class TellsObjects(FakeBackend):
    """Describes itself with what no report can hold."""

    def describe(self) -> dict[str, Any]:
        return {"model": object()}


def check(name: str) -> Callable[..., None]:
    """The check of that name."""
    found: Callable[..., None] = getattr(BackendConformance(), name)
    return found


@pytest.mark.parametrize(
    ("backend", "name"),
    [
        (Forgets, "test_every_loglikelihood_request_is_answered_once_with_one_entry_a_choice"),
        (Positive, "test_every_loglikelihood_request_is_answered_once_with_one_entry_a_choice"),
        (MixesUp, "test_loglikelihoods_do_not_depend_on_order_or_batch"),
        (MixesUp, "test_equal_requests_of_one_call_are_each_answered_alike"),
        (AnswersTwice, "test_every_generate_request_is_answered_once_with_one_text_a_sample"),
        (RunsOn, "test_a_text_is_cut_before_any_stop_sequence_wherever_tokens_end"),
        (FirstStopOnly, "test_a_text_is_cut_before_any_stop_sequence_wherever_tokens_end"),
        (Unseeded, "test_samples_are_repeatable_in_any_batch_and_differ_from_one_another"),
        (Unseeded, "test_greedy_texts_do_not_depend_on_order_or_batch"),
        (SaysTheSame, "test_samples_are_repeatable_in_any_batch_and_differ_from_one_another"),
        (CutsSilently, "test_a_long_prompt_is_cut_on_its_left_and_says_so_or_is_refused"),
        (Unlikely, "test_a_text_without_tokens_fails_alone"),
        (AnswersTextsTwice, "test_perplexity_is_a_finite_loglikelihood_of_the_whole_text"),
        (ReadsTheFront, "test_a_text_longer_than_the_model_is_scored_to_its_end_or_says_that_it_is_not"),
        (NeverRunsOut, "test_a_text_ends_at_its_limit_and_says_so"),
        (FakeBackend, "test_a_text_ends_at_its_limit_and_says_so"),
        # a fake's numbers are no probabilities, which these find out
        (FakeBackend, "test_a_choice_is_as_likely_as_its_parts_one_after_the_other"),
        (FakeBackend, "test_spaces_at_the_end_of_a_prompt_belong_to_the_choice"),
        (FakeBackend, "test_perplexity_is_that_of_the_text_as_a_choice_after_nothing"),
        (FakeBackend, "test_a_choice_longer_than_the_model_fails_alone"),
    ],
)
def test_a_fault_is_caught(backend: type[FakeBackend], name: str) -> None:
    with pytest.raises(AssertionError):
        check(name)(backend(max_length=100))


def test_a_request_that_takes_others_with_it_is_caught() -> None:
    with pytest.raises(ValueError, match="an empty choice"):
        check("test_a_request_that_cannot_be_scored_fails_alone")(Raises(), ("", " Paris"))


def test_a_perfect_score_of_nothing_is_caught() -> None:
    with pytest.raises(AssertionError, match="no log-likelihood"):
        check("test_a_request_that_cannot_be_scored_fails_alone")(ScoresNothing(), ("", " Paris"))


def test_a_backend_that_lives_on_is_caught() -> None:
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        check("test_it_can_be_closed_twice_and_answers_nothing_afterwards")(Immortal)


def test_a_description_that_no_report_can_hold_is_caught() -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        check("test_it_describes_itself_in_plain_values")(TellsObjects())
