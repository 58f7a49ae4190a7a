"""What takes long before the first answer is told through Python's logging, so that an engine of anybody's can do the same."""

from __future__ import annotations

import logging

PROGRESS = logging.getLogger("pytest_lighteval.progress")
"""Records of level INFO, one line each, such as "MODEL: loading the model". Nobody sees them unless the plugin shows them."""
