"""A conformance test for backends: subclass `BackendConformance` next to a fixture named `backend`.

```python
@pytest.fixture(scope="module")
def backend():
    engine = MyEngine("tiny")
    yield engine
    engine.close()


class TestMyEngine(BackendConformance):
    @pytest.fixture
    def new_backend(self):
        return lambda: MyEngine("tiny")  # one that the checks may close; without this fixture those checks are skipped
```
The checks ask only what `pytest_lighteval.types.Backend` promises. They need a model that accepts a few dozen tokens; its answers may
be nonsense.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from typing import TypeVar

import pytest

from pytest_lighteval.errors import BackendError
from pytest_lighteval.types import (
    Backend,
    GenerateRequest,
    GenerateResponse,
    LoglikelihoodRequest,
    LoglikelihoodResponse,
    Message,
    PerplexityRequest,
    RequestKind,
)

__all__ = ["BackendConformance"]

Answer = TypeVar("Answer")

TOLERANCE = 1e-3
"""Largest difference (nats) of a summed log-likelihood between two ways to ask the same: in a batch or alone, in any order."""

QUESTIONS = (
    ("The capital of France is", (" Paris", " London", " a very long river in the east")),
    ("One, two, three,", (" four", " nine")),
    ("Question: What colour is grass?\nAnswer:", (" green", " blue", " red", " yellow")),
    ("", ("Alone", "Together")),
)


TURNS = (Message(role="system", content="You are brief."), Message(role="user", content="What is the capital of France?"))
FILLER = "one two three four "
_NO_NEW_BACKEND = "the test class has no new_backend fixture to make a backend that may be closed"
LONGEST_PROMPT = 4096
"""A model that accepts more tokens is not given prompts that are too long: that would take minutes on a CPU."""


def _choices(count: int = len(QUESTIONS)) -> list[LoglikelihoodRequest]:
    return [LoglikelihoodRequest(prompt=prompt, choices=choices) for prompt, choices in QUESTIONS[:count]]


def _once(answers: Iterable[tuple[int, Answer]]) -> dict[int, Answer]:
    """Answers by the index of their request. No request may be answered twice."""
    listed = list(answers)
    indices = [index for index, _ in listed]
    assert len(set(indices)) == len(indices), f"requests were answered more than once: {sorted(indices)}"
    return dict(listed)


def _skip_without(backend: Backend, kind: RequestKind) -> None:
    if kind not in backend.supports:
        pytest.skip(f"{backend.name} does not support {kind.value}")


def _short_length(backend: Backend) -> int:
    """The model's length, if a test can exceed it."""
    if backend.max_length is None or backend.max_length > LONGEST_PROMPT:
        pytest.skip(f"max_length is {backend.max_length}: no test can afford to exceed it")
    return backend.max_length


