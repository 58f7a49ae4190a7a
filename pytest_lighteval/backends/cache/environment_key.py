"""What may change an answer besides the model and the request: the source of our backends, and the kind of hardware."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

_SOURCE = Path(__file__).parents[1]
"""`backends/`, all of it: an answer of an older engine must not be taken for one of this engine."""


def environment_key(source: Path = _SOURCE, root: Path = Path("/")) -> tuple[str, str]:
    """Digest of the source of all our backends, and the hardware class. A part of every cached answer's key.

    `root` is the folder that holds `proc` and `dev`. Imports no engine and asks no driver.
    """
    return _digest_sources(source), _hardware_class(root)


@lru_cache(maxsize=4)
def _digest_sources(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        digest.update(f"{file.relative_to(folder).as_posix()} {file.stat().st_size}\n".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _hardware_class(root: Path) -> str:
    """The models of the visible GPUs, or the processor's architecture. They round differently, visibly so in half precision."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None or visible.strip() not in ("", "-1"):
        models = [model for file in sorted(root.glob("proc/driver/nvidia/gpus/*/information")) if (model := _model_of(file))]
        if models:
            return _visible_models(models, visible)
        if (root / "dev/kfd").exists():
            return "AMD GPU"
    return platform.machine()


def _model_of(file: Path) -> str | None:
    for line in file.read_text("utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name == "Model":
            return value.strip()
    return None


def _visible_models(models: Sequence[str], visible: str | None) -> str:
    """The models that CUDA_VISIBLE_DEVICES selects. `models` is in bus order. If the selection is unclear: all models, and the variable."""
    distinct = ", ".join(sorted(set(models)))
    if visible is None:
        return distinct
    indices = [part.strip() for part in visible.split(",")]
    if all(index.isdecimal() and int(index) < len(models) for index in indices):
        if len(set(models)) == 1:
            return distinct
        # by default CUDA numbers GPUs by speed, which we do not know
        if os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID":
            return ", ".join(sorted({models[int(index)] for index in indices}))
    return f"{distinct} (CUDA_VISIBLE_DEVICES={visible})"
