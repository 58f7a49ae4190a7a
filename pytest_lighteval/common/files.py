"""Read text files, see whether a file has changed, and write files that are either complete or missing."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pytest_lighteval.errors import UserInputError


@dataclass(frozen=True, slots=True, kw_only=True)
class FileState:
    """One file as it is now. Any change of the file makes it unequal."""

    path: str
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    """Of the last change of content or name. It cannot be set back."""


def file_state(path: Path) -> FileState:
    """Raises OSError."""
    status = path.stat()
    return FileState(path=str(path), inode=status.st_ino, size=status.st_size, mtime_ns=status.st_mtime_ns, ctime_ns=status.st_ctime_ns)


def read_utf8(path: Path, *, shown: str) -> str:
    """A whole text file. Raises UserInputError, which names it as `shown`, if it is missing, unreadable or not UTF-8."""
    try:
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise UserInputError(f"{shown}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UserInputError(f"{shown}: not UTF-8 text: {error.reason} in line {line}") from error


@contextmanager
def atomic_writer(path: Path) -> Iterator[IO[str]]:
    """A UTF-8 text file that gets its name when the block ends, and is removed if the block raises.

    Creates a missing folder. Raises OSError (a full disk, no permission) and then leaves no file.
    """
    with _renamed_at_the_end(path) as descriptor, os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
        yield file


def write_atomic(path: Path, text: str) -> None:
    """Write a whole UTF-8 text file, or nothing. Raises OSError."""
    with atomic_writer(path) as file:
        file.write(text)


def write_bytes_atomic(path: Path, content: bytes) -> None:
    """Write a whole file, or nothing. Raises OSError."""
    with _renamed_at_the_end(path) as descriptor, os.fdopen(descriptor, "wb") as file:
        file.write(content)


@contextmanager
def _renamed_at_the_end(path: Path) -> Iterator[int]:
    """The descriptor of a temporary file in the folder of `path`, which the block closes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        # mkstemp makes private files; a report is as readable as any other file the user makes
        umask = os.umask(0)
        os.umask(umask)
        os.fchmod(descriptor, 0o666 & ~umask)
        yield descriptor
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
