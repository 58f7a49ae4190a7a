"""The old place of `pytest_lighteval.prompts.reasoning`. Gone in 0.2."""

from __future__ import annotations

from pytest_lighteval.prompts.reasoning import DEFAULT_TAGS, ReasoningTags, parse_tags, strip_reasoning

__all__ = ["DEFAULT_TAGS", "ReasoningTags", "parse_tags", "strip_reasoning"]
