"""The old place of `pytest_lighteval.backends.cache.answer_store`. Gone in 0.2."""

from __future__ import annotations

import warnings

from pytest_lighteval.backends.cache.answer_store import AnswerStore, StoredAnswer, newest_number, store_path

__all__ = ["AnswerStore", "StoredAnswer", "newest_number", "store_path"]

warnings.warn(
    "pytest_lighteval.backends.answer_store moved to pytest_lighteval.backends.cache.answer_store, the old name goes with 0.2",
    DeprecationWarning,
    stacklevel=2,
)
