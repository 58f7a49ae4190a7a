"""Rows of SimpleQA (https://arxiv.org/abs/2411.04368)."""

from __future__ import annotations

import ast
from typing import Any


def parse_metadata(row: dict[str, Any]) -> dict[str, Any]:
    """`metadata`, which is stored as a Python literal."""
    return {**row, "metadata": ast.literal_eval(row["metadata"])}
