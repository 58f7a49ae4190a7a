"""Texts of servers, models and engines, made safe: to be sent as UTF-8, and to be shown by a terminal or in a CI log."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

_CONTROLS = "\x00-\x08\x0b-\x1f\x7f-\x9f"
"""All but tab and line feed."""
_BREAKS_AND_DIRECTIONS = "\u2028\u2029\u202a-\u202e\u2066-\u2069"
"""Other ends of a line, and what turns the direction of the text after it."""
_UNSAFE = re.compile(f"[{_CONTROLS}{_BREAKS_AND_DIRECTIONS}]")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_NOTHING = "\u00ad\u200b-\u200f\u2060-\u2064\ufeff"
"""Characters without a width, which a comparison of texts may skip."""
_COMMAND = re.compile(rf"^([\s{_NOTHING}]*):(?=[{_NOTHING}]*:)|#(?=#(?:vso|teamcity)?\[)", re.MULTILINE)
"""Commands in the logs of GitHub (`::name::` at the start of a line, the older `##[name]` anywhere), Azure and TeamCity."""


def encodable(text: str) -> str:
    """The text with lone surrogates, which UTF-8 does not have, as Python's escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def printable(text: str, *, colours: bool = False) -> str:
    r"""The text without anything that controls a terminal or is a command to the CI that reads its log.

    Control characters become Python's escapes (`\x1b`), line breaks of any kind line feeds. A line that would be a command starts with
    a backslash. `colours`: the escape sequences of colours stay.
    """
    if colours:
        plain = [printable(part) for part in _COLOUR.split(text)]
        return _joined(plain, _COLOUR.findall(text)) if len(plain) > 1 else plain[0]
    text = encodable(text).replace("\r\n", "\n").replace("\r", "\n")
    text = _UNSAFE.sub(lambda found: found[0].encode("unicode-escape").decode("ascii"), text)
    return _COMMAND.sub(lambda found: f"{found[1]}\\:" if found[1] is not None else "#\\", text)


def _joined(plain: list[str], colours: list[str]) -> str:
    return plain[0] + "".join(colour + part for colour, part in zip(colours, plain[1:], strict=True))


def map_texts(value: Any, change: Callable[[str], str]) -> Any:
    """The value with every text in its lists, tuples and dicts changed, keys included; the value itself where nothing changes."""
    if type(value) is str:
        changed = change(value)
        return value if changed == value else changed
    if type(value) is dict:
        pairs = [(map_texts(key, change), map_texts(member, change)) for key, member in value.items()]
        is_same = all(key is old and member is value[old] for (key, member), old in zip(pairs, value, strict=True))
        return value if is_same else dict(pairs)
    if type(value) in (list, tuple):
        members = [map_texts(member, change) for member in value]
        if all(new is old for new, old in zip(members, value, strict=True)):
            return value
        return members if type(value) is list else tuple(members)
    return value
