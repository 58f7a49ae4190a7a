"""What the commands about the gate share: bars, and tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """Something that must hold."""

    what: str
    value: float
    bound: float
    at_most: bool
    slack: float = 0.0

    @property
    def held(self) -> bool:
        """Whether it does."""
        return self.value <= self.bound + self.slack if self.at_most else self.value >= self.bound - self.slack

    def __str__(self) -> str:
        limit = f"{'at most' if self.at_most else 'at least'} {self.bound:.4g}"
        return f"{'ok  ' if self.held else 'MISS'}  {self.value:5.1f} %  ({limit})  {self.what}"


def share_text(value: float) -> str:
    """A share in percent."""
    return f"{value:.1f}" if 0 < value < 9.95 or 99 < value < 100 else f"{value:.0f}"


def table_text(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines) + "\n"
