"""Reads the messages of msgspec's validation errors, which have the place of the wrong value in their text only."""

from __future__ import annotations

import re

import msgspec

_MESSAGE = re.compile(r"(?P<problem>.*?)(?: - at (?P<key>`key` in )?`\$\.?(?P<place>[^`]*)`)?", re.DOTALL)


def place_and_problem(error: msgspec.ValidationError) -> tuple[str, str]:
    """Where a value does not fit its type, and why: `tasks[3].gates[...].min` and "Expected `float`, got `str`".

    The place is empty for the whole value; msgspec writes `[...]` for the key of a mapping.
    """
    found = _MESSAGE.fullmatch(str(error))
    if found is None:  # never: the problem alone matches any text
        return "", str(error)
    return found["place"] or "", found["problem"] + (" as a key" if found["key"] else "")
