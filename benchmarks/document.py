"""`docs/parity.md`: its parts, each written by the command that measured it, and tables."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks.recordings import ROOT
from pytest_lighteval.common.files import write_atomic

DOCUMENT = ROOT / "docs" / "parity.md"
_HEADER = """\
# Parity

Are the scores of this project the scores that others publish?
This page compares them document by document.
The commands that measure also write the two parts of this page.
"""
_PARTS = {"recorded": "python -m benchmarks.parity --write", "harness": "python -m benchmarks.harness_check --write"}
"""The parts in their order, and the command that writes each."""


def write_part(part: str, text: str, *, document: Path = DOCUMENT) -> None:
    """Replace one part by the text, and keep the other."""
    old = document.read_text("utf-8") if document.is_file() else ""
    pieces = [_HEADER]
    for name, command in _PARTS.items():
        begin, end = f"<!-- {name}: written by `{command}` -->", f"<!-- end of {name} -->"
        kept = re.search(f"{re.escape(begin)}\n(.*?){re.escape(end)}", old, re.DOTALL)
        content = f"\n{text.strip()}\n\n" if name == part else kept[1] if kept else f"\nNot measured yet: `{command}`.\n\n"
        pieces.append(f"\n{begin}\n{content}{end}\n")
    write_atomic(document, "".join(pieces))


def setting(*packages: str) -> str:
    """The versions that the numbers belong to, and the kind of machine."""
    versions = ", ".join(f"{package} {version(package)}" for package in ("pytest-lighteval", *packages))
    return f"{versions}, Python {platform.python_version()}; one thread of a {os.cpu_count()}-core {_machine()} CPU, fp32"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns, so that it can be read in a terminal too."""
    everything = [header, *rows]
    widths = [max(len(row[column]) for row in everything) for column in range(len(header))]
    lines = ["| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |" for row in everything]
    lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return "\n".join(lines)


def cell(text: str) -> str:
    """Text in which the character between columns is escaped."""
    return text.replace("|", "\\|")


def small(number: float | None) -> str:
    """A difference: its size matters, not its digits."""
    return "" if number is None else "0" if number == 0 else f"{number:.1e}"


def _machine() -> str:
    return platform.machine().replace("_", "-")
