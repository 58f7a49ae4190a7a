"""Memory of the devices: whether an error says that it ran out, how much was in use, and how it is freed."""

from __future__ import annotations

import gc
import resource
import sys
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

_OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


class Attempt(Protocol):
    """Runs a batch: what `run` returns of the items, or None when memory ran out."""

    def __call__(self, run: Callable[[Sequence[Item]], Result], items: Sequence[Item], /) -> Result | None: ...


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on any device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY)


def unless_out_of_memory(run: Callable[[], Result]) -> Result | None:
    """What `run` returns, or None when memory ran out. What it held is freed then."""
    try:
        return run()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    # outside the handler: the exception's frames would keep the tensors alive
    free_memory()
    return None


def peak_memory(device: torch.device) -> int:
    """The most bytes that were in use so far: by torch on a GPU, by the whole process elsewhere."""
    if device.type == "cuda":
        return sum(torch.cuda.max_memory_allocated(number) for number in range(torch.cuda.device_count()))
    # in bytes on macOS, in kibibytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def free_memory() -> None:
    """Give unused memory back to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
