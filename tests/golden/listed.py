"""The differences from Lighteval v0.9.2 that are on purpose, as `docs/differences-from-lighteval.md` lists them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from tests.shared import ROOT

DOCUMENT = ROOT / "docs" / "differences-from-lighteval.md"
HEADER = ["task", "field", "ours", "Lighteval v0.9.2", "reason"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One field of one task, or of one of its documents, that is not as recorded."""

    task: str
    field: str
    ours: Any
    theirs: Any
    where: str = ""
    """The recorded row. Empty: it is about the task itself."""

    def __str__(self) -> str:
        return f"{self.task} {self.where}: {self.field}\n  ours:   {self.ours!r}\n  theirs: {self.theirs!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a table."""

    line: int
    task: str
    field: str
    ours: str
    theirs: str

    def covers(self, difference: Difference) -> bool:
        """A cell in backticks must be the very value."""
        return (
            self.field == difference.field
            and fnmatchcase(difference.task, self.task)
            and _is_value(self.ours, difference.ours)
            and _is_value(self.theirs, difference.theirs)
        )


@cache
def listed_differences() -> tuple[Entry, ...]:
    """The entries of all tables about tasks, in the order of the document."""
    return tuple(_entries())


def _entries() -> Iterator[Entry]:
    inside = False
    for line, text in enumerate(DOCUMENT.read_text(encoding="utf-8").splitlines(), 1):
        cells = [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", text)[1:-1]]
        if not cells:
            inside = False
        elif cells == HEADER:
            inside = True
        elif inside and not all(re.fullmatch(r":?-+:?", cell) for cell in cells):
            task, field, ours, theirs, reason = cells
            assert reason, f"{DOCUMENT.name}:{line}: gives no reason"
            yield Entry(line=line, task=task.strip("`"), field=field.strip("`"), ours=ours, theirs=theirs)


def _is_value(cell: str, value: Any) -> bool:
    if not (len(cell) > 2 and cell.startswith("`") and cell.endswith("`")):
        return True
    return bool(json.loads(cell[1:-1]) == value)
