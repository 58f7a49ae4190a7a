"""The old place of `pytest_lighteval.backends.cache.answer_store`. Gone in 0.2."""

from __future__ import annotations

from pytest_lighteval.backends.cache.answer_store import AnswerStore, newest_number, store_path

__all__ = ["AnswerStore", "newest_number", "store_path"]
