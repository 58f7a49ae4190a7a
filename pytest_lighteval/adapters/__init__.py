"""The old place of `pytest_lighteval.prompts.adapters`, for suites that name it. Gone in 0.2."""

from __future__ import annotations

from pytest_lighteval.prompts import adapters

__path__ = adapters.__path__
