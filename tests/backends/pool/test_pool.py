"""The pool with real processes: the same answers as one engine, whatever happens to its members, and nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.backends import load_backend
from pytest_lighteval.backends.chunked import ChunkedBackend
from pytest_lighteval.backends.chunks import ChunkLimits
from pytest_lighteval.backends.fake import FakeArguments, FakeBackend
from pytest_lighteval.backends.model_args import convert_model_args
from pytest_lighteval.backends.pool.backend import PoolBackend
from pytest_lighteval.backends.pool.local import LocalPlace
from pytest_lighteval.backends.pool.pool import Limits
from pytest_lighteval.backends.protocol import repeated
from pytest_lighteval.errors import BackendError, BackendLostError
from pytest_lighteval.testing import BackendConformance
from pytest_lighteval.types import Backend, GenerateRequest, LoglikelihoodRequest, PerplexityRequest, Request
from tests.backends.test_fake import DOCS

SITE = Path(__file__).parent / "site"
FIVE = ChunkLimits(size=150, per_stem=0)
"""Chunks of about five of the questions below."""
FEW_DEATHS = Limits(deaths=4)

QUESTIONS = [LoglikelihoodRequest(prompt=f"{number}: what is the answer?", choices=(" a", " b")) for number in range(60)]
TEXTS = [GenerateRequest(prompt=f"{number}: say it", max_new_tokens=40) for number in range(60)]
PROSE = [PerplexityRequest(text=f"{number} is a number of many") for number in range(60)]

Make = Callable[..., PoolBackend]


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes pools of the troubled backend, or of another one. Afterwards no process is left of them."""
    monkeypatch.syspath_prepend(SITE)
    pools: list[PoolBackend] = []

    def make(count: int = 2, backend: str = "troubled", limits: Limits = FEW_DEATHS, **arguments: Any) -> PoolBackend:
        checked = convert_model_args(arguments, load_backend(backend).Arguments, backend=backend)
        pools.append(PoolBackend(backend, checked, [LocalPlace(number) for number in range(1, count + 1)], limits))
        return pools[-1]

    yield make
    for one in pools:
        one.close()
    assert nobody_is_left()


def nobody_is_left() -> bool:
    """A process that was killed may take a moment."""
    for _ in range(100):
        if not members_alive():
            return True
        time.sleep(0.05)
    return False


