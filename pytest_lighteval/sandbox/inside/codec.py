"""Values between two processes that do not trust each other, as JSON. Reading one runs no code."""

from __future__ import annotations

import collections
import decimal
import fractions
from collections.abc import Callable
from typing import Any

Keep = Callable[[Any], list[Any]]
"""Makes a reference of an object that cannot be copied."""
Find = Callable[[list[Any]], Any]
"""The object, or a stand-in for it, of such a reference."""

_SMALL = 2**53
_SOME: dict[str, str] = {}
_KEYS, _VALUES, _ITEMS = type(_SOME.keys()), type(_SOME.values()), type(_SOME.items())
_AS_DICT = (dict, collections.OrderedDict, collections.defaultdict, collections.Counter)


def encode(value: Any, keep: Keep) -> Any:
    """A value as JSON has it. What is no plain value is kept, and its reference is sent.

    A subclass of a plain type is no plain value: its comparison could say anything. RecursionError for a value that holds itself.
    """
    kind = type(value)
    if value is None or kind in (bool, str, float):
        return value
    if kind is int:
        # Python reads no more than some thousand decimal digits
        return value if -_SMALL < value < _SMALL else ["i", hex(value)]
    if kind in (list, tuple, set, frozenset):
        return [_TAGS[kind], *[encode(member, keep) for member in value]]
    if kind in _AS_DICT or kind is _ITEMS:
        pairs = value if kind is _ITEMS else value.items()
        return ["di" if kind is _ITEMS else "d", *[[encode(key, keep), encode(member, keep)] for key, member in pairs]]
    if kind in (_KEYS, _VALUES):
        return ["dk" if kind is _KEYS else "dv", *[encode(member, keep) for member in value]]
    if kind in (bytes, bytearray):
        return ["b" if kind is bytes else "B", value.decode("latin-1")]
    if kind is complex:
        return ["c", value.real, value.imag]
    if kind is range:
        return ["r", encode(value.start, keep), encode(value.stop, keep), encode(value.step, keep)]
    if kind in (decimal.Decimal, fractions.Fraction):
        return ["D" if kind is decimal.Decimal else "F", str(value)]
    if kind.__module__ == "numpy" and getattr(value, "shape", None) == () and hasattr(value, "item"):
        return encode(value.item(), keep)
    return ["o", *keep(value)]


_TAGS: dict[type, str] = {list: "l", tuple: "t", set: "s", frozenset: "f"}
_COLLECTIONS: dict[str, Callable[[list[Any]], Any]] = {
    "l": list,
    "t": tuple,
    "s": set,
    "f": frozenset,
    "dk": lambda members: dict.fromkeys(members).keys(),
    "dv": lambda members: dict(enumerate(members)).values(),
}
_TEXTS: dict[str, Callable[[str], Any]] = {
    "i": lambda text: int(text, 16),
    "b": lambda text: text.encode("latin-1"),
    "B": lambda text: bytearray(text, "latin-1"),
    "D": decimal.Decimal,
    # by itself it would read "1e999999999", too, and be busy with that for ever
    "F": lambda text: fractions.Fraction(*map(int, text.split("/"))),
}


def decode(plain: Any, find: Find) -> Any:
    """The value that was encoded. For anything else an Exception of any kind."""
    if not isinstance(plain, list):
        return plain
    tag, *parts = plain
    if tag in _COLLECTIONS:
        return _COLLECTIONS[tag]([decode(part, find) for part in parts])
    if tag in ("d", "di"):
        found = {decode(key, find): decode(member, find) for key, member in parts}
        return found if tag == "d" else found.items()
    if tag in _TEXTS:
        return _TEXTS[tag](*parts)
    if tag == "c":
        return complex(*parts)
    if tag == "r":
        return range(*[decode(part, find) for part in parts])
    if tag == "o":
        return find(parts)
    raise ValueError(f"no value is written {tag!r}")
