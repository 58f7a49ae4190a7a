"""The old place of `pytest_lighteval.prompts.adapters`, for suites that still name it. Gone in 0.2."""

from __future__ import annotations

import importlib
import pkgutil
import sys
import warnings

from pytest_lighteval.prompts import adapters

warnings.warn(
    "pytest_lighteval.adapters moved to pytest_lighteval.prompts.adapters, the old name goes with 0.2", DeprecationWarning, stacklevel=2
)
for _found in pkgutil.iter_modules(adapters.__path__):
    # the module itself under its old name, so that nothing in it exists twice
    globals()[_found.name] = sys.modules[f"{__name__}.{_found.name}"] = importlib.import_module(f"{adapters.__name__}.{_found.name}")
__path__ = []
