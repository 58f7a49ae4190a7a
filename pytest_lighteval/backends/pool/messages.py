"""What passes between the pool and a member. Both sides are the same version of this package: a member with another one is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pytest_lighteval.types import Request, Response


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """To a member, first: the engine that it makes."""

    backend: str
    """The name of a backend."""
    arguments: Mapping[str, Any]
    """Its model arguments, as plain values."""
    beat: float
    """Seconds between two signs of life."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """To a member: a chunk."""

    number: int
    requests: tuple[Request, ...]
    docs: tuple[Any, ...] | None = None
    """For a backend that learns its answers: the document of each request."""
    repeat: int = 0
    """Of which repeat of the model the answers are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """From a member: its engine is loaded."""

    identity: Mapping[str, Any]
    """What must be the same for all members, by its name in messages."""
    place: Mapping[str, Any]
    """Where it runs: its GPUs. No name of a host: a report may be published."""
    described: Mapping[str, Any]
    """The backend's `describe`."""
    probe: tuple[float, ...] | None
    """Log-likelihoods of the same few texts in every member. None: the backend gives none."""
    seconds: float
    """How long loading took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """From a member: it has no engine, or the engine failed on a chunk, and the process ends."""

    reason: str
    number: int | None = None
    """The chunk. None: the engine could not be made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """From a member: the model cannot answer this kind of request. The engine is as before."""

    number: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """From a member: one response of a chunk."""

    number: int
    position: int
    response: Response


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """From a member: a chunk is answered."""

    number: int
    seconds: float
    described: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alive:
    """From a member, now and then."""

    moved: bool
    """Whether the thread that computes is elsewhere than at the last sign: it is not stuck in one call."""


End = Literal["end"]
"""To a member: close the engine and end."""

ToMember = Setup | Ask | End
FromMember = Ready | Failed | Refused | Answer | Done | Alive
