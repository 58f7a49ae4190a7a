"""Whether a program gave what a test expects, by the rules of LiveCodeBench's checker (arXiv:2403.07974)."""

from __future__ import annotations

import decimal
import json
from typing import Any

from pytest_lighteval.sandbox.inside.codec import decode


def same_output(text: str, expected: str) -> bool:
    """Line by line after stripping: equal as text, or else every item, between white space, equal as a decimal number."""
    lines, golds = _lines(text), _lines(expected)
    return len(lines) == len(golds) and all(line == gold or _same_numbers(line, gold) for line, gold in zip(lines, golds, strict=True))


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().split("\n")]


def _same_numbers(line: str, gold: str) -> bool:
    items, golds = line.split(), gold.split()
    try:
        return [decimal.Decimal(item) for item in items] == [decimal.Decimal(item) for item in golds]
    except decimal.InvalidOperation:
        return False


def same_value(encoded: Any, expected: str) -> bool:
    """Whether a function's value, as `codec.encode` writes it, equals one that is written as JSON. The outermost tuple is a list."""
    if isinstance(encoded, list) and encoded[:1] == ["t"]:
        encoded = ["l", *encoded[1:]]
    try:
        return bool(decode(encoded, lambda _: object()) == json.loads(expected))
    except Exception:  # the program may have written the message itself: whatever cannot be read is another value
        return False
