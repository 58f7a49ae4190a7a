"""Chunks of a task's requests: every request once, what begins alike together, and cuts that cost little."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import chain

import pytest

from pytest_lighteval.backends.chunked import ChunkedBackend, chunked, share_of
from pytest_lighteval.backends.chunks import USUAL, ChunkLimits, cut
from pytest_lighteval.backends.fake import FakeBackend
from pytest_lighteval.testing import BackendConformance
from pytest_lighteval.types import Backend, GenerateRequest, LoglikelihoodRequest, Message, PerplexityRequest, PerplexityResponse, Request


def words(draw: random.Random, count: int) -> str:
    return " ".join(f"{draw.randrange(10**6)}" for _ in range(count))


def questions(stem: str, count: int, *, seed: int = 0) -> list[LoglikelihoodRequest]:
    draw = random.Random(seed)
    return [LoglikelihoodRequest(prompt=f"{stem}{words(draw, 60)}", choices=(" A", " B")) for _ in range(count)]


def few_shots(seed: int, size: int = 400) -> str:
    return words(random.Random(seed), size)


def costs(requests: Sequence[LoglikelihoodRequest], stem: str) -> float:
    """How many more bytes the chunks compute than one chunk would, as a share."""
    own = sum(len(str(request.prompt)) - len(stem) for request in requests)
    return len(stem) * (len(cut(requests)) - 1) / (own + len(stem))


@pytest.mark.parametrize("count", [0, 1, 7, 1000])
def test_every_request_is_in_one_chunk(count: int) -> None:
    requests = questions(few_shots(1), count)

    assert sorted(chain(*cut(requests))) == list(range(count))


def test_of_equal_requests_the_first_is_in_a_chunk() -> None:
    first, second = questions("", 2)

    assert cut([first, second, first, first]) == [(0, 1)]


def test_a_small_task_is_one_chunk_in_its_own_order() -> None:
    assert cut(questions(few_shots(1), 100)) == [tuple(range(100))]


def test_cuts_cost_five_percent_at_most() -> None:
    stem = few_shots(1)
    requests = questions(stem, 3000)

    assert len(cut(requests)) > 5
    assert costs(requests, stem) < 0.05
    long = few_shots(2, 2500)
    assert len(cut(questions(long, 3000))) < len(cut(requests))
    assert costs(questions(long, 3000), long) < 0.05


def test_short_requests_are_cut_by_their_number_unless_their_stem_is_long() -> None:
    short = [LoglikelihoodRequest(prompt=f"{number} + 1 =", choices=(" 1",)) for number in range(1600)]
    stem = "s" * 3000

    # the last cut leaves less than half of a chunk, which stays with the one before
    assert [len(chunk) for chunk in cut(short)] == [512, 512, 576]
    assert len(cut([LoglikelihoodRequest(prompt=f"{stem}{request.prompt}", choices=(" 1",)) for request in short])) == 1


def test_what_is_asked_after_one_prompt_is_in_one_chunk() -> None:
    pairs = [LoglikelihoodRequest(prompt=f"question {number}", choices=(choice,)) for number in range(100) for choice in (" a", " b")]

    chunks = cut(pairs, ChunkLimits(size=33, per_stem=0))

    assert len(chunks) >= 20
    assert all(len(chunk) % 2 == 0 for chunk in chunks)


def test_a_stem_that_is_too_long_is_computed_again() -> None:
    stem = few_shots(1, 20_000)

    chunks = cut(questions(stem, 5000))

    assert len(chunks) > 1
    assert all(sum(60 * 7 for _ in chunk) < 2 * USUAL.most for chunk in chunks)


def test_what_begins_alike_is_together_wherever_it_stands() -> None:
    stems = [few_shots(seed, 80) for seed in range(40)]
    requests = [request for one in range(25) for seed, stem in enumerate(stems) for request in questions(stem, 1, seed=100 * one + seed)]

    chunks = cut(requests, ChunkLimits(size=2**14))

    homes = [{number for number, chunk in enumerate(chunks) if any(index % 40 == seed for index in chunk)} for seed in range(40)]
    assert len(chunks) > 10
    assert all(len(home) <= 2 for home in homes)


def test_more_documents_leave_the_first_chunks_as_they_are() -> None:
    requests = questions(few_shots(1), 4000)

    fewer, more = cut(requests[:2000]), cut(requests)

    assert len(fewer) > 3
    assert fewer[:-1] == more[: len(fewer) - 1]


def test_texts_are_generated_in_chunks_that_fill_an_engine() -> None:
    def of(count: int, **settings: object) -> list[int]:
        requests = [GenerateRequest(prompt=f"question {number}", **settings) for number in range(count)]  # type: ignore[arg-type]
        return [len(chunk) for chunk in cut(requests)]

    assert of(200, max_new_tokens=8000) == [200]
    assert of(1000, max_new_tokens=2048) == [256, 256, 256, 232]
    assert of(1000, max_new_tokens=10) == [512, 488]
    assert of(600, max_new_tokens=2048, num_samples=64) == [4] * 150
    assert of(1000) == of(1000, max_new_tokens=2048)


def test_turns_and_texts_with_half_a_character_have_a_size() -> None:
    turns = [GenerateRequest(prompt=(Message(role="user", content=f"\ud83d {number}"),), max_new_tokens=600) for number in range(1000)]
    texts = [PerplexityRequest(text="word \ud83d" * 4000 + str(number)) for number in range(9)]

    assert [len(chunk) for chunk in cut(turns)] == [256, 256, 256, 232]
    assert len(cut(texts)) == 1  # they begin alike
    assert len(cut([PerplexityRequest(text=f"{number}" + "word" * 40000) for number in range(9)])) == 9


def test_the_last_chunk_is_not_a_rest() -> None:
    requests: list[Request] = [PerplexityRequest(text=chr(97 + number) * 1000) for number in range(22)]

    assert [len(chunk) for chunk in cut(requests, ChunkLimits(size=10_000))] == [10, 12]


class Watched(FakeBackend):
    """Remembers how much it was asked at once."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[int] = []

    def perplexity(self, requests: Sequence[PerplexityRequest]) -> Iterator[tuple[int, PerplexityResponse]]:
        self.calls.append(len(requests))
        return super().perplexity(requests)


