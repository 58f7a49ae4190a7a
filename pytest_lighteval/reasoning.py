"""The old place of `pytest_lighteval.prompts.reasoning`. Gone in 0.2."""

from __future__ import annotations

import warnings

from pytest_lighteval.prompts.reasoning import DEFAULT_TAGS, ReasoningTags, parse_tags, strip_reasoning

__all__ = ["DEFAULT_TAGS", "ReasoningTags", "parse_tags", "strip_reasoning"]

warnings.warn(
    "pytest_lighteval.reasoning moved to pytest_lighteval.prompts.reasoning, the old name goes with 0.2", DeprecationWarning, stacklevel=2
)
