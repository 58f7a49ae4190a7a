"""Spellings of arguments: other names that a backend knows for its own, and values that mean the default."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec

from pytest_lighteval.errors import UserInputError


def with_own_names(raw: Mapping[str, Any], arguments: type[msgspec.Struct]) -> dict[str, Any]:
    """The values under the struct's own names. Its class variable `other_names` has the other ones (such as the engine's).

    Raises UserInputError if one argument is given by two names.
    """
    others = other_names(arguments)
    own: dict[str, Any] = {}
    for name, value in raw.items():
        real = others.get(name, name)
        if real in own or (real != name and real in raw):
            given = [written for written in raw if others.get(written, written) == real]
            raise UserInputError(f"{' and '.join(given)} are two names of one argument: give one")
        own[real] = value
    return own


def other_names(arguments: type[msgspec.Struct]) -> Mapping[str, str]:
    """Other name -> the struct's own."""
    names: Mapping[str, str] = getattr(arguments, "other_names", {})
    return names


def without_nones(raw: Mapping[str, Any], arguments: type[msgspec.Struct]) -> dict[str, Any]:
    """The values without each None that its field does not take: there, as in Lighteval, None means the default."""
    hints = hints_of(arguments)
    return {name: value for name, value in raw.items() if value is not None or name not in hints or NoneType in options_of(hints[name])}


@cache
def hints_of(struct: type[msgspec.Struct]) -> Mapping[str, Any]:
    """The types of a struct's fields, by the names that users write."""
    hints = get_type_hints(struct)
    return {field.encode_name: hints[field.name] for field in msgspec.structs.fields(struct)}


def options_of(hint: Any) -> tuple[Any, ...]:
    """The types that a hint allows: those of a union, without annotations."""
    if get_origin(hint) is Annotated:
        return options_of(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return tuple(option for part in get_args(hint) for option in options_of(part))
    return (hint,)