class BackendConformance:
    """What every backend must do. The test module provides the `backend` fixture."""

    tolerance: float = TOLERANCE
    is_bitwise_repeatable: bool = True
    """False: the engine batches what arrives together, so that equal answers are equal within `tolerance`."""
    is_language_model: bool = True
    """False: answers are no probabilities of tokens, as with a fake."""

    @pytest.fixture
    def new_backend(self) -> Callable[[], Backend] | None:
        """Makes a backend that the checks may close. None: those checks are skipped."""
        return None

    def _skip_unless_language_model(self) -> None:
        if not self.is_language_model:
            pytest.skip("its answers are no probabilities of tokens")

    # ------------------------------------------------------------------------------------------------ what it is

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

    def test_it_describes_itself_in_plain_values(self, backend: Backend) -> None:
        assert isinstance(json.loads(json.dumps(dict(backend.describe()))), dict)

    def test_no_requests_give_no_responses(self, backend: Backend) -> None:
        for kind in backend.supports:
            assert list(getattr(backend, kind.value)([])) == []

    # -------------------------------------------------------------------------------------------- log-likelihoods

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

    def test_loglikelihoods_do_not_depend_on_order_or_batch(self, backend: Backend) -> None:
        _skip_without(backend, RequestKind.LOGLIKELIHOOD)
        requests = _choices()

        together = _once(backend.loglikelihood(requests))
        backwards = _once(backend.loglikelihood(requests[::-1]))
        alone = [_once(backend.loglikelihood([request]))[0] for request in requests]

        for index, single in enumerate(alone):
            assert together[index].logprobs == pytest.approx(single.logprobs, abs=self.tolerance)
            assert backwards[len(requests) - 1 - index].logprobs == pytest.approx(single.logprobs, abs=self.tolerance)

    def test_asking_twice_gives_the_same_bits(self, backend: Backend) -> None:
        _skip_without(backend, RequestKind.LOGLIKELIHOOD)

        first, second = _once(backend.loglikelihood(_choices())), _once(backend.loglikelihood(_choices()))

        if self.is_bitwise_repeatable:
            assert first == second
        for index, answer in first.items():
            assert answer.logprobs == pytest.approx(second[index].logprobs, abs=self.tolerance)

    def test_equal_requests_of_one_call_are_each_answered_alike(self, backend: Backend) -> None:
        _skip_without(backend, RequestKind.LOGLIKELIHOOD)
        request = _choices(1)[0]

        answers = _once(backend.loglikelihood([request, *_choices(), request]))

        assert sorted(answers) == list(range(len(QUESTIONS) + 2))
        for same in (1, len(QUESTIONS) + 1):
            assert answers[same].logprobs == pytest.approx(answers[0].logprobs, abs=self.tolerance)

    def test_texts_of_any_script_have_a_loglikelihood(self, backend: Backend) -> None:
        _skip_without(backend, RequestKind.LOGLIKELIHOOD)
        prompts = ("Grüße aus 東京:", "Привет 😀", "e\u0301 is é, and \u200bnothing\u00a0more")
        requests = [LoglikelihoodRequest(prompt=prompt, choices=(" 日本", "👩‍👩‍👧 ja", " naïve\n\n")) for prompt in prompts]

        answers = _once(backend.loglikelihood(requests))

        for index in range(len(requests)):
            assert answers[index].error is None
            assert all(logprob <= 0 and math.isfinite(logprob) for logprob in answers[index].logprobs)

    def test_spaces_at_the_end_of_a_prompt_belong_to_the_choice(self, backend: Backend) -> None:
        _skip_without(backend, RequestKind.LOGLIKELIHOOD)
        self._skip_unless_language_model()
        spaced = LoglikelihoodRequest(prompt="The capital of France is ", choices=("Paris", "London"))
        usual = LoglikelihoodRequest(prompt="The capital of France is", choices=(" Paris", " London"))

        answers = _once(backend.loglikelihood([spaced, usual]))

        assert answers[0].token_counts == answers[1].token_counts
        assert answers[0].logprobs == pytest.approx(answers[1].logprobs, abs=self.tolerance)

    def test_a_choice_is_as_likely_as_its_parts_one_after_the_other(self, backend: Backend) -> None:
        _skip_without(backend, RequestKind.LOGLIKELIHOOD)
        self._skip_unless_language_model()
        prompt, first, second = "The capital of France is", " Paris and", " London"
        requests = [
            LoglikelihoodRequest(prompt=prompt, choices=(first + second, first)),
            LoglikelihoodRequest(prompt=prompt + first, choices=(second,)),
        ]

        answers = _once(backend.loglikelihood(requests))

        whole, part = answers[0].logprobs
        assert answers[0].token_counts[0] == answers[0].token_counts[1] + answers[1].token_counts[0]
        assert whole == pytest.approx(part + answers[1].logprobs[0], abs=2 * self.tolerance)

    def test_the_token_that_it_generates_is_a_greedy_choice(self, backend: Backend) -> None:
        _skip_without(backend, RequestKind.LOGLIKELIHOOD)
        _skip_without(backend, RequestKind.GENERATE)
        self._skip_unless_language_model()
        prompts = [prompt for prompt, _ in QUESTIONS if prompt] + ["Once upon a", "The grass is", FILLER.strip()]
        said = _once(backend.generate([GenerateRequest(prompt=prompt, max_new_tokens=1) for prompt in prompts]))
        texts = [(prompt, said[index].texts[0]) for index, prompt in enumerate(prompts)]
        texts = [(prompt, text) for prompt, text in texts if text.strip() and "\ufffd" not in text]

        answers = _once(backend.loglikelihood([LoglikelihoodRequest(prompt=prompt, choices=(text, " zebra")) for prompt, text in texts]))

        # a text that is tokenized as several tokens need not be their likeliest sequence
        greedy = [answers[index].greedy for index in range(len(texts)) if answers[index].token_counts[0] == 1]
        if not greedy:
            pytest.skip(f"none of its texts ({', '.join(text for _, text in texts)}) is tokenized as the one token that it was")
        assert all(first for first, _ in greedy)
        assert not all(second for _, second in greedy)

    @pytest.mark.parametrize("choices", [("", " Paris"), ()], ids=["an empty choice", "no choices"])
    def test_a_request_that_cannot_be_scored_fails_alone(self, backend: Backend, choices: tuple[str, ...]) -> None:
        _skip_without(backend, RequestKind.LOGLIKELIHOOD)
        good, bad = _choices(1)[0], LoglikelihoodRequest(prompt="The capital of France is", choices=choices)

        answers = _once(backend.loglikelihood([good, bad, good]))

        assert answers[0].error is None
        assert answers[2].error is None
        assert answers[1].error or not choices, "a choice without tokens has no log-likelihood"
        assert answers[1].logprobs == ()

    def test_a_long_prompt_is_cut_on_its_left_and_says_so_or_is_refused(self, backend: Backend) -> None:
        _skip_without(backend, RequestKind.LOGLIKELIHOOD)
        filler = FILLER * (_short_length(backend) // 2)
        requests = [LoglikelihoodRequest(prompt=f"{start} {filler}five", choices=(" six", " seven")) for start in ("Ten", "Six")]

        answers = _once(backend.loglikelihood([*requests, *_choices(1)]))

        assert answers[2].error is None
        for answer in (answers[0], answers[1]):
            assert answer.error or answer.truncated_tokens > 0
        if answers[0].error is None and self.is_language_model:
            # the part that differs was cut off
            assert answers[0].logprobs == pytest.approx(answers[1].logprobs, abs=self.tolerance)

    def test_a_choice_longer_than_the_model_fails_alone(self, backend: Backend) -> None:
        _skip_without(backend, RequestKind.LOGLIKELIHOOD)
        self._skip_unless_language_model()
        long = LoglikelihoodRequest(prompt="Count:", choices=(" one", FILLER * _short_length(backend)))

        answers = _once(backend.loglikelihood([long, *_choices(1)]))

        assert answers[0].error
        assert answers[0].logprobs == ()
        assert answers[1].error is None

    def test_abandoned_answers_leave_it_ready_for_the_next_call(self, backend: Backend) -> None:
        _skip_without(backend, RequestKind.LOGLIKELIHOOD)
        expected = _once(backend.loglikelihood(_choices()))

        for _ in backend.loglikelihood(_choices()):
            break

        again = _once(backend.loglikelihood(_choices()))
        for index, answer in expected.items():
            assert again[index].logprobs == pytest.approx(answer.logprobs, abs=self.tolerance)

    def test_pmi_requests_are_answered_after_both_prompts(self, backend: Backend) -> None:
        _skip_without(backend, RequestKind.LOGLIKELIHOOD)
        prompt, choices = QUESTIONS[0]
        request = LoglikelihoodRequest(prompt=prompt, choices=choices, unconditioned_prompt="Answer:")
        plain = LoglikelihoodRequest(prompt="Answer:", choices=choices)

        answers: dict[int, LoglikelihoodResponse] = _once(backend.loglikelihood([request, plain]))

        assert answers[0].unconditioned_logprobs is not None
        assert answers[0].unconditioned_logprobs == pytest.approx(answers[1].logprobs, abs=self.tolerance)
        assert answers[1].unconditioned_logprobs is None

    # ------------------------------------------------------------------------------------------------- generation

    def test_every_generate_request_is_answered_once_with_one_text_a_sample(self, backend: Backend) -> None:
        _skip_without(backend, RequestKind.GENERATE)
        requests = [
            GenerateRequest(prompt="The capital of France is", max_new_tokens=4),
            GenerateRequest(prompt="Once upon a time", max_new_tokens=4, num_samples=2, do_sample=True),
            GenerateRequest(prompt="Grüße 😀 aus 東京", max_new_tokens=4),
        ]

        answers = list(backend.generate(requests))

        assert sorted(index for index, _ in answers) == [0, 1, 2]
        for index, answer in answers:
            assert answer.error is None
            assert len(answer.texts) == len(answer.finish_reasons) == requests[index].num_samples
            assert set(answer.finish_reasons) <= {"stop", "length"}
            assert all(text.encode() is not None for text in answer.texts)

    def test_a_text_is_cut_before_any_stop_sequence_wherever_tokens_end(self, backend: Backend) -> None:
        _skip_without(backend, RequestKind.GENERATE)
        prompt, limit = "One, two, three,", 12
        (whole,) = _once(backend.generate([GenerateRequest(prompt=prompt, max_new_tokens=limit)]))[0].texts
        pieces = [whole[start : start + width] for width in (1, 3) for start in range(1, len(whole) - width)]
        usable = [piece for piece in dict.fromkeys(pieces) if "\ufffd" not in piece][:16]
        if len({whole.find(piece) for piece in usable}) < 2:
            pytest.skip(f"its text {whole!r} has nothing to stop at")
        by_place = sorted(usable, key=whole.find)
        # of several stop sequences, the first one in the text counts
        stops = [*((piece,) for piece in usable), (by_place[-1], "no such text", by_place[0])]

        answers = _once(backend.generate([GenerateRequest(prompt=prompt, max_new_tokens=limit, stop_sequence=stop) for stop in stops]))

        expected = [whole[: min(whole.find(text) for text in stop if text in whole)] for stop in stops]
        assert [answers[index].texts[0] for index in range(len(stops))] == expected
        assert {answers[index].finish_reasons[0] for index in range(len(stops))} == {"stop"}

    def test_greedy_texts_do_not_depend_on_order_or_batch(self, backend: Backend) -> None:
        _skip_without(backend, RequestKind.GENERATE)
        requests = [GenerateRequest(prompt=prompt, max_new_tokens=6) for prompt, _ in QUESTIONS if prompt]

        together = _once(backend.generate(requests))
        backwards = _once(backend.generate(requests[::-1]))

        for index, request in enumerate(requests):
            alone = _once(backend.generate([request]))[0].texts
            assert together[index].texts == backwards[len(requests) - 1 - index].texts == alone

    def test_samples_are_repeatable_in_any_batch_and_differ_from_one_another(self, backend: Backend) -> None:
        _skip_without(backend, RequestKind.GENERATE)
        sampled = GenerateRequest(prompt="Once upon a time", max_new_tokens=8, num_samples=4, do_sample=True)
        others = [GenerateRequest(prompt="One, two,", max_new_tokens=8, num_samples=2, do_sample=True), *([sampled] * 2)]

        alone = _once(backend.generate([sampled]))[0].texts
        in_batch = _once(backend.generate(others))

        assert in_batch[1].texts == in_batch[2].texts == alone
        assert len(set(alone)) > 1

    @pytest.mark.parametrize("prompt", ["", FILLER * LONGEST_PROMPT], ids=["empty", "endless"])
    def test_a_prompt_without_an_answer_fails_alone(self, backend: Backend, prompt: str) -> None:
        _skip_without(backend, RequestKind.GENERATE)
        if prompt:
            prompt = FILLER * _short_length(backend)
        good = GenerateRequest(prompt="The capital of France is", max_new_tokens=2)

        answers: dict[int, GenerateResponse] = _once(backend.generate([good, GenerateRequest(prompt=prompt, max_new_tokens=2), good]))

        assert answers[0].texts == answers[2].texts
        assert len(answers[0].texts) == 1
        if prompt:
            assert answers[1].error or answers[1].truncated_tokens > 0
        else:
            assert answers[1].error or len(answers[1].texts) == 1

    def test_chat_turns_are_rendered_and_answered_or_refused(self, backend: Backend) -> None:
        _skip_without(backend, RequestKind.GENERATE)
        try:
            rendered = backend.render(TURNS)
        except BackendError as error:
            pytest.skip(f"no chat: {error}")
        if rendered is not None:
            assert all(turn.content in rendered for turn in TURNS)
            assert rendered == backend.render(TURNS)

        answer = _once(backend.generate([GenerateRequest(prompt=TURNS, max_new_tokens=4)]))[0]

        assert answer.error is None
        assert len(answer.texts) == 1

    def test_a_generation_keeps_to_its_limits(self, backend: Backend) -> None:
        _skip_without(backend, RequestKind.GENERATE)
        requests = [
            GenerateRequest(prompt="The capital of France is", max_new_tokens=4),
            GenerateRequest(prompt="One, two, three,", max_new_tokens=8, stop_sequence=(",", "\n")),
        ]

        answers = _once(backend.generate(requests))

        assert sorted(answers) == [0, 1]
        assert all(answer.error is None and len(answer.texts) == 1 for answer in answers.values())
        assert not any(stop in answers[1].texts[0] for stop in requests[1].stop_sequence)
        assert all(ids is None or len(ids[0]) <= limit for ids, limit in ((answers[0].token_ids, 4), (answers[1].token_ids, 8)))

    def test_greedy_text_is_repeatable_and_samples_come_in_the_number_asked(self, backend: Backend) -> None:
        _skip_without(backend, RequestKind.GENERATE)
        greedy = GenerateRequest(prompt="Once upon a time", max_new_tokens=6)
        sampled = GenerateRequest(prompt="Once upon a time", max_new_tokens=6, num_samples=3, do_sample=True)

        assert _once(backend.generate([greedy]))[0].texts == _once(backend.generate([greedy]))[0].texts
        assert len(_once(backend.generate([sampled]))[0].texts) == 3

    def test_a_text_ends_at_its_limit_and_says_so(self, backend: Backend) -> None:
        _skip_without(backend, RequestKind.GENERATE)
        self._skip_unless_language_model()
        prompts = [prompt for prompt, _ in QUESTIONS if prompt]
        requests = [GenerateRequest(prompt=prompt, max_new_tokens=limit) for prompt in prompts for limit in (1, 8)]

        answers = _once(backend.generate(requests))

        pairs = [(answers[place], answers[place + 1]) for place in range(0, len(requests), 2)]
        if not any(longer.texts[0] for _, longer in pairs):
            pytest.skip("all its texts are empty")
        assert any(short.texts != longer.texts for short, longer in pairs), "max_new_tokens changes nothing"
        for short, longer in pairs:
            # an end token has no text and ends by itself; a text that would continue was cut
            if short.texts[0] and short.texts != longer.texts:
                assert short.finish_reasons == ("length",)

    # ------------------------------------------------------------------------------------------------- perplexity

    def test_perplexity_is_a_finite_loglikelihood_of_the_whole_text(self, backend: Backend) -> None:
        _skip_without(backend, RequestKind.PERPLEXITY)
        texts = ["The grass is green. The sky is blue.", "One, two, three, four, five."]

        answers = _once(backend.perplexity([PerplexityRequest(text=text) for text in texts]))

        assert sorted(answers) == [0, 1]
        for answer in answers.values():
            assert answer.error is None
            assert answer.logprob is not None
            assert -10_000 < answer.logprob < 0
            assert answer.token_count > 0

    def test_perplexity_is_that_of_the_text_as_a_choice_after_nothing(self, backend: Backend) -> None:
        _skip_without(backend, RequestKind.PERPLEXITY)
        _skip_without(backend, RequestKind.LOGLIKELIHOOD)
        self._skip_unless_language_model()
        text = "One, two, three, four, five."

        rolling = _once(backend.perplexity([PerplexityRequest(text=text)]))[0]
        choice = _once(backend.loglikelihood([LoglikelihoodRequest(prompt="", choices=(text,))]))[0]

        assert rolling.token_count == choice.token_counts[0]
        assert rolling.logprob == pytest.approx(choice.logprobs[0], abs=self.tolerance)

    def test_a_text_longer_than_the_model_is_scored_to_its_end_or_says_that_it_is_not(self, backend: Backend) -> None:
        _skip_without(backend, RequestKind.PERPLEXITY)
        length = _short_length(backend)
        texts = [FILLER * (length // 8) + "five", FILLER * length + "five"]

        answers = _once(backend.perplexity([PerplexityRequest(text=text) for text in texts]))

        if answers[1].error is not None:
            return
        counts = [backend.count_tokens(text) for text in texts]
        assert answers[1].truncated_tokens > 0 or answers[1].token_count > length
        if self.is_language_model and None not in counts and answers[1].truncated_tokens == 0:
            # the backend may add tokens at the start, the same number for both
            assert answers[1].token_count - answers[0].token_count == (counts[1] or 0) - (counts[0] or 0)
        assert answers[0].logprob is not None
        assert answers[1].logprob is not None
        assert math.isfinite(answers[1].logprob)
        assert answers[1].truncated_tokens > 0 or answers[1].logprob < answers[0].logprob

    def test_a_text_without_tokens_fails_alone(self, backend: Backend) -> None:
        _skip_without(backend, RequestKind.PERPLEXITY)

        answers = _once(backend.perplexity([PerplexityRequest(text=text) for text in ("One, two.", "", "One, two.")]))

        assert answers[0].logprob is not None
        assert answers[2].logprob == pytest.approx(answers[0].logprob, abs=self.tolerance)
        assert answers[1].error or answers[1].logprob is not None

    # -------------------------------------------------------------------------------------------- tokens, and the end

    def test_tokens_are_counted_or_said_to_be_unknown(self, backend: Backend) -> None:
        turns = (Message(role="user", content="Hello there"),)

        for prompt in ("Hello there", turns):
            count = backend.count_tokens(prompt)
            assert count is None or count > 0

    def test_more_text_has_more_tokens(self, backend: Backend) -> None:
        counts = [backend.count_tokens(FILLER * times) for times in (1, 4)]

        assert counts == [None, None] or (counts[0] or 0) < (counts[1] or 0)

    def test_it_can_be_closed_twice_and_answers_nothing_afterwards(self, new_backend: Callable[[], Backend] | None) -> None:
        if new_backend is None:
            pytest.skip(_NO_NEW_BACKEND)
        backend = new_backend()
        kind = sorted(backend.supports)[0]
        requests = {
            RequestKind.GENERATE: GenerateRequest(prompt="One, two,", max_new_tokens=2),
            RequestKind.LOGLIKELIHOOD: _choices(1)[0],
            RequestKind.PERPLEXITY: PerplexityRequest(text="One, two."),
        }
        ask = getattr(backend, kind.value)
        assert len(list(ask([requests[kind]]))) == 1

        backend.close()
        backend.close()

        with pytest.raises(BackendError):
            list(ask([requests[kind]]))
        assert isinstance(json.loads(json.dumps(dict(backend.describe()))), dict)

    def test_it_can_be_closed_before_it_was_ever_asked(self, new_backend: Callable[[], Backend] | None) -> None:
        if new_backend is None:
            pytest.skip(_NO_NEW_BACKEND)

        new_backend().close()
