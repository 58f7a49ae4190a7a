"""The optional members of a backend: who asks for each, when, and what its absence means. docs/backends.md has the same as a table.

`types.Backend` has the required ones. Two optional ones have their protocol elsewhere: `repeat` (`types.Repeatable`), since it is public,
and `learn` (`evaluate.LearnsAnswers`), since `evaluate` knows no backend.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import msgspec

from pytest_lighteval.types import Backend, Repeatable


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionDefaults:
    """What a backend's model arguments say about the whole session. The user's own options come first."""

    source: str = ""
    """The file that says it, for messages."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Model arguments, as `--model-args` could give them."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Options by name (`max-samples`), as the command line could give them."""
    notes: tuple[str, ...] = ()
    """Lines for the top of pytest's output."""
    processes: int = 1
    """How many processes of a launcher (torchrun) answer every request together."""


@runtime_checkable
class DefaultsFactory(Protocol):
    """A backend class whose model arguments may name a file of settings."""

    def session_defaults(self, written: Mapping[str, Any]) -> SessionDefaults:
        """What follows from `--model-args` as the user wrote them, before they are checked. Raises UserInputError."""


def session_defaults(factory: object, written: Mapping[str, Any]) -> SessionDefaults:
    """Asked of the class once, when the plugin reads its options. Absent: the model arguments say nothing about the session."""
    return factory.session_defaults(written) if isinstance(factory, DefaultsFactory) else SessionDefaults()


def computes_on_cpu(factory: object) -> bool:
    """Asked of the class at the start of a session with several workers, to warn of too many threads. Absent: it needs no cores."""
    return getattr(factory, "computes_on_cpu", False) is True


def gpus_of_engine(arguments: object) -> int | None:
    """Asked of the model arguments when `--replicas` is read: `gpus`, the number of GPUs that one engine takes.

    0: it needs none. None: as many as there are for it. Absent: 1.
    """
    gpus: int | None = getattr(arguments, "gpus", 1)
    return gpus


def own_replicas(arguments: msgspec.Struct) -> tuple[int, msgspec.Struct]:
    """Asked of the model arguments: how many engines they ask for, and the arguments of one of them.

    `alone()` returns both. Absent: one engine.
    """
    alone: Callable[[], tuple[int, msgspec.Struct]] | None = getattr(arguments, "alone", None)
    return (1, arguments) if alone is None else alone()


def over_nodes(arguments: msgspec.Struct) -> msgspec.Struct | None:
    """Asked of the model arguments where Ray gives an engine GPUs of several machines: the arguments with which it uses them.

    `over_nodes()` returns them. None, or absent: an engine cannot be on several machines.
    """
    method: Callable[[], msgspec.Struct] | None = getattr(arguments, "over_nodes", None)
    return None if method is None else method()


def is_cacheable(backend: object) -> bool:
    """Asked before the first task: whether the answers may be kept for later runs. Absent: they are not.

    `cacheable = True` is the promise that `fingerprint` changes whenever an answer may. Only the author of a backend can make it.
    """
    return getattr(backend, "cacheable", False) is True


def cached_apart(backend: object) -> list[tuple[str, Any]]:
    """Asked by the answer cache: names and values of the `arguments` that only change rounding, and so are no part of the fingerprint.

    The cache keeps answers apart by them. Absent: there are none.
    """
    arguments = getattr(backend, "arguments", None)
    return [(name, getattr(arguments, name)) for name in getattr(backend, "cached_apart", ())]


def hardware_of(backend: object) -> str | None:
    """Asked by the answer cache: `hardware`, the kind of hardware of engines on other machines. Absent: they are on this one."""
    hardware: str | None = getattr(backend, "hardware", None)
    return hardware


def batches_itself(backend: object) -> bool:
    """Asked of the backend before each task: whether the engine behind it decides what runs together, as a server does.

    `batches_itself = True`: it is asked all requests at once, and only those that the cache lacks. Absent: it is asked in chunks, and a
    chunk is asked whole (`backends.chunks`).
    """
    return getattr(backend, "batches_itself", False) is True


def repeated(backend: Backend, number: int) -> Backend:
    """The backend for a further run of `--gate-calibrate`; see `Repeatable`. Absent: the same backend answers again."""
    return backend.repeat(number) if isinstance(backend, Repeatable) else backend


def model_name(arguments: object) -> str | None:
    """Asked of the model arguments: `model`, a part of the name of the run's folder. Absent: the folder has the backend's name alone."""
    name = getattr(arguments, "model", None)
    return str(name) if name else None


def asks_in_chat_format(arguments: object) -> bool:
    """Asked of the model arguments: `use_chat_template`, another way to say `--use-chat-template`. Absent: the option alone decides."""
    return getattr(arguments, "use_chat_template", False) is True


def check(backend: object) -> None:
    """Asked once before the first task. Raises LightevalError for what no task can survive: a missing package, device or model.

    It may download or convert the model's files, which every task needs, and loads no model. Absent: each task finds out itself.
    """
    method = getattr(backend, "check", None)
    if callable(method):
        method()


def check_files(backend: object) -> None:
    """Asked in place of `check` where the engines run on other machines, whose devices nobody can see from here. Absent: nothing is."""
    method = getattr(backend, "check_files", None)
    if callable(method):
        method()


def answers_with_others(model: object) -> bool:
    """Asked of a loaded model by the accelerate backend: whether other processes take part in each of its calls.

    A call that failed is then not tried again with fewer rows, which the other processes know nothing of. Absent: it answers alone.
    """
    return getattr(model, "answers_with_others", False) is True
