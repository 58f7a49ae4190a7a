"""Rows of MathQA (https://arxiv.org/abs/1905.13319)."""

from __future__ import annotations

import re
from typing import Any

_OPTION = re.compile(r"[abcd] \) .*?, |e \) .*?$")


def split_options(row: dict[str, Any]) -> dict[str, Any]:
    """`choices` out of `options`, written `a ) 1 , b ) 2 , ...`; one with a comma ends there, as in the EleutherAI evaluation harness."""
    return {**row, "choices": [option[len("a ) ") :].rstrip(" ,") for option in _OPTION.findall(row["options"])]}
