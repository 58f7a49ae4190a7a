"""Rows of LexGLUE and LEXTREME as HELM (https://arxiv.org/abs/2211.09110) made them: all labels, and those of the passage."""

from __future__ import annotations

from typing import Any


def find_labels(row: dict[str, Any]) -> dict[str, Any]:
    """The row with `answers`, the index of each of the passage's labels, in the order of `gold`: an example shows the first."""
    return {**row, "answers": [row["references"].index(label) for label in row["gold"]]}
