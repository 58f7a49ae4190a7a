"""Where the reference material lies when it is there: recordings of Lighteval v0.9.2 and benchmark data in the hub's layout."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
"""The checkout."""
SHARED = Path(os.environ.get("LIGHTEVAL_SHARED", ROOT / "../shared")).resolve()
GOLDEN = SHARED / "golden"
HUB = SHARED / "data" / "hub"

needs_shared = pytest.mark.skipif(
    not GOLDEN.is_dir(), reason=f"the reference recordings are not at {SHARED} (LIGHTEVAL_SHARED names another place)"
)
