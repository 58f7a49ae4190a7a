"""Rows of Humanity's Last Exam (https://arxiv.org/abs/2501.14249)."""

from __future__ import annotations

from typing import Any


def drop_pictures(row: dict[str, Any]) -> dict[str, Any] | None:
    """Nothing of a question that comes with a picture."""
    return None if row["image"] else row
