"""Members in the processes that a launcher started: the first process has the pool, each of the others runs its engine in a child.

A launcher ends all processes when one fails. So an engine never runs in such a process itself: its child may die, and is started again.
The first process listens. Each other one holds a connection to it, by which it is told what to start and to end; the children connect
too, and answer chunks.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, answer_challenge, deliver_challenge

from pytest_lighteval.backends.pool.launcher import Launched, MeetingPoint, Store
from pytest_lighteval.backends.pool.local import Link, LocalPlace, MemberProcess, Place
from pytest_lighteval.backends.pool.member import KEY_VARIABLE
from pytest_lighteval.errors import BackendError

_SECONDS_FOR_A_REASON = 3.0
_TICK = 0.2


class Ranks:
    """The first process's side: it listens for the others and for their engines, until it is closed."""

    def __init__(self, process: Launched, devices: Sequence[str] = (), *, publish: Callable[[int], MeetingPoint] | None = None) -> None:
        """`devices` are the GPUs of the first process's own engine. `publish` says where it listens. None: in the launcher's store."""
        self._process, self._devices = process, devices
        self._lock = threading.Lock()
        self._agents: dict[int, Connection] = {}
        self._gone: set[int] = set()
        self._waiting: dict[int, list[tuple[str, str]]] = {}
        """For processes that are not there yet: what they will be told."""
        self._members: dict[str, Connection] = {}
        self._reasons: dict[str, str] = {}
        self._is_closed = False
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        with contextlib.suppress(OSError):  # a name that this machine has no interface for: behind a gateway
            self._socket.bind((process.address, 0))
        self._socket.listen(process.world * 2)
        port = self._socket.getsockname()[1]
        self._store = None if publish is not None else Store(process)
        self._point = publish(port) if publish is not None else self._store.publish(port)  # type: ignore[union-attr]  # one of both
        threading.Thread(target=self._accept, name="lighteval-ranks", daemon=True).start()

    @property
    def places(self) -> list[Place]:
        """Where members run: the first process's own child, and one for each other process."""
        own = LocalPlace(0, self._devices, name="rank")
        return [own, *(RankPlace(self, rank) for rank in range(1, self._process.world))]

    def tell(self, rank: int, what: str, token: str) -> None:
        """Tell a process something, once it is there. Raises BackendError if it is gone."""
        with self._lock:
            if rank in self._gone:
                raise BackendError(f"rank {rank} is gone")
            agent = self._agents.get(rank)
            if agent is None:
                self._waiting.setdefault(rank, []).append((what, token))
                return
        with contextlib.suppress(OSError):
            agent.send((what, token))

    def member(self, token: str) -> Connection | None:
        """The connection of a member. None: it is not there yet."""
        with self._lock:
            return self._members.get(token)

    def reason(self, token: str) -> str:
        """Why a member ended, as its process says."""
        deadline = time.monotonic() + _SECONDS_FOR_A_REASON
        while time.monotonic() < deadline:
            with self._lock:
                if token in self._reasons:
                    return self._reasons[token]
            time.sleep(_TICK / 4)
        return "the connection to it broke"

    def close(self) -> None:
        """Let all other processes end with 0. May be called twice."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            agents = list(self._agents.values())
        self._socket.close()
        for agent in agents:
            with contextlib.suppress(OSError):
                agent.send(("finish", ""))

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._greet, args=(accepted,), daemon=True).start()

    def _greet(self, accepted: socket.socket) -> None:
        """Find out who it is; whoever does not know the key is sent away."""
        accepted.settimeout(None)
        connection = Connection(accepted.detach())
        try:
            deliver_challenge(connection, self._point.key)
            answer_challenge(connection, self._point.key)
            who = connection.recv()
        except (AuthenticationError, EOFError, OSError):
            connection.close()
            return
        if isinstance(who, str):
            with self._lock:
                self._members[who] = connection
        else:
            self._listen_to(int(who), connection)

    def _listen_to(self, rank: int, agent: Connection) -> None:
        with self._lock:
            if self._is_closed:
                with contextlib.suppress(OSError):
                    agent.send(("finish", ""))
                return
            self._agents[rank] = agent
            waiting = self._waiting.pop(rank, [])
        try:
            for told in waiting:
                agent.send(told)
            while True:
                token, reason = agent.recv()
                with self._lock:
                    self._reasons[token] = reason
        except (EOFError, OSError):
            with self._lock:
                self._gone.add(rank)


class RankPlace:
    """A member in the child of another process."""

    def __init__(self, ranks: Ranks, rank: int) -> None:
        self._ranks, self._rank = ranks, rank
        self.name = f"rank {rank}"

    def start(self) -> Link:
        """See `Place.start`. Raises BackendError if the process is gone."""
        link = _RankLink(self._ranks, self._rank, secrets.token_hex(8))
        self._ranks.tell(self._rank, "start", link.token)
        return link


class _RankLink:
    missing = "its process has not called"
    is_hopeless = True  # as for a member on this machine

    def __init__(self, ranks: Ranks, rank: int, token: str) -> None:
        self._ranks, self._rank, self.token = ranks, rank, token

    @property
    def connection(self) -> Connection | None:
        return self._ranks.member(self.token)

    def reason(self) -> str:
        return self._ranks.reason(self.token)

    def end(self, *, kill: bool) -> None:
        with contextlib.suppress(BackendError):
            self._ranks.tell(self._rank, "kill" if kill else "end", self.token)
        if kill and self.connection is not None:
            self.connection.close()


def run_rank(point: MeetingPoint, rank: int, devices: Sequence[str]) -> None:
    """Another process's side: start engines in children as the first process says, until it has finished or is gone."""
    try:
        control = Client((point.address, point.port), authkey=point.key)
    except (OSError, EOFError):
        return  # it has finished already
    control.send(rank)
    children: dict[str, MemberProcess] = {}
    environment = {KEY_VARIABLE: point.key.hex(), **({"CUDA_VISIBLE_DEVICES": ",".join(devices)} if devices else {})}
    try:
        while True:
            if control.poll(_TICK):
                what, token = control.recv()
                if what == "finish":
                    return
                if what == "start":
                    arguments = ["--address", f"{point.address}:{point.port}", "--token", token]
                    children[token] = MemberProcess(arguments, environment)
                elif what == "kill" and token in children:
                    children.pop(token).end(kill=True)
            for token, child in list(children.items()):
                if child.process.poll() is not None:
                    control.send((token, child.reason()))
                    children.pop(token).end(kill=True)
    except (EOFError, OSError):
        return  # the first process is gone: the launcher knows
    finally:
        for child in children.values():
            child.end(kill=True)
