"""Rows of Humanity's Last Exam (https://arxiv.org/abs/2501.14249)."""

from __future__ import annotations

from typing import Any


def drop_pictures(row: dict[str, Any]) -> dict[str, Any] | None:
    """No row for a question with a picture."""
    return None if row["image"] else row
