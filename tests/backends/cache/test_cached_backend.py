"""The cached backend: the same bits as the backend that it wraps, which is asked each thing once."""

from __future__ import annotations

import inspect
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from pytest_lighteval.backends import load_backend, names
from pytest_lighteval.backends.cache import cached_backend
from pytest_lighteval.backends.cache.answer_store import AnswerStore
from pytest_lighteval.backends.cache.cached_backend import CachedBackend
from pytest_lighteval.backends.cache.environment_key import environment_key
from pytest_lighteval.backends.chunks import ChunkLimits
from pytest_lighteval.backends.fake import FakeBackend
from pytest_lighteval.backends.protocol import is_cacheable
from pytest_lighteval.errors import BackendError
from pytest_lighteval.testing import BackendConformance
from pytest_lighteval.types import (
    Backend,
    GenerateRequest,
    GenerateResponse,
    LoglikelihoodRequest,
    LoglikelihoodResponse,
    Message,
    PerplexityRequest,
    PerplexityResponse,
    Prompt,
    Request,
    RequestKind,
)


class Engine:
    """Answers that depend on the request and, in their last digits, on how many requests came with it. Records what it is asked."""

    name = "engine"
    cacheable = True
    supports = frozenset(RequestKind)

    def __init__(self, fingerprint: str = "one", max_length: int = 100) -> None:
        self.fingerprint = fingerprint
        self.max_length = max_length
        self.asked: list[Any] = []
        self.failing: set[Request] = set()
        self.closed = 0

    def count_tokens(self, prompt: Prompt) -> int | None:
        self.asked.append(("count", prompt))
        return None if prompt == "unknown" else len(prompt)

    def render(self, messages: Sequence[Message]) -> str | None:
        self.asked.append(("render", tuple(messages)))
        if not messages:
            raise BackendError("no chat template")
        return "".join(f"<{message.role}>{message.content}" for message in messages)

    def describe(self) -> Mapping[str, Any]:
        return {"model": "m", "device": "cpu", "use": {"tokens": 7}} if self.asked else {"model": "m", "device": "auto"}

    def loglikelihood(self, requests: Sequence[LoglikelihoodRequest]) -> Iterator[tuple[int, LoglikelihoodResponse]]:
        self.asked += requests
        for index in reversed(range(len(requests))):
            request = requests[index]
            yield (
                index,
                LoglikelihoodResponse(
                    logprobs=tuple(-0.1 - len(choice) / 3 - len(requests) * 1e-12 for choice in request.choices),
                    greedy=tuple(choice == request.choices[0] for choice in request.choices),
                    token_counts=tuple(map(len, request.choices)),
                    unconditioned_logprobs=None if request.unconditioned_prompt is None else tuple(-1 / 7 for _ in request.choices),
                    prompt_token_ids=(1, 2, 3),
                    choice_token_ids=tuple((len(choice),) for choice in request.choices),
                    truncated_tokens=2,
                    error="it failed" if request in self.failing else None,
                ),
            )

    def generate(self, requests: Sequence[GenerateRequest]) -> Iterator[tuple[int, GenerateResponse]]:
        self.asked += requests
        for index, request in enumerate(requests):
            texts = tuple(f"sample {number} of {request.prompt} é" for number in range(request.num_samples))
            yield index, GenerateResponse(texts=texts, token_ids=((1, 2),) * len(texts), finish_reasons=("stop",) * len(texts))

    def perplexity(self, requests: Sequence[PerplexityRequest]) -> Iterator[tuple[int, PerplexityResponse]]:
        self.asked += requests
        for index, request in enumerate(requests):
            yield index, PerplexityResponse(logprob=-math.pi * max(1, len(request.text)), token_count=max(1, len(request.text)))

    def close(self) -> None:
        self.closed += 1


CHOICES = [LoglikelihoodRequest(prompt=f"question {number}", choices=(" a", " bcd")) for number in range(5)]
TURNS = (Message(role="system", content="Be brief."), Message(role="user", content="Hello"))
ALL_KINDS: list[Request] = [
    CHOICES[0],
    replace(CHOICES[0], unconditioned_prompt="Answer:"),
    replace(CHOICES[0], prompt=TURNS),
    GenerateRequest(prompt="tell", stop_sequence=("\n",), max_new_tokens=5),
    GenerateRequest(prompt=TURNS, num_samples=3, do_sample=True),
    PerplexityRequest(text="a text"),
]


