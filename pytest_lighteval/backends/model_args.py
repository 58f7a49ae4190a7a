"""`--model-args`: reads `key=value` pairs or a YAML file, and checks them by the arguments that a backend declares."""

from __future__ import annotations

import contextlib
import inspect
import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import msgspec

from pytest_lighteval.backends.common.generation_parameters import without_refused
from pytest_lighteval.backends.common.spellings import hints_of, options_of, other_names, with_own_names, without_nones
from pytest_lighteval.common.msgspec_errors import place_and_problem
from pytest_lighteval.common.yaml_lines import YamlFile
from pytest_lighteval.errors import UserInputError, did_you_mean

_PAIRS = {"{": "}", "[": "]", "(": ")"}
_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"[+-]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][+-]?[0-9]+)?")

OPTION = "--model-args"

Arguments = TypeVar("Arguments", bound=msgspec.Struct)


def parse_model_args(text: str, *, folder: Path, option: str = OPTION) -> dict[str, Any]:
    """The arguments as the user wrote them: texts, nested mappings and lists, None, not yet the backend's types.

    The text is the path of a `.yaml`/`.yml` file (Lighteval's level `model_parameters:` is accepted), or `k=v` pairs joined by commas.
    Commas inside `{}`, `[]` and quotes belong to a value. A bare key means true. `option` is what messages call it. Raises
    UserInputError.
    """
    text = text.strip()
    if text.endswith((".yaml", ".yml")) and "=" not in text:
        return _read_yaml(folder / text, text, option)
    parsed: dict[str, Any] = {}
    for pair in _split(text, ",", option):
        key, equals, value = pair.partition("=")
        key = key.strip()
        if not key.isidentifier():
            raise UserInputError(f"{option}: {pair.strip()!r} is not key=value")
        if key in parsed:
            raise UserInputError(f"{option}: {key!r} is given twice")
        parsed[key] = _value(value.strip(), option) if equals else _Unquoted("true")
    return parsed


def _read_yaml(path: Path, shown: str, option: str) -> dict[str, Any]:
    content = YamlFile(path, shown=f"{option} {shown}").data
    if isinstance(content, dict) and isinstance(content.get("model_parameters"), dict):
        content = content["model_parameters"]
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UserInputError(f"{option} {shown}:1: a mapping of model arguments was expected")
    return content


def _split(text: str, separator: str, option: str, *, nested: bool = False) -> list[str]:
    """Split at separators outside brackets and quotes. `nested`: the text was inside brackets."""
    parts: list[str] = []
    closers: list[str] = []
    start, quote, is_escaped = 0, "", False
    for position, character in enumerate(text):
        if is_escaped:
            is_escaped = False
        elif quote:
            # as in JSON, inside brackets; in a path that is a value of its own, a backslash is a backslash
            is_escaped = character == "\\" and quote == '"' and (nested or bool(closers))
            if character == quote:
                quote = ""
        elif character in "\"'" and (text[:position].rstrip() or ",").endswith(("=", ":", ",", "[", "{", "(")):
            # a quote opens only at the start of a value, so an apostrophe inside a path is an ordinary character
            quote = character
        elif character in _PAIRS:
            closers.append(_PAIRS[character])
        elif closers and character == closers[-1]:
            closers.pop()
        elif character == separator and not closers:
            parts.append(text[start:position])
            start = position + 1
    if quote or closers:
        raise UserInputError(f"{option}: {quote or closers[-1]!r} is missing in {text!r}")
    return [part for part in (*parts, text[start:]) if part.strip()]


class _Unquoted(str):
    """A text that was written without quotes. Where an argument takes any value, it may stand for a number, true or false."""

    __slots__ = ()


def _value(text: str, option: str, *, nested: bool = False) -> Any:
    r"""`{a:1,b:[x,y]}` and `[x,y]` become mappings and lists of texts. Quotes are removed. `None` and `null` are None, all else a text.

    Nested texts in double quotes are JSON's, as in Lighteval: `"\n"` is a line break.
    """
    if nested and len(text) >= 2 and text[0] == text[-1] == '"':
        with contextlib.suppress(ValueError):
            return str(json.loads(text))
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    if text.startswith("[") and text.endswith("]"):
        return [_value(part.strip(), option, nested=True) for part in _split(text[1:-1], ",", option, nested=True)]
    if text.startswith("{") and text.endswith("}"):
        mapping = {}
        for part in _split(text[1:-1], ",", option, nested=True):
            separator = min((at for mark in ":=" if (at := part.find(mark)) >= 0), default=-1)
            if separator < 0:
                raise UserInputError(f"{option}: {part.strip()!r} inside {{}} is not key:value")
            name = str(_value(part[:separator].strip(), option, nested=True))
            mapping[name] = _value(part[separator + 1 :].strip(), option, nested=True)
        return mapping
    return None if text in ("None", "null") else _Unquoted(text)


def own_model_args(raw: Mapping[str, Any], arguments: type[msgspec.Struct], option: str = OPTION) -> dict[str, Any]:
    """The same under the backend's own names. Raises UserInputError for an argument that is given by two names."""
    try:
        return with_own_names(raw, arguments)
    except UserInputError as error:
        raise UserInputError(f"{option}: {error}") from error


