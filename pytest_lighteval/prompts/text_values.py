"""What may become a part of a text, and how it is written. Everything else would score a wrong prompt in silence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from numbers import Number
from typing import Any

from pytest_lighteval.errors import LightevalError

_EXACT_FLOAT = 2.0**53
"""From here on, a float does not say which whole number it stands for."""


class RenderError(LightevalError):
    """A template failed on its values; the message is one line."""


class NullTextError(RenderError):
    """A null or NaN would become the text `None` or `nan`."""

    def __init__(self, value: Any) -> None:
        self.value = "null" if value is None else "NaN"
        super().__init__(f"{self.value} has no text; `| default(...)` behind it says what to write instead")


def is_null(value: Any) -> bool:
    """Whether it is None or NaN: what data sets have where nothing is known."""
    return value is None or (isinstance(value, Number) and bool(value != value))


def as_text(value: Any) -> Any:
    """How a value is written in a text, for Jinja2's `finalize`; an undefined comes back, since Jinja2 says more about it.

    A whole float loses its `.0`: tables store a column of years that has gaps as floats. Raises RenderError for a null, NaN, a method
    or an iterator, also inside a list or mapping.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT_FLOAT:
        return str(int(value))
    if is_undefined(value):
        return value
    _check(value)
    return str(value)


def check_native(value: Any) -> None:
    """Raise RenderError for a function or method in a value that keeps its type."""
    if isinstance(value, list | tuple | Mapping):
        for item in value.values() if isinstance(value, Mapping) else value:
            check_native(item)
    elif is_undefined(value):
        str(value)  # a strict undefined raises an error with its name when it is used
    elif callable(value):
        raise RenderError(_no_text(value))


def _check(value: Any) -> None:
    if is_null(value):
        raise NullTextError(value)
    if isinstance(value, list | tuple | Mapping | set | frozenset):
        for item in value.values() if isinstance(value, Mapping) else value:
            _check(item)
    elif callable(value) or isinstance(value, Iterator) or _shows_its_address(value):
        raise RenderError(_no_text(value))


def _shows_its_address(value: Any) -> bool:
    return not any("__repr__" in vars(base) or "__str__" in vars(base) for base in type(value).__mro__[:-1])


def _no_text(value: Any) -> str:
    name = getattr(value, "__name__", None)
    if callable(value) and isinstance(name, str):
        owner = getattr(value, "__self__", None)
        of = f" of a {type(owner).__name__}" if owner is not None and not hasattr(owner, "__file__") else ""
        return f"{name!r} is a function{of}, not a value: call it, or name a key that the row has"
    return f"a {type(value).__name__} has no text"


def is_undefined(value: Any) -> bool:
    """Whether it is what Jinja2 has for a name that is not there."""
    from jinja2 import Undefined

    return isinstance(value, Undefined)
