"""scipy, imported when a gate first needs it: it is an extra, and slow to import."""

from __future__ import annotations

import importlib
from typing import Any

from pytest_lighteval.errors import MissingExtraError


def scipy_module(name: str) -> Any:
    """`scipy.<name>`. Raises MissingExtraError."""
    try:
        return importlib.import_module(f"scipy.{name}")
    except ImportError as error:
        raise MissingExtraError("scipy, which computes the gate's tests,", "gate") from error
