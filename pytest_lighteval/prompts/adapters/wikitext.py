"""Rows of WikiText (https://arxiv.org/abs/1609.07843), whose texts are tokenized."""

from __future__ import annotations

import re
from typing import Any

_REPLACED = (
    # contractions; the second one is meant for years, and never matches
    ("s '", "s'"), (re.compile("/' [0-9]/"), "/'[0-9]/"),
    # within numbers
    (" @-@ ", "-"), (" @,@ ", ","), (" @.@ ", "."),
    # punctuation
    (" : ", ": "), (" ; ", "; "), (" . ", ". "), (" ! ", "! "), (" ? ", "? "), (" , ", ", "),
    # pairs
    (re.compile(r"\(\s*([^\)]*?)\s*\)"), r"(\1)"), (re.compile(r"\[\s*([^\]]*?)\s*\]"), r"[\1]"),
    (re.compile(r"{\s*([^}]*?)\s*}"), r"{\1}"), (re.compile(r"\"\s*([^\"]*?)\s*\""), r'"\1"'), (re.compile(r"'\s*([^']*?)\s*'"), r"'\1'"),
    # headings
    ("= = = =", "===="), ("= = =", "==="), ("= =", "=="),
    # the rest
    (" \N{DEGREE SIGN} ", "\N{DEGREE SIGN}"), (" \n", "\n"), ("\n ", "\n"), (" N ", " 1 "), (" 's", "'s"),
)  # fmt: skip
"""In this order, as in Megatron-LM and the EleutherAI evaluation harness."""


def detokenize(row: dict[str, Any]) -> dict[str, Any]:
    """`text`: the `page` as one would write it."""
    text = row["page"]
    for tokenized, written in _REPLACED:
        text = text.replace(tokenized, written) if isinstance(tokenized, str) else tokenized.sub(written, text)
    return {**row, "text": text}