def test_a_backend_is_asked_chunk_by_chunk_and_answers_every_index() -> None:
    backend = Watched()
    texts = [PerplexityRequest(text=chr(97 + number) * 1000) for number in (*range(20), 3, 3)]

    answers = dict(ChunkedBackend(backend, limits=ChunkLimits(size=10_000)).perplexity(texts))

    assert backend.calls == [10, 10]
    assert answers == dict(FakeBackend().perplexity(texts))


def test_a_backend_that_batches_itself_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Watched, "batches_itself", True, raising=False)
    backend = Watched()

    assert chunked(backend) is backend


@pytest.mark.parametrize("count", [0, 1, 2, 7, 100])
@pytest.mark.parametrize("of", [1, 2, 3, 8])
def test_all_shares_are_all_chunks_once(count: int, of: int) -> None:
    chunks = list(range(count))

    shares = [share_of(chunks, number, of, turn="a task") for number in range(1, of + 1)]

    assert sorted(chain(*shares)) == chunks
    assert all(share == list(range(share[0], share[0] + len(share))) for share in shares if share)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_tasks_of_one_chunk_go_to_all_shares() -> None:
    homes = {number for task in range(100) for number in range(1, 5) if share_of([0], number, 4, turn=f"task {task}")}

    assert homes == {1, 2, 3, 4}


class TestChunked(BackendConformance):
    is_language_model = False

    @pytest.fixture
    def backend(self) -> Backend:
        return chunked(FakeBackend())