@pytest.fixture
def sessions(tmp_path: Path) -> Iterator[Any]:
    """Makes one session after the other: a cached backend around an engine, on one store's folder."""
    stores: list[AnswerStore] = []

    def session(engine: Backend | None = None, **arguments: Any) -> CachedBackend:
        for store in stores:
            store.close()
        stores.append(AnswerStore(tmp_path / "cache", limit_bytes=10**8))
        return CachedBackend(engine or Engine(), stores[-1], **arguments)

    yield session
    for store in stores:
        assert store.problem is None
        store.close()


def ask(backend: Backend, requests: Sequence[Any]) -> dict[int, Any]:
    answers: dict[int, Any] = {}
    for index, response in getattr(backend, requests[0].kind.value)(requests):
        assert index not in answers
        answers[index] = response
    return answers


@pytest.mark.parametrize("request_", ALL_KINDS, ids=lambda request: type(request).__name__)
def test_a_known_answer_is_the_same_to_the_bit_and_asks_nobody(sessions: Any, request_: Request) -> None:
    plain = ask(Engine(), [request_])
    first = ask(sessions(), [request_])
    second = sessions()

    assert ask(second, [request_]) == first == plain
    assert repr(ask(second, [request_])) == repr(plain)
    assert second.inner.asked == []
    assert (second.hits, second.misses) == (2, 0)


