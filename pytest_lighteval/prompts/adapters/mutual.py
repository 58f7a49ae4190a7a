"""Rows of MuTual (https://arxiv.org/abs/2004.04494), whose texts are tokenized."""

from __future__ import annotations

from typing import Any

_JOINED = {
    " '": "'", " \n": "\n", "\n ": "\n", " n't": "n't", "`` ": '"', "''": '"',
    " :": ":", " ;": ";", " !": "!", " ?": "?", " ,": ",", " .": ".",
}  # fmt: skip
"""In this order, as in the EleutherAI evaluation harness."""


def detokenize(row: dict[str, Any]) -> dict[str, Any]:
    """`article` and `options` as one would write them."""
    return {**row, "article": _written(row["article"]), "options": [_written(option) for option in row["options"]]}


def _written(text: str) -> str:
    for tokenized, joined in _JOINED.items():
        text = text.replace(tokenized, joined)
    return text
