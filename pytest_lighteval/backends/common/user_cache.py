"""The user's cache folder: the digests of big files that are remembered in it, and folders that are made in it once."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from pytest_lighteval.common.files import write_atomic
from pytest_lighteval.common.locks import locked

_RACY_NANOSECONDS = 2_000_000_000
"""A file changed this recently could change again under the same time stamp, so its digest is not remembered (as git does it)."""


class _Remembered(msgspec.Struct, forbid_unknown_fields=True):
    """One remembered digest, and the state of the file that it belongs to."""

    path: str
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    sha256: str


def cache_home() -> Path:
    """`$LIGHTEVAL_CACHE`, else `$XDG_CACHE_HOME/pytest-lighteval`, else `~/.cache/pytest-lighteval`. It need not exist."""
    if chosen := os.environ.get("LIGHTEVAL_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "pytest-lighteval"


def digest_file(path: Path) -> str:
    """SHA-256 of the file's content, in hex.

    Remembered by (path, inode, size, mtime, ctime), so that weights are read once: a file that was replaced or rewritten is read again,
    also when its name and size are the same. A cache folder that cannot be written only costs the next run this reading. Raises OSError.
    """
    real = path.resolve()
    state = _state(real)
    note = cache_home() / "digests" / f"{hashlib.sha256(os.fsencode(real)).hexdigest()[:32]}.json"
    try:
        known = msgspec.json.decode(note.read_bytes(), type=_Remembered)
    except (OSError, msgspec.MsgspecError):
        known = None
    if known is not None and (known.path, known.inode, known.size, known.mtime_ns, known.ctime_ns) == (str(real), *state):
        return known.sha256
    with real.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if _state(real) == state and time.time_ns() - max(state[2:]) > _RACY_NANOSECONDS:
        inode, size, mtime_ns, ctime_ns = state
        entry = _Remembered(path=str(real), inode=inode, size=size, mtime_ns=mtime_ns, ctime_ns=ctime_ns, sha256=digest)
        try:
            write_atomic(note, msgspec.json.encode(entry).decode())
        except OSError:
            return digest
    return digest


def _state(path: Path) -> tuple[int, int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def made_once(folder: Path, make: Callable[[Path], None], *, proof: str = "config.json") -> Path:
    """The folder, filled by `make` unless an earlier process did that; `proof` is a file that `make` always writes.

    Complete or absent: `make` gets a temporary folder that takes its name when it returns, processes that start together wait for one
    another, and a killed one leaves nothing that is read. Raises OSError, and whatever `make` raises.
    """
    if (folder / proof).is_file():
        return folder
    with locked(folder.with_name(f"{folder.name}.lock")):
        if not (folder / proof).is_file():
            temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
            try:
                make(temporary)
                # mkdtemp makes private folders; the cache is as readable as its parent
                temporary.chmod(folder.parent.stat().st_mode)
                temporary.rename(folder)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    return folder
