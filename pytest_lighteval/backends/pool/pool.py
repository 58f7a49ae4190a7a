"""The thread that talks with the members: it sends chunks, passes answers on, notices what is dead or stuck, and starts it again.

All of its state belongs to that thread. The caller sends it commands and reads what comes out of a queue.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from pytest_lighteval.backends.pool.local import Link, Place
from pytest_lighteval.backends.pool.messages import Answer, Ask, Done, Failed, FromMember, Ready, Refused, Setup, ToMember
from pytest_lighteval.backends.pool.schedule import Job, Loss, Member, Schedule
from pytest_lighteval.errors import BackendError, BackendLostError, UnsupportedRequestError
from pytest_lighteval.types import Response

_TICK = 0.5
"""Seconds between two looks at the clock."""
_ASLEEP = 10.0
"""Seconds by which a look may be late before the time in between counts for nothing: somebody stopped the session for a while."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long a member may be silent, and how often it may die. Times in seconds."""

    beat: float = 5.0
    """Between two signs of life."""
    silent: float = 120.0
    """Without any sign: the process is stopped, or holds the interpreter."""
    stuck: float = 900.0
    """Without an answer, while the computing thread stays in one call."""
    arrival: float = 600.0
    """Until the process of a place that is not on this machine is there."""
    deaths: int = 5
    """In a row, without an answer between."""
    least: int = 1
    """Members that there must be room for: with fewer, the session ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A response of a chunk, or the end of it."""

    job: Job
    position: int | None = None
    """None: the chunk is done."""
    response: Response | None = None
    error: BackendError | None = None
    """The chunk has no answer. None: it has."""


@dataclass(slots=True, kw_only=True)
class MemberFacts:
    """What the report says of a member."""

    name: str
    ready: Ready | None = None
    differs: float | None = None
    """From the first, at most, in the log-likelihoods that all answer when they are loaded. None: nobody asked, or its backend has none."""
    described: Mapping[str, Any] = field(default_factory=dict)
    used: dict[str, Any] = field(default_factory=dict)
    """What its earlier engines used."""
    chunks: int = 0
    answers: int = 0
    seconds: float = 0.0
    deaths: int = 0


@dataclass(slots=True, kw_only=True, eq=False)
class _Running:
    """A member's process."""

    link: Link
    heard: float
    """When it last gave a sign of life."""
    moved: float
    """When it last moved, or answered."""
    has_spoken: bool = False
    sender: _Sender | None = None
    """What it is told goes through it. None: it is not there yet."""


