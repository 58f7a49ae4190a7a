"""The device that a model runs on. Imports torch, and nothing of transformers: it is asked before anything is loaded."""

from __future__ import annotations

import torch

from pytest_lighteval.errors import BackendError


def choose_device(asked: str | None) -> torch.device:
    """The device that was asked for. None was: the first GPU, or the CPU if there is no GPU. Raises BackendError for a missing device."""
    if asked is None:
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(asked)
    if device.type == "cpu":
        return device
    module = getattr(torch, device.type, None)
    count = module.device_count() if module is not None and module.is_available() else 0
    if count == 0:
        build = (
            f"this torch ({torch.__version__}) is built without CUDA"
            if device.type == "cuda" and not torch.version.cuda
            else "none is visible"
        )
        raise BackendError(f"device={asked}: there is no such device: {build}")
    if (device.index or 0) >= count:
        raise BackendError(f"device={asked}: there is no such device: the {count} visible are {device.type}:0 to {device.type}:{count - 1}")
    return device
