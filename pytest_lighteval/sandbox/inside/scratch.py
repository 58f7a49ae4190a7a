"""The one folder in which a program may write: its size, and how it becomes empty again, however deep and unreadable it was made."""

from __future__ import annotations

import errno
import os
import stat
import sys
from contextlib import suppress


def size(folder: str) -> int:
    """Bytes of the files below a folder; `sys.maxsize` if a program may write where nobody can look."""
    total, waiting = 0, [folder]
    while waiting:
        place = waiting.pop()
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    total += 4096 + entry.stat(follow_symlinks=False).st_blocks * 512
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG or (error.errno == errno.EACCES and _is_writable(place)):
                return sys.maxsize
    return total


def _is_writable(folder: str) -> bool:
    try:
        return bool(os.stat(folder, follow_symlinks=False).st_mode & stat.S_IWUSR)
    except OSError:
        return False


def empty(folder: str) -> None:
    """Remove whatever is in a folder. Raises OSError.

    One folder is open at a time, and none is named by its whole path: so no path is too long, and no stack too deep.
    """
    here = os.open(folder, _FOLDER)
    above: list[tuple[str, list[str]]] = []
    """For each folder on the way down its name, and what else is left beside it."""
    try:
        folders = _without_files(here)
        while folders or above:
            if folders:
                name = folders.pop()
                os.chmod(name, 0o700, dir_fd=here)
                here = _moved(here, name)
                above.append((name, folders))
                folders = _without_files(here)
            else:
                here = _moved(here, "..")
                name, folders = above.pop()
                os.rmdir(name, dir_fd=here)
    finally:
        os.close(here)


_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def _moved(here: int, name: str) -> int:
    there = os.open(name, _FOLDER, dir_fd=here)
    os.close(here)
    return there


def _without_files(here: int) -> list[str]:
    """Remove a folder's files and links. The names of the folders in it."""
    with os.scandir(here) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_folder in found:
        if not is_folder:
            os.unlink(name, dir_fd=here)
    return [name for name, is_folder in found if is_folder]


def remove(folder: str) -> None:
    """Remove a folder with whatever is in it, as far as that is possible."""
    with suppress(OSError):
        empty(folder)
        os.rmdir(folder)
