"""The GPUs that this process may use, from its environment and the driver. Imports no engine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable


def count_gpus() -> int:
    """Number of GPUs that `nvidia-smi` lists; 0 without it."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return 0
    return sum(line.startswith("GPU ") for line in listed.splitlines())


def visible_gpus(count: Callable[[], int] = count_gpus) -> list[str]:
    """The GPUs by their names in CUDA_VISIBLE_DEVICES, none for `-1`. If it is not set: the numbers of all GPUs that `count` finds.

    A caller that has imported an engine passes the engine's `count`, because NVIDIA's tool does not list every GPU.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return [str(index) for index in range(count())]
    return [gpu.strip() for gpu in named.split(",") if gpu.strip() not in ("", "-1")]
