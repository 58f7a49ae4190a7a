"""Which member gets which chunk, and what happens when one is lost. Plain values: no process, no clock, no connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from pytest_lighteval.types import (
    GenerateRequest,
    GenerateResponse,
    LoglikelihoodRequest,
    LoglikelihoodResponse,
    PerplexityResponse,
    Request,
    Response,
)

_AT_ONCE = 2
"""Chunks that a member has: the one that it computes and the next one, so that it never waits for the pool."""


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """A chunk on its way through the pool."""

    number: int
    requests: tuple[Request, ...]
    repeat: int = 0
    deaths: int = 0
    """Members that ended while they computed it."""
    positions: tuple[int, ...] | None = None
    """The part of it that is asked. None: all. A part is one document of a chunk that ended two members."""
    whole: Job | None = None
    """Of a part: the chunk."""
    answered: set[int] = field(default_factory=set)
    """Positions that are answered; shared by the parts of a chunk."""

    def __str__(self) -> str:
        """How messages call it."""
        return f"chunk {self.number + 1} of {len(self.requests)} requests"

    @property
    def asked(self) -> tuple[Request, ...]:
        """The requests that are sent."""
        return self.requests if self.positions is None else tuple(self.requests[position] for position in self.positions)

    @property
    def is_part(self) -> bool:
        """Whether it is a document alone."""
        return self.positions is not None

    @property
    def chunk(self) -> Job:
        """Itself, or the chunk that it is a part of."""
        return self.whole or self


@dataclass(slots=True, kw_only=True, eq=False)
class Member:
    """What the schedule knows of a member."""

    number: int
    is_ready: bool = False
    is_gone: bool = False
    """It is not started again."""
    is_aside: bool = False
    """It answers documents one by one, because a chunk ended two members."""
    deaths: int = 0
    """In a row, without an answer between."""
    jobs: deque[Job] = field(default_factory=deque)
    """What it was sent, the one that it computes first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What follows from the loss of a member."""

    answers: tuple[tuple[Job, int, Response], ...] = ()
    """Documents that ended the member when it was asked them alone."""
    finished: tuple[Job, ...] = ()
    divided: tuple[Job, ...] = ()
    """Chunks whose documents are now asked one by one."""
    starts_again: bool = False


class Schedule:
    """The chunks that wait, and the members."""

    def __init__(self, members: int, *, most_deaths: int) -> None:
        """`most_deaths`: in a row; after so many a member is not started again."""
        self.members = [Member(number=number) for number in range(members)]
        self._most_deaths = most_deaths
        self._waiting: deque[Job] = deque()
        self._ahead: deque[Job] = deque()
        """Asked before anybody waits for them."""
        self._alone: deque[Job] = deque()
        """Documents of divided chunks."""
        self._parts_left: dict[int, int] = {}

    @property
    def is_lost(self) -> bool:
        """Whether no member is left."""
        return all(member.is_gone for member in self.members)

    @property
    def waiting(self) -> int:
        """Chunks that no member has."""
        return len(self._waiting) + len(self._ahead)

    def add(self, job: Job, *, ahead: bool = False) -> None:
        """Take a chunk. `ahead`: after those that somebody waits for."""
        (self._ahead if ahead else self._waiting).append(job)

    def hurry(self, job: Job) -> None:
        """Somebody waits for a chunk that was asked ahead."""
        if job in self._ahead:
            self._ahead.remove(job)
            self._waiting.append(job)

    def cancel(self, job: Job) -> None:
        """Nobody wants it any more. A member that computes it goes on."""
        for jobs in (self._waiting, self._ahead):
            if job in jobs:
                jobs.remove(job)

    def sendable(self) -> Iterator[tuple[Member, Job]]:
        """The chunks that can be sent now, each to a member that is then taken to have it."""
        for member in self.members:
            if self._alone and member.is_ready and not member.jobs and not any(other.is_aside for other in self.members):
                member.is_aside = True
            if member.is_aside and not self._alone and not member.jobs:
                member.is_aside = False
        found = True
        while found:
            found = False
            # the idle ones first, so that no member gets two chunks while another one has none
            for member in sorted(self.members, key=lambda member: len(member.jobs)):
                job = self._next(member) if member.is_ready else None
                if job is not None:
                    member.jobs.append(job)
                    found = True
                    yield member, job
                    break

    def _next(self, member: Member) -> Job | None:
        if member.is_aside:
            return self._alone.popleft() if self._alone and not member.jobs else None
        if len(member.jobs) >= _AT_ONCE:
            return None
        if member.jobs and self.waiting < sum(other.is_ready for other in self.members):
            return None  # the last chunks go to whoever is free first
        queue = self._waiting or self._ahead
        return queue.popleft() if queue else None

    def answered(self, member: Member, position: int) -> tuple[Job, int] | None:
        """Note an answer to a member's first chunk: the chunk, and the position in it. None: it was answered before."""
        member.deaths = 0
        job = member.jobs[0]
        place = position if job.positions is None else job.positions[position]
        if place in job.answered:
            return None
        job.answered.add(place)
        return job.chunk, place

    def done(self, member: Member) -> Job | None:
        """Note that a member's first chunk is done. Returns the chunk if nothing of it is left to ask."""
        job = member.jobs.popleft()
        return job.chunk if self._is_finished(job) else None

    def _is_finished(self, job: Job) -> bool:
        if job.is_part:
            self._parts_left[job.number] -= 1
            return self._parts_left[job.number] == 0
        return True

    def lost(self, member: Member, reason: str) -> Loss:
        """A member's process has ended: what becomes of its chunks, and whether it is started again."""
        member.is_ready = member.is_aside = False
        member.deaths += 1
        jobs, member.jobs = list(member.jobs), deque()
        member.is_gone = member.is_gone or member.deaths >= self._most_deaths
        again = not member.is_gone
        if not jobs:
            return Loss(starts_again=again)
        first, rest = jobs[0], jobs[1:]
        self._waiting.extendleft(reversed(rest))
        first.deaths += 1
        if first.is_part:
            if first.deaths < 2:  # engines also end for other reasons, such as a machine that is taken away
                self._alone.appendleft(first)
                return Loss(starts_again=again)
            (place,) = first.positions or ()
            response = failure(first.requests[place], f"it ended two engines that were asked it alone: {reason}")
            answers = () if place in first.answered else ((first.chunk, place, response),)
            first.answered.add(place)
            return Loss(answers=answers, finished=(first.chunk,) if self._is_finished(first) else (), starts_again=again)
        if first.deaths < 2:
            self._waiting.appendleft(first)
            return Loss(starts_again=again)
        left = [position for position in range(len(first.requests)) if position not in first.answered]
        self._parts_left[first.number] = len(left)
        self._alone.extend(replace(first, positions=(position,), whole=first, deaths=0) for position in left)
        return Loss(divided=(first,), finished=() if left else (first,), starts_again=again)

    def give_up(self, member: Member) -> None:
        """Never start it again: its engine cannot be made, or it is not the same as the others'."""
        member.is_gone = True
        member.is_ready = False

    def unfinished(self) -> Sequence[Job]:
        """All chunks that are not done."""
        return [*self._waiting, *self._ahead, *self._alone, *(job for member in self.members for job in member.jobs)]


def failure(request: Request, reason: str) -> Response:
    """The response that says why there is none."""
    if isinstance(request, LoglikelihoodRequest):
        return LoglikelihoodResponse(error=reason)
    return GenerateResponse(error=reason) if isinstance(request, GenerateRequest) else PerplexityResponse(error=reason)
