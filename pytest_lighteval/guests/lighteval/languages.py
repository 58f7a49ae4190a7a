"""The stand-in for Lighteval's `Language`: the names of both dialects, with their ISO 639-3 codes."""

from __future__ import annotations

import importlib.resources
from enum import Enum


def make_language() -> type[Enum]:
    """The enumeration. Several names may have one code: the first of them is the member, the others are its aliases."""
    text = (importlib.resources.files(__package__) / "languages.txt").read_text("utf-8")
    codes = dict(entry.split(":") for entry in text.split())
    return Enum("Language", codes)  # type: ignore[return-value] # mypy takes it for a member