class _Sender:
    """Sends to one member in a thread of its own: a process that is stopped reads nothing, and a chunk is more than a connection holds."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._outbox: queue.SimpleQueue[ToMember | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="lighteval-send", daemon=True).start()

    def send(self, message: ToMember | None) -> None:
        """Send it after those before it. None: nothing more will follow."""
        self._outbox.put(message)

    def _run(self) -> None:
        # a broken connection is noticed when it is read; a TypeError is what a connection raises that is closed meanwhile
        with contextlib.suppress(OSError, TypeError):
            while (message := self._outbox.get()) is not None:
                self._connection.send(message)


class Pool:
    """Members that answer chunks. They are started with the first chunk, all at once."""

    def __init__(
        self,
        places: Sequence[Place],
        setup: Setup,
        limits: Limits | None = None,
        *,
        docs_of: Callable[[Job], tuple[Any, ...] | None] = lambda job: None,
        hardware: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`hardware`: the class that members must have. None: that of the first."""
        self._places, self._setup, self._limits = places, setup, limits or Limits()
        self._docs_of, self._hardware, self._clock = docs_of, hardware, clock
        self._schedule = Schedule(len(places), most_deaths=self._limits.deaths)
        self._running: dict[int, _Running] = {}
        self.facts = [MemberFacts(name=place.name) for place in places]
        self.notes: list[str] = []
        """What people should know of the members."""
        self.out: queue.SimpleQueue[Answered | BackendError] = queue.SimpleQueue()
        """Answers; an error ends the pool."""
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._woken, self._wake = os.pipe()
        self._thread: threading.Thread | None = None
        self._is_over = False
        self._first: Ready | None = None
        self._why_not: str | None = None
        """Why the first engine could not be made."""
        self._broken: BackendError | None = None
        self._looked = 0.0
        """When the clock was last looked at."""

    @property
    def is_hungry(self) -> bool:
        """Whether members will soon have nothing to do."""
        return self._schedule.waiting < len(self._places)

    def add(self, job: Job, *, ahead: bool = False) -> None:
        """Ask a chunk; `ahead`: nobody waits for it yet."""
        self._do(lambda: self._schedule.add(job, ahead=ahead))

    def hurry(self, job: Job) -> None:
        """Somebody waits for it now."""
        self._do(lambda: self._schedule.hurry(job))

    def cancel(self, job: Job) -> None:
        """Nobody waits for it any more."""
        self._do(lambda: self._schedule.cancel(job))

    def close(self) -> None:
        """End all members: those that compute at once, the others after they have closed their engines. May be called twice."""
        if self._thread is not None:
            self._do(self._stop)
            self._thread.join()
            self._thread = None
        if self._woken >= 0:
            os.close(self._woken)
            os.close(self._wake)
            self._woken = self._wake = -1

    def _do(self, command: Callable[[], None]) -> None:
        if self._wake < 0:
            return
        if self._broken is not None:
            self.out.put(self._broken)
            return
        self._commands.put(command)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="lighteval-pool", daemon=True)
            self._thread.start()
        os.write(self._wake, b"!")

    # -------------------------------------------------------------------------------------------- in the thread

    def _run(self) -> None:
        self._looked = self._clock()
        try:
            for member in self._schedule.members:
                self._start(member)
            while not self._is_over:
                self._turn()
        except BaseException as error:  # the caller waits
            self._fail(error if isinstance(error, BackendError) else BackendLostError(f"the pool failed: {type(error).__name__}: {error}"))
        finally:
            self._end_all()

    def _turn(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._commands.get_nowait()()
        if self._is_over:
            return
        for running in self._running.values():
            if running.sender is None and running.link.connection is not None:
                _limit_reading(running.link.connection, self._limits.silent)
                running.sender, running.heard = _Sender(running.link.connection), self._clock()
                running.sender.send(self._setup)
        for member, job in self._schedule.sendable():
            ask = Ask(number=job.number, requests=job.asked, docs=self._docs_of(job), repeat=job.repeat)
            running = self._running[member.number]
            if len(member.jobs) == 1:
                running.moved = self._clock()
            assert running.sender is not None  # it is ready
            running.sender.send(ask)
        connections = {running.link.connection: number for number, running in self._running.items() if running.link.connection is not None}
        for ready in wait([*connections, self._woken], timeout=_TICK):
            if ready == self._woken:
                os.read(self._woken, 4096)
            else:
                self._read(self._schedule.members[connections[ready]])  # type: ignore[index]  # it is one of them
        self._look_at_clock()

    def _start(self, member: Member) -> None:
        now = self._clock()
        try:
            link = self._places[member.number].start()
        except BackendError as error:
            self._note(f"{self._places[member.number].name} cannot be started: {error}")
            self._schedule.give_up(member)
            self._check_lost()
            return
        self._running[member.number] = _Running(link=link, heard=now, moved=now)

    def _end(self, running: _Running, *, kill: bool) -> None:
        running.link.end(kill=kill)
        if running.sender is not None:
            running.sender.send(None)

    def _read(self, member: Member) -> None:
        """All that a member has sent."""
        running = self._running[member.number]
        connection = running.link.connection
        assert connection is not None
        while self._running.get(member.number) is running:
            try:
                message: FromMember = connection.recv()
            except (EOFError, OSError):
                if running.has_spoken or not running.link.is_hopeless:
                    self._lose(member, running.link.reason())
                else:
                    self._fail_member(member, Failed(reason=running.link.reason()))
                return
            self._take(member, running, message)
            if self._running.get(member.number) is not running or not connection.poll():
                return

    def _take(self, member: Member, running: _Running, message: FromMember) -> None:
        running.heard = now = self._clock()
        running.has_spoken = True
        facts = self.facts[member.number]
        if isinstance(message, Answer):
            running.moved = now
            facts.answers += 1
            if (answered := self._schedule.answered(member, message.position)) is not None:
                job, position = answered
                self.out.put(Answered(job=job, position=position, response=message.response))
        elif isinstance(message, Done):
            facts.chunks += 1
            facts.seconds += message.seconds
            if _memory(message.described) != _memory(facts.described):
                self._note(f"memory ran out in {member.jobs[0].chunk}: it ran in smaller batches, which may move last digits")
            facts.described = message.described
            self._finish(self._schedule.done(member))
        elif isinstance(message, Refused):
            job = member.jobs[0]
            self._schedule.done(member)
            self.out.put(Answered(job=job, error=UnsupportedRequestError(message.reason)))
        elif isinstance(message, Ready):
            self._welcome(member, message)
        elif isinstance(message, Failed):
            self._fail_member(member, message)
        elif message.moved:
            running.moved = now

    def _welcome(self, member: Member, ready: Ready) -> None:
        name = self._places[member.number].name
        if self._hardware is not None and ready.identity["hardware"] != self._hardware:
            self._why_not = note = f"{name} is refused: its hardware is {ready.identity['hardware']!r}, not {self._hardware!r} as here"
            self._dismiss(member, note)
            return
        first = self._first
        if first is None:
            self._first = first = ready
        for what, value in ready.identity.items():
            if value != first.identity[what]:
                self._dismiss(member, f"{name} is refused: its {what} is {value!r}, that of the first is {first.identity[what]!r}")
                return
        facts = self.facts[member.number]
        if first.probe is not None and ready.probe is not None:
            facts.differs = max(abs(one - other) for one, other in zip(first.probe, ready.probe, strict=True))
        if facts.differs:
            self._note(f"{name} differs from the first by up to {facts.differs:.2g} in a log-likelihood: scores depend on who answers")
        facts.ready, facts.described = ready, ready.described
        member.is_ready = True

    def _fail_member(self, member: Member, failed: Failed) -> None:
        # an engine that was there before may lack the memory that its predecessor has not given back yet
        if failed.number is not None or self.facts[member.number].ready is not None:
            self._lose(member, failed.reason)
            return
        self._why_not = self._why_not or failed.reason
        self._dismiss(member, f"{self._places[member.number].name} did not start: {failed.reason}")

    def _miss(self, member: Member, running: _Running) -> None:
        """A member has not come in time. Raises BackendLostError if too few are left."""
        note = f"{self._places[member.number].name} did not come within {self._limits.arrival:g} seconds: {running.link.missing}"
        self._why_not = self._why_not or note
        self._dismiss(member, note)
        left = sum(not other.is_gone for other in self._schedule.members)
        if left < self._limits.least:
            raise BackendLostError(f"{left} of {len(self._places)} engines are left, and {self._limits.least} must be there: {note}")

    def _dismiss(self, member: Member, note: str) -> None:
        self._note(note)
        self._schedule.give_up(member)
        self._end(self._running.pop(member.number), kill=True)
        self._check_lost()

    def _lose(self, member: Member, reason: str) -> None:
        name = self._places[member.number].name
        self._end(self._running.pop(member.number), kill=True)
        facts = self.facts[member.number]
        facts.deaths += 1
        facts.used = add_use(facts.used, facts.described.get("use", {}))
        facts.described = {**facts.described, "use": {}}
        was_computing = member.jobs[0] if member.jobs else None
        loss: Loss = self._schedule.lost(member, reason)
        what = f" in {was_computing.chunk}" if was_computing is not None else ""
        self._note(f"{name} ended{what} ({reason})" + (", and was started again" if loss.starts_again else ", and is not started again"))
        for job, position, response in loss.answers:
            self.out.put(Answered(job=job, position=position, response=response))
        for job in loss.divided:
            self._note(f"{job} ended two engines: its documents were asked one by one, which may move last digits")
        for job in loss.finished:
            self._finish(job)
        if self._first is None and facts.ready is None:
            self._why_not = self._why_not or reason
        if loss.starts_again:
            self._start(member)
        self._check_lost()

    def _check_lost(self) -> None:
        if not self._schedule.is_lost:
            return
        if self._first is None:
            raise BackendLostError(self._why_not or "no engine could be started")
        raise BackendLostError(f"no engine is left of {len(self._places)}: {self.notes[-1]}")

    def _finish(self, job: Job | None) -> None:
        if job is not None:
            self.out.put(Answered(job=job))

    def _look_at_clock(self) -> None:
        now, limits = self._clock(), self._limits
        if (asleep := now - self._looked - _TICK) > _ASLEEP:  # this process was stopped, not the members
            for running in self._running.values():
                running.heard += asleep
                running.moved += asleep
        self._looked = now
        for number, running in list(self._running.items()):
            member = self._schedule.members[number]
            if running.link.connection is None:
                if now - running.heard > limits.arrival:
                    self._miss(member, running)
            elif now - running.heard > limits.silent:
                self._lose(member, f"no sign of life for {limits.silent:g} seconds")
            elif now - running.moved > limits.stuck and (member.jobs or not member.is_ready):
                self._lose(member, f"no answer for {limits.stuck:g} seconds, while it was in one call")

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def _fail(self, error: BackendError) -> None:
        self._broken = error
        self.out.put(error)

    def _stop(self) -> None:
        self._is_over = True

    def _end_all(self) -> None:
        idle = []
        for number, running in self._running.items():
            member = self._schedule.members[number]
            if member.is_ready and not member.jobs and running.sender is not None:
                running.sender.send("end")
                idle.append(running)
            else:
                self._end(running, kill=True)
        for running in idle:
            self._end(running, kill=False)
        self._running.clear()


def _limit_reading(connection: Connection, seconds: float) -> None:
    """Let reading fail if a message that has begun does not end in time: its process was stopped, or its machine is gone."""
    with socket.socket(fileno=os.dup(connection.fileno())) as its_socket:
        its_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", int(seconds), int(seconds % 1 * 1e6)))


def _memory(described: Mapping[str, Any]) -> dict[str, Any]:
    """How far memory made batches shrink."""
    return {name: figure for name, figure in described.get("use", {}).items() if name.startswith("out_of_memory_")}


def add_use(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """What two engines used together: sums of counts, the higher peak, the lower of what memory allowed."""
    together = dict(one)
    for name, figure in other.items():
        before = together.get(name)
        if not isinstance(before, int | float) or not isinstance(figure, int | float):
            together[name] = before if figure is None else figure
        elif name.startswith("out_of_memory_"):
            together[name] = min(before, figure)
        else:
            together[name] = max(before, figure) if name.startswith("peak_") else before + figure
    return together
