"""A document's value of the harness as plain values, which files can hold, and back for the harness's own aggregates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MAPPING = "{}"
"""Begins a tuple that stands for a mapping: `("{}", ("key", value), ...)`."""


def frozen(value: Any) -> Any:
    """Numbers, texts, None and tuples of them. Raises TypeError for anything else, such as a set or an object."""
    if value is None or isinstance(value, bool | int | float | str):
        return _own(value)
    if isinstance(value, Mapping):
        return (_MAPPING, *((str(key), frozen(member)) for key, member in value.items()))
    if isinstance(value, list | tuple):
        return tuple(frozen(member) for member in value)
    if callable(tolist := getattr(value, "tolist", None)):  # numpy's
        return frozen(tolist())
    raise TypeError(f"a {type(value).__name__} cannot be kept")


def thawed(value: Any) -> Any:
    """What `frozen` was given, with tuples for lists and arrays."""
    if not isinstance(value, tuple):
        return value
    if value and value[0] == _MAPPING and all(isinstance(member, tuple) and len(member) == 2 for member in value[1:]):
        return {key: thawed(member) for key, member in value[1:]}
    return tuple(thawed(member) for member in value)


def _own(value: Any) -> Any:
    """Python's own type: numpy's float64 is a float too."""
    if value is None or isinstance(value, bool):
        return value
    return next(kind(value) for kind in (int, float, str) if isinstance(value, kind))
