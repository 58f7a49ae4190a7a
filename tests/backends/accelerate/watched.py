"""Watch the forward passes of a model, or let memory run out in one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def watched(model: Any, watch: Callable[[dict[str, Any]], object]) -> Iterator[None]:
    """Call `watch` with the arguments of each forward pass, before the pass. What it raises, the model raises."""
    whole = model.forward

    @functools.wraps(whole)
    def forward(*args: Any, **kwargs: Any) -> Any:
        watch(kwargs)
        return whole(*args, **kwargs)

    model.forward = forward
    try:
        yield
    finally:
        model.forward = whole


def run_out_of_memory() -> None:
    """Raise what torch raises on a GPU that is full."""
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
