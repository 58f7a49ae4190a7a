"""Backends by name: entry points of the group `pytest_lighteval.backends`, ours and anyone's on the same road.

Names are checked without importing anything; a backend's module is imported when it is chosen.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Protocol

import msgspec

from pytest_lighteval.errors import UserInputError, did_you_mean
from pytest_lighteval.types import Backend

__all__ = ["BackendFactory", "load_backend", "names"]

GROUP = "pytest_lighteval.backends"


class BackendFactory(Protocol):
    """What an entry point names: a class (or any object) that turns checked arguments into a backend."""

    Arguments: type[msgspec.Struct]
    """The model arguments: a struct whose fields have types and defaults; each field's first docstring line is its help."""

    def from_arguments(self, arguments: msgspec.Struct) -> Backend:
        """A backend, cheaply: nothing is loaded. Raises UserInputError for arguments that contradict one another."""


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
