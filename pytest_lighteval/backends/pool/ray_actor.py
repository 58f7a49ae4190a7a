"""A Ray actor with one engine, on a node of a cluster: it passes on what the pool and the engine say to each other.

Ray answers a call when it returns, but an engine answers while it computes. So what the engine says is one stream, for as long as it lives.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection

from pytest_lighteval.backends.pool.member import serve

_MOST = 2**16
"""Bytes that are passed on together: Ray sends less than 100 KiB without its object store."""
_TICK = 0.5


class EngineActor:
    """The engine runs in the actor's own process, so that both end together, and an engine may start Ray actors of its own."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self._connection, self._theirs = Connection(ours.detach()), theirs
        self._has_ended = threading.Event()
        self._lock = threading.Lock()
        self._early: dict[int, bytes] = {}
        """Messages that came before an earlier one. Ray does not promise an order to an actor with several threads."""
        self._next = 0

    def run(self) -> None:
        """Run the engine until the pool ends it. In a call, because Ray knows a placement group only in threads of its own."""
        try:
            serve(Connection(self._theirs.detach()))
        finally:
            self._has_ended.set()

    def tell(self, number: int, message: bytes) -> None:
        """Pass the message of this number, from 0 on, to the engine."""
        with self._lock:
            self._early[number] = message
            while self._next in self._early:
                self._connection.send_bytes(self._early.pop(self._next))
                self._next += 1

    def said(self) -> Iterator[list[bytes]]:
        """What the engine says until it ends, in order; several messages at a time if they come faster than they are taken."""
        yield []  # it is here
        while True:
            while not self._connection.poll(_TICK):
                if self._has_ended.is_set() and not self._connection.poll():
                    return
            messages = [self._connection.recv_bytes()]
            while sum(map(len, messages)) < _MOST and self._connection.poll():
                messages.append(self._connection.recv_bytes())
            yield messages
