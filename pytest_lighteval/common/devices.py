"""Which GPUs this process may use, from its environment and the driver. Imports no engine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable


def count_gpus() -> int:
    """How many GPUs NVIDIA's own tool lists, 0 without it."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return 0
    return sum(line.startswith("GPU ") for line in listed.splitlines())


def visible_gpus(count: Callable[[], int] = count_gpus) -> list[str]:
    """The GPUs by the names that CUDA_VISIBLE_DEVICES has for them, none for `-1`; all that are counted where it is not set.

    Whoever has imported an engine counts with it: it may know of GPUs that NVIDIA's tool does not.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return [str(index) for index in range(count())]
    return [gpu.strip() for gpu in named.split(",") if gpu.strip() not in ("", "-1")]
