"""What the sandboxes of a run did: one line for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def program_lines(graders: Mapping[str, Any]) -> Iterator[str]:
    """How many programs had a verdict, and how many of them ran in this session."""
    facts = graders.get("sandbox", {})
    if use := facts.get("use"):
        yield f"programs: {use['programs']:g} in {facts['sandbox']}, of which {use['recalled']:g} ran before"
