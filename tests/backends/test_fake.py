"""The fake backend is a backend, and its planted losses are nested, seeded and exactly as many as asked."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from pytest_lighteval.backends.fake import FakeBackend
from pytest_lighteval.testing import BackendConformance
from pytest_lighteval.types import Backend, Doc, GenerateRequest, LoglikelihoodRequest, Repeatable


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    """A backend that needs no model."""
    backend = FakeBackend(max_length=100)
    yield backend
    backend.close()


class TestFakeBackend(BackendConformance):
    """The conformance test."""

    is_language_model = False

    @pytest.fixture
    def new_backend(self) -> Callable[[], Backend]:
        """Another one, to be closed."""
        return FakeBackend


DOCS = [Doc(id=f"test:{n}", query=f"what is {n}?", choices=(" a", " b", " c", " d"), gold=(n % 4,)) for n in range(400)]


def right(**arguments: object) -> set[str]:
    """Ids of the documents that a fake answers right."""
    backend = FakeBackend(**arguments)
    requests = [LoglikelihoodRequest(prompt=doc.query, choices=doc.choices) for doc in DOCS]
    for request, doc in zip(requests, DOCS, strict=True):
        backend.learn(request, doc)
    found = set()
    for index, response in backend.loglikelihood(requests):
        if response.logprobs.index(max(response.logprobs)) in DOCS[index].gold:
            found.add(DOCS[index].id)
    return found


@pytest.mark.parametrize("accuracy", [0.0, 0.3, 0.7, 1.0])
def test_it_is_right_about_as_often_as_asked(accuracy: float) -> None:
    assert abs(len(right(accuracy=accuracy)) / 400 - accuracy) < 0.08


def test_losses_hit_documents_that_were_right_and_are_nested() -> None:
    whole, small, large = right(accuracy=0.7), right(accuracy=0.7, lose=0.05), right(accuracy=0.7, lose=0.2)

    assert large < small < whole


def test_gains_are_added_to_what_was_right() -> None:
    assert right(accuracy=0.7) < right(accuracy=0.7, gain=0.3)


def test_another_seed_is_another_model() -> None:
    assert right(accuracy=0.5) != right(accuracy=0.5, seed=1)
    assert FakeBackend().fingerprint != FakeBackend(seed=1).fingerprint


def test_named_documents_are_wrong_or_fail() -> None:
    assert right(accuracy=1.0, wrong=("test:3", "test:17")) == {doc.id for doc in DOCS} - {"test:3", "test:17"}


def test_generated_golds_are_cut_at_the_stop_sequence_like_any_text() -> None:
    backend = FakeBackend(accuracy=1.0)
    request = GenerateRequest(prompt="q", stop_sequence=(".",))
    backend.learn(request, Doc(id="test:0", query="q", choices=(" yes. And more",), gold=(0,)))

    assert dict(backend.generate([request]))[0].texts == (" yes",)


def test_noise_is_the_share_of_documents_in_which_two_runs_differ() -> None:
    runs = [right(accuracy=0.7, noise=0.2, run=run) for run in range(6)]

    differing = [len(first ^ second) / 400 for first, second in itertools.combinations(runs, 2)]
    assert sum(differing) / len(differing) == pytest.approx(0.2, abs=0.03)
    assert right(accuracy=0.7, noise=0.2, run=3) == runs[3]
    assert right(accuracy=0.7) == right(accuracy=0.7, run=3)


def test_a_repeat_is_a_later_run_of_the_same_model() -> None:
    backend = FakeBackend(noise=0.2, run=1)

    assert isinstance(backend, Repeatable)
    assert backend.repeat(2).arguments == FakeBackend(noise=0.2, run=3).arguments
