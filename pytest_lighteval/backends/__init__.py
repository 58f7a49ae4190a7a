"""Backends by name, found as entry points of the group `pytest_lighteval.backends`: those below, and any other package's.

- `protocol`: the members that a backend may have beside those of `types.Backend`; `model_args`: how `--model-args` is read and checked;
- `common`: what several engines share: finding a model, its tokenizer, requests as token ids, answers out of scores;
- `cache`: a backend around a backend, which keeps answers for later runs;
- `accelerate`: transformers in this process; `vllm`: vLLM's engine; `openai`: a server over HTTP; `nanotron`: a nanotron checkpoint, on the
  accelerate backend; `fake`: no model at all, for tests and demos.

An engine's package imports `common` and no other engine's (nanotron's alone builds on accelerate's). A name is checked without an import; a
backend's module is imported when it is chosen.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Protocol

import msgspec

from pytest_lighteval.backends.protocol import DefaultsFactory, SessionDefaults, session_defaults
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
