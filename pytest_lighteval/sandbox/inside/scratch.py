"""The one folder in which a program may write: its size, and how it becomes empty again, however deep and unreadable it was made."""

from __future__ import annotations

import os
from contextlib import suppress


def size(folder: str) -> int:
    """Bytes of the files below a folder."""
    total, waiting = 0, [folder]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    total += 4096 + entry.stat(follow_symlinks=False).st_blocks * 512
        except OSError:
            continue
    return total


def empty(folder: str) -> None:
    """Remove whatever is in a folder. Raises OSError.

    Folders within folders are lifted first, so that no path gets too long, and no stack too deep.
    """
    while entries := _entries(folder):
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
                continue
            os.chmod(entry.path, 0o700)
            for inner in _entries(entry.path):
                if inner.is_dir(follow_symlinks=False):
                    os.chmod(inner.path, 0o700)  # only what may be written can be moved
                    os.rename(inner.path, os.path.join(folder, os.urandom(8).hex()))
                else:
                    os.unlink(inner.path)
            os.rmdir(entry.path)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return list(entries)


def remove(folder: str) -> None:
    """Remove a folder with whatever is in it, as far as that is possible."""
    with suppress(OSError):
        empty(folder)
        os.rmdir(folder)
