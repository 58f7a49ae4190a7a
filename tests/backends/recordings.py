"""What Lighteval v0.9.2 asked the small real model, and what it answered, document by document."""

from __future__ import annotations

import json
from typing import Any

from tests.shared import GOLDEN


def recorded(run: str, most: int) -> list[dict[str, Any]]:
    """The first documents of a recorded run."""
    with (GOLDEN / "e2e" / f"{run}.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line, _ in zip(lines, range(most), strict=False)]