def convert_model_args(raw: Mapping[str, Any], arguments: type[Arguments], *, backend: str) -> Arguments:
    """The backend's own struct, filled and type-checked ("8" becomes 8 for a number). None means the default.

    Inside a `dict[str, Any]`, what was written without quotes becomes a number, true or false if it reads like one. The class variable
    `nested` of the struct has, by name of the argument, the struct by which such a mapping is read later, whose types then decide.

    Raises UserInputError that names the argument: the nearest ones for an unknown name, the reason for a refused one.
    """
    return convert_args(raw, arguments, option=OPTION, whose=f"backend {backend!r}")


def convert_args(raw: Mapping[str, Any], arguments: type[Arguments], *, option: str, whose: str) -> Arguments:
    """The same for another option; `whose` arguments they are, in messages."""
    raw = without_nones(own_model_args(raw, arguments, option), arguments)
    raw = without_refused(raw, arguments, f"{option}: ")
    known = {field.encode_name for field in msgspec.structs.fields(arguments)} | other_names(arguments).keys()
    for key in raw:
        if key not in known:
            near = did_you_mean(key, known) or f"; there are: {', '.join(sorted(known))}"
            raise UserInputError(f"{option}: {whose} has no argument {key!r}{near}")
    try:
        return msgspec.convert(_struct_values(raw, arguments), arguments, strict=False)
    except msgspec.ValidationError as error:
        place, problem = place_and_problem(error)
        missing = re.fullmatch("Object missing required field `(.*)`", problem)
        if missing and not place:
            said = _descriptions(arguments).get(missing[1])
            raise UserInputError(f"{option}: {missing[1]} is missing{f': {said}' if said else ''}") from error
        raise UserInputError(f"{option}: {place or whose}: {problem}") from error


def _struct_values(raw: Mapping[str, Any], struct: type[msgspec.Struct]) -> dict[str, Any]:
    """Values of the struct's fields as msgspec reads them: typed where a field takes any value, else as they were written."""
    hints = hints_of(struct)
    nested: Mapping[str, type[msgspec.Struct]] = getattr(struct, "nested", {})
    return {
        name: _struct_values(value, nested[name])
        if name in nested and isinstance(value, dict)
        # a name that the struct does not have is refused later
        else _typed(value, hints.get(name, str))
        for name, value in raw.items()
    }


def _typed(value: Any, hint: Any) -> Any:
    options = options_of(hint)
    if isinstance(value, dict):
        inner = next((get_args(option)[1] for option in options if get_origin(option) is dict), Any)
        return {str(key): _typed(part, inner) for key, part in value.items()}
    if isinstance(value, list):
        inner = next((get_args(option)[0] for option in options if get_origin(option) in (list, tuple)), Any)
        return [_typed(part, inner) for part in value]
    if isinstance(value, _Unquoted):
        return _scalar(str(value)) if Any in options else str(value)
    return value


def _scalar(text: str) -> Any:
    """The number, true or false that a text reads like. Anything else stays a text, `1.2.3` and `007` too."""
    if text in ("true", "True", "false", "False"):
        return text in ("true", "True")
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text


def given_arguments(arguments: msgspec.Struct) -> dict[str, Any]:
    """The arguments that differ from their defaults, in the order in which the backend declares them."""
    values = {field.name: (getattr(arguments, field.name), field) for field in msgspec.structs.fields(arguments)}
    return {name: value for name, (value, field) in values.items() if value != _default_of(field)}


def _default_of(field: msgspec.structs.FieldInfo) -> Any:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default


def describe_arguments(arguments: type[msgspec.Struct], *, backend: str) -> str:
    """The text of `--model-args help`: each argument with type, default and one line. The backend's own come before inherited ones."""
    lines = [f"--model-args of backend {backend}: key=value pairs joined by commas, or a YAML file", ""]
    help_of = _descriptions(arguments)
    types = hints_of(arguments)
    also: dict[str, list[str]] = {}
    for other, own in other_names(arguments).items():
        also.setdefault(own, []).append(other)
    order = list(dict.fromkeys(name for declaring in arguments.__mro__ for name in inspect.get_annotations(declaring)))
    for field in sorted(msgspec.structs.fields(arguments), key=lambda field: order.index(field.name)):
        default = "required" if field.required else repr(field.default if field.default is not msgspec.NODEFAULT else [])
        names = "".join(f", also {other}" for other in also.get(field.encode_name, ()))
        lines.append(f"  {field.encode_name} ({_type_name(types[field.encode_name])}, default {default}{names})")
        if help_of[field.encode_name]:
            lines.append(f"      {help_of[field.encode_name]}")
    return "\n".join(lines) + "\n"


def _descriptions(arguments: type[msgspec.Struct]) -> dict[str, str]:
    """What each argument is, by its name. Empty: it has no description."""
    info = msgspec.inspect.type_info(arguments)
    return {
        field.encode_name: (getattr(field.type, "extra_json_schema", None) or {}).get("description", "")
        for field in getattr(info, "fields", ())
    }


def _type_name(hint: Any) -> str:
    """A type as people write it: `int | None`."""
    if get_origin(hint) in (Union, UnionType):
        return " | ".join(map(_type_name, get_args(hint)))
    if hint is NoneType:
        return "None"
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint).replace("typing.", "")
