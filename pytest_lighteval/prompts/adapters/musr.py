"""Rows of MuSR (https://arxiv.org/abs/2310.16049), whose choices are stored as the text of a Python list."""

from __future__ import annotations

import ast
from typing import Any


def parse_choices(row: dict[str, Any]) -> dict[str, Any]:
    """The row with `choices` as a list of texts."""
    return {**row, "choices": ast.literal_eval(row["choices"])}
