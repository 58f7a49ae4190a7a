"""A document's line as JSON in few copies and without a walk through its texts and tokens.

msgspec writes texts, whole numbers and tuples as `to_json` does, and faster. It writes other numbers in another form, so those, and all
that may hold one, are written by Python. What neither can write, such as a lone surrogate or a number of numpy, goes through `to_json`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from pytest_lighteval.reports.serialize import to_json

_LINES = msgspec.json.Encoder()
_NUMBERS = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":"))


def encode_line(line: Mapping[str, Any]) -> bytes:
    """`to_json(line)` as UTF-8 with a newline. Members may be anything; a dataclass is written fastest."""
    try:
        return _LINES.encode_lines([{name: _prepared(member) for name, member in line.items()}])
    except (TypeError, ValueError, OverflowError, RecursionError):
        return (to_json(line) + "\n").encode()


class Without(Mapping[str, Any]):
    """A dataclass without some of its fields, to be written."""

    def __init__(self, value: Any, *names: str) -> None:
        kind: type = type(value)
        self.value = value
        self.members = tuple(member for member in _fields(kind) if member[0] not in names)

    def __getitem__(self, name: str) -> Any:
        return getattr(self.value, name)

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.members)

    def __len__(self) -> int:
        return len(self.members)


def _prepared(value: Any) -> Any:
    """The value with everything as JSON that msgspec would write in another form."""
    if value is None or type(value) in (str, int, bool):
        return value
    if type(value) is dict and all(type(name) is str for name in value):
        return {name: _prepared(member) for name, member in value.items()}
    if type(value) is Without:
        return _object(value.value, value.members)
    if is_dataclass(value) and not isinstance(value, type):
        members = _fields(type(value))
        return value if all(is_alike for _, is_alike in members) else _object(value, members)
    if type(value) is tuple and value and (type(value[0]) is str or is_dataclass(value[0])):
        return tuple(_prepared(member) for member in value)
    if type(value) is float or (type(value) is tuple and all(type(member) in (float, int) for member in value)):
        return msgspec.Raw(_NUMBERS.encode(value).encode())
    return msgspec.Raw(to_json(value).encode())


def _object(value: Any, members: Iterable[tuple[str, bool]]) -> dict[str, Any]:
    return {name: (getattr(value, name) if is_alike else _prepared(getattr(value, name))) for name, is_alike in members}


@cache
def _fields(kind: type) -> tuple[tuple[str, bool], ...]:
    """Each field of a dataclass, and whether msgspec writes it as `to_json` does, whatever it holds."""
    hints = get_type_hints(kind)
    return tuple((field.name, _is_alike(hints[field.name])) for field in fields(kind))


def _is_alike(hint: Any) -> bool:
    if get_origin(hint) in (Union, UnionType, tuple):
        return all(member is Ellipsis or _is_alike(member) for member in get_args(hint))
    if get_origin(hint) is Literal or hint in (str, int, bool, NoneType):
        return True
    if not isinstance(hint, type):
        return False
    return issubclass(hint, Enum) or (is_dataclass(hint) and all(is_alike for _, is_alike in _fields(hint)))
