"""Settings of this repository's own tests."""

from __future__ import annotations

from hypothesis import settings

# a slow machine is no failure
settings.register_profile("timeless", deadline=None)
settings.load_profile("timeless")
