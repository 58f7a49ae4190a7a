"""Backends by name: entry points of the group `pytest_lighteval.backends`, ours and anyone's on the same road.

Names are checked without importing anything; a backend's module is imported when it is chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol, runtime_checkable

import msgspec

from pytest_lighteval.errors import UserInputError, did_you_mean
from pytest_lighteval.types import Backend

__all__ = ["BackendFactory", "DefaultsFactory", "SessionDefaults", "load_backend", "names", "session_defaults"]

GROUP = "pytest_lighteval.backends"


class BackendFactory(Protocol):
    """What an entry point names: a class (or any object) that turns checked arguments into a backend."""

    Arguments: type[msgspec.Struct]
    """The model arguments: a struct whose fields have types and defaults; each field's first docstring line is its help."""

    def from_arguments(self, arguments: msgspec.Struct) -> Backend:
        """A backend, cheaply: nothing is loaded. Raises UserInputError for arguments that contradict one another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionDefaults:
    """What a backend's model arguments say of the whole session: it holds where the user's options say nothing."""

    source: str = ""
    """Where it is written, for messages."""
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
    """A `BackendFactory` whose arguments may name a file of settings."""

    def session_defaults(self, written: Mapping[str, Any]) -> SessionDefaults:
        """What follows from `--model-args` as they were written, before they are checked. Raises UserInputError."""


def session_defaults(factory: BackendFactory, written: Mapping[str, Any]) -> SessionDefaults:
    """The factory's; nothing for one that has none."""
    return factory.session_defaults(written) if isinstance(factory, DefaultsFactory) else SessionDefaults()


def _entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def names() -> list[str]:
    """All backends installed, sorted. Imports none of them."""
    return sorted(_entry_points())


def check_name(name: str) -> None:
    """Raise UserInputError, naming the nearest ones, unless a backend of that name is installed."""
    known = names()
    if name not in known:
        raise UserInputError(f"no backend named {name!r}{did_you_mean(name, known)}; there are: {', '.join(known)}")


def load_backend(name: str) -> BackendFactory:
    """The factory of that name, its module imported. Raises UserInputError for an unknown one."""
    check_name(name)
    factory: BackendFactory = _entry_points()[name].load()
    return factory
