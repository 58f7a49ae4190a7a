"""The user's cache folder: digests of big files are kept in it, and folders are made in it once."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from pytest_lighteval.common.files import FileState, file_state, write_atomic
from pytest_lighteval.common.locks import locked
from pytest_lighteval.common.progress_log import PROGRESS

_RACY_NANOSECONDS = 2_000_000_000
"""A file changed so recently could change again within the same time stamp, so its digest is not kept (git does the same)."""


_LONG_BYTES = 1_000_000_000
"""Reading that much takes seconds."""


class _Digest(msgspec.Struct, forbid_unknown_fields=True):
    """A digest that was kept, and the state of its file."""

    file: FileState
    sha256: str


def cache_home() -> Path:
    """`$LIGHTEVAL_CACHE`, else `$XDG_CACHE_HOME/pytest-lighteval`, else `~/.cache/pytest-lighteval`. It need not exist."""
    if chosen := os.environ.get("LIGHTEVAL_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "pytest-lighteval"


def digest_file(path: Path) -> str:
    """SHA-256 of the file's content, in hex.

    The digest is kept with the file's state, so that weights are read once. A file that was replaced or rewritten is read again, even if
    its name and size are the same. Raises OSError.
    """
    real = path.resolve()
    state = file_state(real)
    note = cache_home() / "digests" / f"{hashlib.sha256(os.fsencode(real)).hexdigest()[:32]}.json"
    try:
        kept = msgspec.json.decode(note.read_bytes(), type=_Digest)
    except (OSError, msgspec.MsgspecError):
        kept = None
    if kept is not None and kept.file == state:
        return kept.sha256
    if state.size >= _LONG_BYTES:
        PROGRESS.info("%s: reading its %.1f GB for the model's fingerprint, once", real.name, state.size / 1e9)
    with real.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if file_state(real) == state and time.time_ns() - max(state.mtime_ns, state.ctime_ns) > _RACY_NANOSECONDS:
        # a cache that cannot be written only costs the next run this reading
        with contextlib.suppress(OSError):
            write_atomic(note, msgspec.json.encode(_Digest(file=state, sha256=digest)).decode())
    return digest


def made_once(folder: Path, make: Callable[[Path], None], *, proof: str = "config.json") -> Path:
    """The folder, filled by `make` unless an earlier process did that. `proof` is a file that `make` always writes.

    `make` fills a temporary folder, which gets the name afterwards: the folder is complete or absent, also if a process is killed.
    Processes that start together wait for the first one. Raises OSError, and what `make` raises.
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
