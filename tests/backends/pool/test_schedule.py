"""Which member gets which chunk, without any process."""

from __future__ import annotations

import pytest

from pytest_lighteval.backends.pool.schedule import Job, Member, Schedule
from pytest_lighteval.types import LoglikelihoodRequest, LoglikelihoodResponse

REQUESTS = tuple(LoglikelihoodRequest(prompt=f"{number}", choices=(" a",)) for number in range(3))


def a_schedule(members: int = 2, *, chunks: int = 0, most_deaths: int = 5) -> Schedule:
    schedule = Schedule(members, most_deaths=most_deaths)
    for member in schedule.members:
        member.is_ready = True
    for number in range(chunks):
        schedule.add(Job(number=number, requests=REQUESTS))
    return schedule


def sent(schedule: Schedule) -> list[tuple[int, int]]:
    """Members and the chunks that they are sent now."""
    return [(member.number, job.number) for member, job in schedule.sendable()]


def finish(schedule: Schedule, member: Member) -> Job | None:
    job = member.jobs[0]
    for position in range(len(job.asked)):
        schedule.answered(member, position)
    return schedule.done(member)


def lose(schedule: Schedule, member: Member) -> object:
    loss = schedule.lost(member, "it died")
    member.is_ready = True
    return loss


def test_every_member_has_a_chunk_before_one_has_two() -> None:
    assert sent(a_schedule(3, chunks=10)) == [(0, 0), (1, 1), (2, 2), (0, 3), (1, 4), (2, 5)]


def test_the_last_chunks_wait_for_whoever_is_free_first() -> None:
    schedule = a_schedule(2, chunks=3)

    assert sent(schedule) == [(0, 0), (1, 1)]
    finish(schedule, schedule.members[1])
    assert sent(schedule) == [(1, 2)]


def test_what_is_asked_ahead_comes_last_and_in_a_hurry_before() -> None:
    schedule = a_schedule(1)
    ahead = [Job(number=number, requests=REQUESTS) for number in (10, 11, 12, 13)]
    for job in ahead:
        schedule.add(job, ahead=True)
    schedule.add(Job(number=0, requests=REQUESTS))
    schedule.hurry(ahead[2])

    order = []
    while (found := sent(schedule)) or schedule.members[0].jobs:
        order += [number for _, number in found]
        finish(schedule, schedule.members[0])

    assert order == [0, 12, 10, 11, 13]


def test_what_is_cancelled_is_not_sent() -> None:
    schedule = a_schedule(1)
    job = Job(number=0, requests=REQUESTS)
    schedule.add(job)
    schedule.cancel(job)

    assert sent(schedule) == []


def test_the_chunks_of_a_lost_member_go_first_and_only_the_one_it_computed_counts_the_death() -> None:
    schedule = a_schedule(1, chunks=4)
    sent(schedule)
    member = schedule.members[0]
    first, second = member.jobs

    lose(schedule, member)

    assert (first.deaths, second.deaths) == (1, 0)
    assert sent(schedule) == [(0, 0), (0, 1)]


def test_after_its_second_death_a_chunk_is_asked_document_by_document_by_one_member() -> None:
    schedule = a_schedule(2, chunks=1)
    member = schedule.members[0]
    sent(schedule)
    schedule.answered(member, 1)
    lose(schedule, member)
    sent(schedule)
    lose(schedule, schedule.members[0])

    ((aside, part),) = list(schedule.sendable())
    assert part.asked == REQUESTS[:1]
    assert sent(schedule) == []  # the other member is kept out of it
    assert schedule.answered(aside, 0) == (part.chunk, 0)
    assert schedule.done(aside) is None
    ((aside, part),) = list(schedule.sendable())
    assert part.asked == REQUESTS[2:]  # the one in the middle is answered
    schedule.answered(aside, 0)
    assert schedule.done(aside) is part.chunk


def test_a_document_that_ends_two_members_alone_is_an_error_of_its_own() -> None:
    schedule = a_schedule(1, chunks=1)
    member = schedule.members[0]
    for _ in range(3):
        sent(schedule)
        lose(schedule, member)

    sent(schedule)
    loss = schedule.lost(member, "it died")

    ((chunk, position, response),) = loss.answers
    assert (chunk.number, position) == (0, 0)
    assert response == LoglikelihoodResponse(error="it ended two engines that were asked it alone: it died")
    assert loss.finished == ()
    member.is_ready = True
    sent(schedule)
    assert member.jobs[0].asked == REQUESTS[1:2]


@pytest.mark.parametrize("answers", [True, False])
def test_deaths_in_a_row_without_an_answer_are_bounded(answers: bool) -> None:
    schedule = a_schedule(1, chunks=20, most_deaths=3)
    member = schedule.members[0]
    again = []
    for _ in range(4):
        sent(schedule)
        if answers:
            schedule.answered(member, 0)
        again.append(schedule.lost(member, "it died").starts_again)
        member.is_ready = not member.is_gone

    assert again[:3] == [True, True, answers]
    assert schedule.is_lost is not answers