def members_alive() -> list[str]:
    """Command lines of members, and of what they started, that are children of this process or of nobody."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        if ("pool.member" in command and parent in (os.getpid(), 1)) or "left-by-troubled" in command:
            found.append(command)
    return found


def ask(backend: Backend, requests: list[Any]) -> dict[int, Any]:
    answers: dict[int, Any] = {}
    for index, response in getattr(ChunkedBackend(backend, limits=FIVE), requests[0].kind.value)(requests):
        assert index not in answers
        answers[index] = response
    return answers


EXPECTED = {id(requests): ask(FakeBackend(), requests) for requests in (QUESTIONS, TEXTS, PROSE)}


@pytest.mark.parametrize("count", [1, 3])
def test_any_number_of_engines_answers_as_one(pool: Make, count: int) -> None:
    backend = pool(count)

    for requests in (QUESTIONS, TEXTS, PROSE):
        assert ask(backend, requests) == EXPECTED[id(requests)]
    facts = backend.describe()
    assert len(facts["use"]["members"]) == count
    assert sum(member["answers"] for member in facts["use"]["members"]) == 180
    assert "notes" not in facts


def test_nothing_starts_until_something_is_asked(pool: Make) -> None:
    backend = pool()

    assert (backend.name, backend.fingerprint, backend.count_tokens("two words"), backend.max_length) == ("troubled", "even", 2, 8192)
    assert members_alive() == []


def test_a_lost_engine_is_replaced_and_nothing_is_lost(pool: Make, tmp_path: Path) -> None:
    backend = pool(kills="33:", once=str(tmp_path / "happened"))

    assert ask(backend, QUESTIONS) == EXPECTED[id(QUESTIONS)]
    (note,) = backend.describe()["notes"]
    assert re.fullmatch(r"replica [12] ended in chunk \d+ of 6 requests \(signal SIGKILL\), and was started again", note)
    assert ask(backend, TEXTS) == EXPECTED[id(TEXTS)]


@pytest.mark.parametrize("count", [1, 2])
def test_a_document_that_ends_every_engine_is_an_error_of_its_own(pool: Make, count: int) -> None:
    backend = pool(count, kills="33:")

    answers = ask(backend, QUESTIONS)

    assert answers.pop(33).error == "it ended two engines that were asked it alone: signal SIGKILL"
    assert answers == {index: answer for index, answer in EXPECTED[id(QUESTIONS)].items() if index != 33}
    assert any(re.match(r"chunk \d+ of 6 requests ended two engines", note) for note in backend.describe()["notes"])


def test_an_engine_that_fails_is_not_asked_again(pool: Make, tmp_path: Path) -> None:
    backend = pool(raises="33:", once=str(tmp_path / "happened"))

    assert ask(backend, QUESTIONS) == EXPECTED[id(QUESTIONS)]
    assert sum(member["deaths"] for member in backend.describe()["use"]["members"]) == 1
    assert "troubled: it cannot go on" in backend.describe()["notes"][0]


@pytest.mark.parametrize(
    ("trouble", "limits", "reason"),
    [
        ("stops", Limits(beat=0.2, silent=4), "no sign of life for 4 seconds"),
        ("hangs", Limits(beat=0.2, stuck=4), "no answer for 4 seconds, while it was in one call"),
    ],
)
def test_an_engine_that_is_stuck_is_ended(pool: Make, tmp_path: Path, trouble: str, limits: Limits, reason: str) -> None:
    backend = pool(limits=limits, once=str(tmp_path / "happened"), **{trouble: "33:"})

    assert ask(backend, QUESTIONS) == EXPECTED[id(QUESTIONS)]
    assert reason in backend.describe()["notes"][0]


def test_an_engine_that_stops_before_it_is_sent_a_big_chunk_holds_up_nobody(pool: Make) -> None:
    backend = pool(limits=Limits(beat=0.2, silent=3))
    ask(backend, PROSE)
    while any(member.ready is None for member in backend._pool.facts):
        ask(backend, PROSE)
    stopped = backend._pool.facts[0].ready
    assert stopped is not None
    os.kill(stopped.place["process"], signal.SIGSTOP)

    big = [[LoglikelihoodRequest(prompt=f"{number}: " + "x" * 2**20, choices=(" a", " b"))] for number in range(4)]
    assert sorted(place[:2] for place in backend.answer_chunks(big)) == [(number, 0) for number in range(4)]

    (note,) = backend.describe()["notes"]
    assert re.fullmatch(r"replica 1 ended in chunk \d+ of 1 requests \(no sign of life for 3 seconds\), and was started again", note)


def test_an_engine_that_cannot_be_loaded_again_at_once_is_loaded_later(pool: Make, tmp_path: Path) -> None:
    backend = pool(1, kills="33:", once=str(tmp_path / "happened"), late=str(tmp_path / "late"))

    assert ask(backend, QUESTIONS) == EXPECTED[id(QUESTIONS)]
    assert backend.describe()["notes"][1] == "replica 1 ended (troubled: there is no memory yet), and was started again"


def test_without_any_engine_left_the_backend_is_lost(pool: Make) -> None:
    backend = pool(kills=":")

    with pytest.raises(BackendLostError, match=r"no engine is left of 2: replica [12] ended .*signal SIGKILL"):
        ask(backend, QUESTIONS)
    with pytest.raises(BackendLostError, match="no engine is left of 2"):
        ask(backend, TEXTS)


def test_a_model_that_cannot_be_loaded_is_said_once(pool: Make) -> None:
    backend = pool(unloadable=True)

    for _ in range(2):
        with pytest.raises(BackendError, match=r"^troubled: there are no weights$"):
            ask(backend, QUESTIONS)


def test_a_member_that_cannot_import_the_package_says_so(pool: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    backend = pool()
    (tmp_path / "msgspec.py").write_text("raise ImportError('no msgspec here')")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(BackendError, match="exit code 1: ImportError: no msgspec here"):
        ask(backend, QUESTIONS)


def test_a_member_that_is_not_the_same_is_refused_by_name(pool: Make, tmp_path: Path) -> None:
    backend = pool(odd=str(tmp_path / "odd"), delay=0.02)

    assert ask(backend, QUESTIONS) == EXPECTED[id(QUESTIONS)]
    (note,) = backend.describe()["notes"]
    assert note in (
        "replica 1 is refused: its fingerprint is 'even', that of the first is 'odd'",
        "replica 2 is refused: its fingerprint is 'even', that of the first is 'odd'",
        "replica 1 is refused: its fingerprint is 'odd', that of the first is 'even'",
        "replica 2 is refused: its fingerprint is 'odd', that of the first is 'even'",
    )


def test_how_far_members_differ_is_said_when_they_are_loaded(pool: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "pytest_lighteval.progress")
    backend = pool(apart=str(tmp_path / "apart"))

    ask(backend, QUESTIONS)
    while any(member["differs"] is None for member in backend.describe()["use"]["members"]):  # until both are loaded
        ask(backend, PROSE)
    ask(backend, PROSE)

    facts = backend.describe()
    assert sorted(member["differs"] for member in facts["use"]["members"]) == [0.0, 0.25]
    (note,) = facts["notes"]
    assert re.fullmatch(r"replica [12] differs from the first by up to 0.25 in a log-likelihood: scores depend on who answers", note)
    assert [record.getMessage() for record in caplog.records] == [f"troubled: {note}"]


def test_what_an_engine_started_ends_with_it(pool: Make) -> None:
    backend = pool(leaves=True)
    ask(backend, QUESTIONS)
    assert any("left-by-troubled" in command for command in members_alive())

    backend.close()

    assert nobody_is_left()


def test_closing_while_engines_compute_takes_no_time(pool: Make) -> None:
    backend = pool(limits=Limits(), delay=2.0)
    answers = ChunkedBackend(backend, limits=FIVE).loglikelihood(QUESTIONS)
    next(answers)

    started = time.monotonic()
    backend.close()

    assert time.monotonic() - started < 5
    with pytest.raises(BackendError, match="the pool of troubled engines is closed"):
        ask(backend, TEXTS)


def test_members_learn_the_golds_that_the_fake_backend_needs(pool: Make) -> None:
    doc = DOCS[0]
    backend = pool(backend="fake", accuracy=1.0)
    request = LoglikelihoodRequest(prompt=doc.query, choices=doc.choices)
    backend.learn(request, doc)

    ((_, answer),) = backend.loglikelihood([request])

    expected = FakeBackend(accuracy=1.0)
    expected.learn(request, doc)
    assert [(0, answer)] == list(expected.loglikelihood([request]))


def test_a_repeat_is_asked_of_the_members(pool: Make) -> None:
    backend = repeated(pool(backend="fake", noise=0.5), 3)

    assert ask(backend, QUESTIONS) == ask(FakeBackend(noise=0.5, run=3), QUESTIONS)


def test_what_is_asked_ahead_is_computed_once(pool: Make) -> None:
    backend = pool()
    chunks: list[list[Request]] = [[QUESTIONS[0], QUESTIONS[1]], [QUESTIONS[2]]]
    backend.ask_ahead(chunks)
    assert ask(backend, PROSE) == EXPECTED[id(PROSE)]

    answers = list(backend.answer_chunks(chunks))

    assert sorted(place[:2] for place in answers) == [(0, 0), (0, 1), (1, 0)]
    assert sum(member["answers"] for member in backend.describe()["use"]["members"]) == 63


@pytest.fixture(scope="module")
def two_engines() -> Iterator[Backend]:
    backend = PoolBackend("fake", FakeArguments(), [LocalPlace(1), LocalPlace(2)])
    yield backend
    backend.close()


class TestPool(BackendConformance):
    is_language_model = False

    @pytest.fixture
    def backend(self, two_engines: Backend) -> Backend:
        return two_engines
