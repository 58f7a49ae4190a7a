"""Rows of the Winograd Schema Challenge (https://cs.nyu.edu/~davise/papers/WinogradSchemas/WS.html)."""

from __future__ import annotations

from typing import Any

_POSSESSIVE = ("my", "his", "her", "our", "their")
_CAPITALIZED = ("A", "An", "The", "She", "He", "It", "They", "My", "His", "Her", "Their")


def fit_options(row: dict[str, Any]) -> dict[str, Any]:
    """`options` in the place of the pronoun: with `'s` for a possessive, in lower case within a sentence."""
    return {**row, "options": [_fit(row, option) for option in row["options"]]}


def _fit(row: dict[str, Any], option: str) -> str:
    if row["pronoun"].lower() in _POSSESSIVE:
        option += "'s"
    first = option.split()[0]
    begins_sentence = row["text"][row["pronoun_loc"] - 2] == "."
    if first in _CAPITALIZED and not begins_sentence:
        return option.replace(first, first.lower())
    return option
