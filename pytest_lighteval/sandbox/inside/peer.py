"""Two processes that ask each other: one holds the objects that a model's code made, the other one the tests."""

from __future__ import annotations

import builtins
import json
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

from pytest_lighteval.sandbox.inside.codec import decode, encode

MOST_BYTES = 16 * 2**20
"""Of one message."""
_HEAD = struct.Struct("!I")


class GoneError(BaseException):
    """The other process ended, or sent what is no message. No `except Exception` of a test can take it for something else."""


class Channel:
    """Messages over a socket: JSON, after its length."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection

    def send(self, message: Any) -> None:
        """Raises GoneError, ValueError for a message that is too long."""
        data = json.dumps(message).encode()
        if len(data) > MOST_BYTES:
            raise ValueError(f"a message of {len(data)} bytes, where {MOST_BYTES} may be sent")
        try:
            self.connection.sendall(_HEAD.pack(len(data)) + data)
        except OSError as error:
            raise GoneError(str(error)) from None

    def receive(self, *, until: float | None = None) -> Any:
        """The next message. Raises GoneError, also if it is not whole by then (`time.monotonic`)."""
        (size,) = _HEAD.unpack(self._read(_HEAD.size, until))
        if size > MOST_BYTES:
            raise GoneError("a message that is too long")
        try:
            return json.loads(self._read(size, until))
        except (ValueError, RecursionError) as error:
            raise GoneError(f"no message: {type(error).__name__}") from None

    def _read(self, size: int, until: float | None) -> bytes:
        data = bytearray()
        while len(data) < size:
            try:
                if until is not None:
                    # a message may come byte by byte
                    if (left := until - time.monotonic()) <= 0:
                        raise GoneError("a message that does not end")
                    self.connection.settimeout(left)
                piece = self.connection.recv(min(size - len(data), 2**20))
            except OSError as error:
                raise GoneError(str(error)) from None
            if not piece:
                raise GoneError("the other process ended")
            data += piece
        return bytes(data)


class Peer:
    """One of two processes that talk. Each keeps the objects that it could not send.

    Args:
        channel: To the other one.
        serves: What the other one may ask of kept objects. The examiner only lets its own functions be called: whatever else it gave
            away would lead a candidate to the tests.
    """

    def __init__(self, channel: Channel, *, serves: frozenset[str]) -> None:
        self._channel = channel
        self._serves = serves
        self._kept: list[Any] = []
        self._names: dict[int, int] = {}
        self.is_gone = False

    def ask(self, what: str, of: int, *values: Any) -> Any:
        """What the other process answers. Meanwhile it may ask back. Raises GoneError, and what the other one raised."""
        try:
            self._channel.send({"ask": what, "of": of, "values": [self._encode(value) for value in values]})
            while True:
                message = self._channel.receive()
                if "ask" not in message:
                    break
                self.answer(message)
        except GoneError:
            self.is_gone = True
            raise
        if "raised" in message:
            raise _error(*message["raised"])
        try:
            return self._decode(message["value"])
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            self.is_gone = True
            raise GoneError(f"no value: {type(error).__name__}") from None

    def answer(self, message: Any) -> None:
        """Do what the other process asks, and send the result."""
        try:
            values = [self._decode(value) for value in message["values"]]
            if message["ask"] not in self._serves:
                raise TypeError(f"{message['ask']}: is not served")
            reply = {"value": self._encode(_OPERATIONS[message["ask"]](self._kept[message["of"]], *values))}
            self._channel.send(reply)
        except GoneError:
            raise
        except BaseException as error:  # whatever the code raises is its answer
            self._channel.send({"raised": described(error)})

    def keep(self, value: Any) -> int:
        """A number for an object, the same one for the same object."""
        number = self._names.get(id(value))
        if number is None:
            number = self._names[id(value)] = len(self._kept)
            self._kept.append(value)
        return number

    def _encode(self, value: Any) -> Any:
        return encode(value, self._reference)

    def _reference(self, value: Any) -> list[Any]:
        if isinstance(value, Remote) and object.__getattribute__(value, "_peer") is self:
            return ["yours", object.__getattribute__(value, "_number")]
        return ["mine", self.keep(value), callable(value)]

    def _decode(self, plain: Any) -> Any:
        return decode(plain, self._find)

    def _find(self, parts: list[Any]) -> Any:
        if parts[0] == "yours":
            return self._kept[parts[1]]
        return Remote(self, int(parts[1]))


class Remote:
    """An object of the other process. It is equal to nothing but itself, whatever its class says: that would be its own verdict."""

    def __init__(self, peer: Peer, number: int) -> None:
        object.__setattr__(self, "_peer", peer)
        object.__setattr__(self, "_number", number)

    def __call__(self, *values: Any, **named: Any) -> Any:
        """What the function returns, of copies of these values."""
        return _asked(self, "call", list(values), named)

    def __getattr__(self, name: str) -> Any:
        return _asked(self, "get", name)

    def __setattr__(self, name: str, value: Any) -> None:
        _asked(self, "set", name, value)

    def __getitem__(self, key: Any) -> Any:
        return _asked(self, "item", key)

    def __contains__(self, member: Any) -> bool:
        return bool(_asked(self, "has", member))

    def __len__(self) -> int:
        return int(_asked(self, "len"))

    def __bool__(self) -> bool:
        return bool(_asked(self, "bool"))

    def __str__(self) -> str:
        return str(_asked(self, "str"))

    def __iter__(self) -> Iterator[Any]:
        iterator = _asked(self, "iter")
        while True:
            ended, value = _asked(iterator, "next")
            if ended:
                return
            yield value

    def __next__(self) -> Any:
        ended, value = _asked(self, "next")
        if ended:
            raise StopIteration
        return value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Remote) and object.__getattribute__(self, "_number") == object.__getattribute__(other, "_number")

    def __hash__(self) -> int:
        return int(object.__getattribute__(self, "_number"))


def _asked(remote: Remote, what: str, *values: Any) -> Any:
    peer: Peer = object.__getattribute__(remote, "_peer")
    return peer.ask(what, object.__getattribute__(remote, "_number"), *values)


def _next(iterator: Any) -> tuple[bool, Any]:
    try:
        return False, next(iterator)
    except StopIteration:
        return True, None


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "call": lambda function, values, named: function(*values, **named),
    "get": getattr,
    "set": setattr,
    "item": lambda value, key: value[key],
    "has": lambda value, member: member in value,
    "len": len,
    "bool": bool,
    "str": str,
    "iter": iter,
    "next": _next,
    "names": lambda names, wanted: {name: names[name] for name in wanted if name in names},
}
ALL_OPERATIONS = frozenset(_OPERATIONS)


class CandidateError(Exception):
    """An error of the model's code whose class is not one of Python's own."""


def described(error: BaseException) -> list[str]:
    """An error's class and its text, which may raise errors itself."""
    try:
        text = str(error)
    except BaseException:  # the class is the model's
        text = ""
    return [type(error).__name__, text[:300]]


def _error(name: str, text: str) -> BaseException:
    kind = getattr(builtins, str(name), None)
    # a StopIteration would end the loop of a test in silence, with all that it had still to try
    others = (UnicodeDecodeError, UnicodeEncodeError, StopIteration, StopAsyncIteration)
    if isinstance(kind, type) and issubclass(kind, Exception) and kind not in others:
        return kind(text)
    return CandidateError(f"{name}: {text}")
