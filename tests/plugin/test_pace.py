"""Rates and times that are left: told from batches that are over, or not at all."""

from __future__ import annotations

import pytest

from pytest_lighteval.plugin.pace import Pace, Running, SessionPace, running_text


def pace_of(*answers: tuple[int, float]) -> Pace:
    pace = Pace()
    for done, now in answers:
        pace.note(done, now)
    return pace


def batch(first: int, size: int, now: float) -> list[tuple[int, float]]:
    """Answers that come within a few milliseconds."""
    return [(first + number, now + number / 1000) for number in range(1, size + 1)]


def running(label: str = "a|b|0", *, done: int, total: int = 1319, rate: float | None = None, documents: int | None = None) -> Running:
    return Running(label=label, done=done, total=total, documents=total if documents is None else documents, rate=rate)


def test_there_is_no_rate_before_the_second_batch_is_over() -> None:
    first, second = batch(0, 32, 100.0), batch(32, 32, 110.0)

    assert pace_of(*first).rate is None
    assert pace_of(*first, *second[:1]).rate is None
    assert pace_of(*first, *second).rate is None


def test_the_rate_is_that_of_whole_batches_after_the_first() -> None:
    pace = pace_of(*batch(0, 32, 1000.0), *batch(32, 32, 1010.0), *batch(64, 32, 1020.0)[:1])

    assert pace.rate == pytest.approx(3.2, rel=0.01)


def test_answers_one_by_one_are_batches_of_one() -> None:
    pace = pace_of((1, 1000.0), *((1 + number, 1000.0 + 2 * number) for number in range(1, 6)))

    assert pace.rate == pytest.approx(0.5)


def test_answers_without_a_pause_have_a_rate_after_two_stretches() -> None:
    stream = [(number, number / 10) for number in range(1, 104)]

    assert pace_of(*stream[:52]).rate is None
    assert pace_of(*stream).rate == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("evaluation", "expected"),
    [
        pytest.param(running(done=0), "a|b|0: 0/1319 documents", id="nothing-yet"),
        pytest.param(running(done=120, rate=4.0), "a|b|0: 120/1319 documents, 4/s, 5:00 left", id="minutes"),
        pytest.param(running(done=4, rate=0.01), "a|b|0: 4/1319 documents, 0.01/s, 36:31:40 left", id="hours"),
        pytest.param(running(done=1319, rate=22.03), "a|b|0: 1319/1319 documents, 22/s, 0:00 left", id="done"),
        pytest.param(running(done=5, total=20, documents=10), "a|b|0: 5/20 requests", id="two requests a document"),
    ],
)
def test_the_line_of_one_evaluation(evaluation: Running, expected: str) -> None:
    assert running_text(evaluation) == expected
    assert running_text(evaluation, position="[3/62] ") == f"[3/62] {expected}"


def test_the_line_of_several_workers_adds_them_up() -> None:
    pace = SessionPace()
    pace.update("gw0", running("a|b|0", done=100, total=200, rate=4.0))
    pace.update("gw1", running("a|c|0", done=20, total=100, rate=2.0))

    # 180 requests of these two, and 8 items of 150 each
    assert pace.text(items_done=2, items=12) == "2/12 items, 2 running: 120/300 documents, 6/s, about 3:50 left"


def test_there_is_no_estimate_while_one_worker_has_no_rate() -> None:
    pace = SessionPace()
    pace.update("gw0", running("a|b|0", done=100, total=200, rate=4.0))
    pace.update("gw1", running("a|c|0", done=0, total=100, documents=50))

    assert pace.text(items_done=0, items=2) == "0/2 items, 2 running: 100/300 requests"


def test_what_takes_long_is_told_until_the_first_answer() -> None:
    pace = SessionPace()
    pace.doing |= {"gw0": "m: loading the model", "gw1": "m: loading the model"}

    assert pace.text(items_done=0, items=2) == "0/2 items, m: loading the model (2 workers)"
    pace.update("gw0", running(done=1, total=2))
    pace.end("gw1")
    assert pace.text(items_done=0, items=2) == "0/2 items, 1 running: 1/2 documents"
    pace.end("gw0")
    assert pace.text(items_done=2, items=2) == "2/2 items"