def test_floats_come_back_bit_by_bit(sessions: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = (-0.0, float("-inf"), -5e-324, -0.1 - 0.2, float("nan"))
    response = LoglikelihoodResponse(logprobs=odd, greedy=(False,) * 5, token_counts=(1,) * 5)
    monkeypatch.setattr(Engine, "loglikelihood", lambda _, requests: iter([(0, response)]))
    ask(sessions(), CHOICES[:1])

    found = ask(sessions(), CHOICES[:1])[0]

    assert [struct.pack("d", value) for value in found.logprobs] == [struct.pack("d", value) for value in odd]


def test_a_chunk_that_is_not_wholly_known_is_asked_whole(sessions: Any) -> None:
    ask(sessions(), CHOICES[1:3])
    second = sessions()

    answers = ask(second, CHOICES)

    assert answers == ask(Engine(), CHOICES)
    assert second.inner.asked == CHOICES
    assert (second.hits, second.misses) == (0, 5)


def test_of_several_chunks_only_those_that_are_not_known_are_asked(sessions: Any) -> None:
    one_each = ChunkLimits(size=1, per_stem=0)
    ask(sessions(limits=one_each), CHOICES[1:3])
    second = sessions(limits=one_each)

    answers = ask(second, CHOICES)

    assert sorted(answers) == [0, 1, 2, 3, 4]
    assert second.inner.asked == [CHOICES[0], CHOICES[3], CHOICES[4]]
    assert (second.hits, second.misses) == (2, 3)


def test_an_engine_that_batches_itself_is_asked_only_what_is_not_known(sessions: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "batches_itself", True, raising=False)
    ask(sessions(), CHOICES[1:3])
    second = sessions()

    answers = ask(second, CHOICES)

    assert sorted(answers) == [0, 1, 2, 3, 4]
    assert second.inner.asked == [CHOICES[0], CHOICES[3], CHOICES[4]]
    assert (second.hits, second.misses) == (2, 3)


DIFFERENT: list[tuple[Request, Request]] = [
    (CHOICES[0], replace(CHOICES[0], prompt="question 0 ")),
    (CHOICES[0], replace(CHOICES[0], choices=(" a", " bc", "d"))),
    (CHOICES[0], replace(CHOICES[0], choices=(" bcd", " a"))),
    (CHOICES[0], replace(CHOICES[0], unconditioned_prompt="")),
    (CHOICES[0], replace(CHOICES[0], prompt=(Message(role="user", content="question 0"),))),
    (
        replace(CHOICES[0], prompt=(Message(role="user", content="question 0"),)),
        replace(CHOICES[0], prompt=(Message(role="system", content="question 0"),)),
    ),
    (GenerateRequest(prompt="p"), GenerateRequest(prompt="p", do_sample=True)),
    (GenerateRequest(prompt="p"), GenerateRequest(prompt="p", num_samples=2)),
    (GenerateRequest(prompt="p"), GenerateRequest(prompt="p", max_new_tokens=3)),
    (GenerateRequest(prompt="p"), GenerateRequest(prompt="p", stop_sequence=("a",))),
    (GenerateRequest(prompt="p", stop_sequence=("ab",)), GenerateRequest(prompt="p", stop_sequence=("a", "b"))),
    (PerplexityRequest(text="p"), PerplexityRequest(text="P")),
]


@pytest.mark.parametrize(("known", "other"), DIFFERENT, ids=[f"{index}" for index in range(len(DIFFERENT))])
def test_a_request_that_differs_in_anything_is_asked(sessions: Any, known: Request, other: Request) -> None:
    ask(sessions(), [known])
    second = sessions()

    ask(second, [other])

    assert second.inner.asked == [other]


def test_another_model_or_repeat_or_code_or_hardware_is_asked(sessions: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(sessions(), CHOICES)
    others = [sessions(Engine(fingerprint="two"))]
    ask(others[-1], CHOICES)
    others.append(sessions(repeat=1))
    ask(others[-1], CHOICES)
    monkeypatch.setattr(cached_backend, "environment_key", lambda: ("another version", environment_key()[1]))
    others.append(sessions())
    ask(others[-1], CHOICES)
    monkeypatch.setattr(cached_backend, "environment_key", lambda: (environment_key()[0], "another GPU"))
    others.append(sessions())
    ask(others[-1], CHOICES)

    assert [other.misses for other in others] == [5, 5, 5, 5]
    again = sessions(repeat=1)
    monkeypatch.undo()
    ask(again, CHOICES)
    assert (again.hits, again.misses) == (5, 0)


def test_arguments_that_only_round_keep_answers_apart(sessions: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(batch_size: int, timeout: int) -> int:
        engine = Engine()
        monkeypatch.setattr(engine, "arguments", SimpleNamespace(batch_size=batch_size, timeout=timeout), raising=False)
        monkeypatch.setattr(engine, "cached_apart", ("batch_size",), raising=False)
        ask(sessions(engine), CHOICES)
        return len(engine.asked)

    assert [asked(1, 10), asked(2, 10), asked(1, 20), asked(2, 20)] == [5, 5, 0, 0]


@pytest.mark.parametrize("name", names())
def test_what_is_cached_apart_is_an_argument(name: str) -> None:
    backend = load_backend(name)

    known = {field.name for field in msgspec.structs.fields(backend.Arguments)}
    assert set(getattr(backend, "cached_apart", ())) <= known


def test_an_answer_with_an_error_is_never_kept(sessions: Any) -> None:
    failing = Engine()
    failing.failing = {CHOICES[1]}
    assert ask(sessions(failing), CHOICES)[1].error == "it failed"
    second = sessions()

    answers = ask(second, CHOICES)

    assert answers[1].error is None
    assert second.inner.asked == CHOICES  # the whole chunk


def test_equal_requests_of_a_call_are_asked_once(sessions: Any) -> None:
    backend = sessions()

    answers = ask(backend, [CHOICES[0], CHOICES[1], CHOICES[0]])

    assert backend.inner.asked == [CHOICES[0], CHOICES[1]]
    assert answers[0] == answers[2]
    assert (backend.hits, backend.misses) == (1, 2)


def test_a_call_that_is_repeated_gets_its_own_answers_not_those_of_another_call(sessions: Any) -> None:
    backend = sessions()
    large, small = ask(backend, CHOICES), ask(backend, CHOICES[:2])
    assert large[0] != small[0]  # in the last digits

    again = sessions()

    assert ask(again, CHOICES[:2]) == small
    assert ask(again, CHOICES) == large
    assert again.misses == 0


def test_what_was_answered_before_an_engine_broke_is_kept(sessions: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Engine.perplexity

    def breaking(self: Engine, requests: Sequence[PerplexityRequest]) -> Iterator[tuple[int, PerplexityResponse]]:
        for index, response in whole(self, requests):
            if requests[index] == texts[3]:
                raise BackendError("the server went away")
            yield index, response

    texts = [PerplexityRequest(text=letter * 20) for letter in "abcde"]
    monkeypatch.setattr(Engine, "perplexity", breaking)
    limits = ChunkLimits(size=40)  # two of them
    with pytest.raises(BackendError, match="the server went away"):
        ask(sessions(limits=limits), texts)
    monkeypatch.undo()
    second = sessions(limits=limits)

    assert ask(second, texts) == ask(Engine(), texts)
    assert second.inner.asked == texts[2:]


def test_tokens_and_templates_are_known_without_a_tokenizer(sessions: Any) -> None:
    def facts(backend: Backend) -> list[Any]:
        return [backend.count_tokens("four"), backend.count_tokens(TURNS), backend.render(TURNS), backend.max_length]

    plain = facts(Engine())
    assert facts(sessions()) == plain
    second = sessions(Engine(max_length=0))  # what it says is not asked for

    assert facts(second) == plain
    assert second.inner.asked == []
    with pytest.raises(BackendError, match="no chat template"):
        second.render([])
    assert second.count_tokens("unknown") is None
    assert (second.hits, second.misses) == (0, 0)


def test_the_description_is_that_of_the_engine_which_answered(sessions: Any) -> None:
    first = sessions()
    assert first.describe() == {"model": "m", "device": "auto"}
    ask(first, CHOICES)
    assert first.describe() == {"model": "m", "device": "cpu", "use": {"tokens": 7}}
    second = sessions()
    ask(second, CHOICES)

    assert second.describe() == {"model": "m", "device": "cpu"}


def test_what_has_no_bytes_is_asked_every_time(sessions: Any) -> None:
    half = PerplexityRequest(text="half of a pair: \ud83d")
    ask(sessions(), [half, PerplexityRequest(text="whole")])
    second = sessions()

    ask(second, [half, PerplexityRequest(text="whole"), half])

    assert second.inner.asked == [half, PerplexityRequest(text="whole")]


def test_a_store_that_cannot_be_used_leaves_the_backend_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    backend = CachedBackend(Engine(), AnswerStore(tmp_path / "file", limit_bytes=10**8))

    assert ask(backend, CHOICES) == ask(backend, CHOICES) == ask(Engine(), CHOICES)
    assert (backend.count_tokens("four"), backend.hits, backend.misses) == (4, 0, 10)


def test_an_engine_that_answers_what_it_was_not_asked_is_an_error(sessions: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "perplexity", lambda _, requests: iter([(7, PerplexityResponse(logprob=-1.0, token_count=1))]))

    with pytest.raises(BackendError, match="backend 'engine' answered request 7 of 1, which it was never asked"):
        ask(sessions(), [PerplexityRequest(text="x")])


def test_closing_closes_the_engine(sessions: Any) -> None:
    backend = sessions()

    backend.close()

    assert backend.inner.closed == 1


def test_only_a_backend_that_says_so_may_be_cached(sessions: Any) -> None:
    class Silent(Engine):
        cacheable: Any = None

    assert is_cacheable(Engine())
    assert not is_cacheable(Silent())
    assert not is_cacheable(sessions())
    with pytest.raises(ValueError, match="backend 'fake' does not say cacheable = True"):
        sessions(FakeBackend())


@pytest.mark.parametrize("name", names())
def test_every_backend_of_ours_says_whether_it_may_be_cached(name: str) -> None:
    # some say it of the class, some of an instance: of which arguments it has
    assert "cacheable" in inspect.getsource(type_of(name))


def type_of(name: str) -> type:
    factory: object = load_backend(name)
    assert isinstance(factory, type)
    return factory


class TestCachedEngine(BackendConformance):
    is_language_model = False

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Iterator[Backend]:
        store = AnswerStore(tmp_path / "cache", limit_bytes=10**8)
        yield CachedBackend(Conforming(), store)
        store.close()


class Conforming(FakeBackend):
    """The fake backend as long as it has learned nothing."""

    cacheable: Any = True
