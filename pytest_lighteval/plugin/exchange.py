"""What one worker computes for all: the first that asks does it, the others wait, and it passes through the run's folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from pytest_lighteval.common.locks import locked
from pytest_lighteval.errors import BackendError
from pytest_lighteval.reports.details import details_path
from pytest_lighteval.types import TaskKey

FOLDER = ".exchange"
"""Below the folder that is given; gone when the run ends."""


def once(folder: Path, key: TaskKey, make: Callable[[], dict[str, Any]]) -> tuple[dict[str, Any], bool]:
    """What `make` gives for a task, once in a run; and whether it was made now. Plain values. Raises BackendError if nothing can be kept.

    The system takes the lock back from a process that dies, and the next one that asks makes it again.
    """
    path = details_path(folder / FOLDER, key).with_suffix(".msgpack")
    with _locked(path.with_suffix(".lock")):
        is_new = not path.exists()
        if is_new:
            content = msgspec.msgpack.encode(make())
            unfinished = path.with_suffix(".tmp")
            unfinished.write_bytes(content)
            unfinished.replace(path)
        plain: dict[str, Any] = msgspec.msgpack.decode(path.read_bytes())
    return plain, is_new


def forget(folder: Path) -> None:
    """Remove what passed between workers."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock on the file. Raises BackendError."""
    with ExitStack() as lock:
        try:
            lock.enter_context(locked(path))
        except OSError as error:
            raise BackendError(f"{error.filename or path}: what workers share cannot be kept: {error.strerror}") from error
        yield
