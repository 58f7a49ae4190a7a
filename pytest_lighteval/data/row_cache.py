"""A cache of rows on disk, so that a later process reads them fast and without the libraries that read the originals.

Knows files and plain values. The caller says what identifies the rows.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from pytest_lighteval.common.files import write_bytes_atomic
from pytest_lighteval.types import Row

_FORMAT = 1
"""To be raised whenever the same rows may be written, read or filtered differently."""
_CHECKSUM_BYTES = 16
_TOUCH_SECONDS = 3600
_PLAIN = (str, int, float, bool, type(None), bytes)


class RowCache:
    """Numbered rows by their identity, in one folder. Above a limit of bytes, the rows used longest ago are removed.

    Only values that come back exactly as they were are kept: text, bytes, numbers, booleans, None, lists and mappings of them.
    If a file cannot be written or is damaged, the original is read again; nothing else is lost.
    """

    def __init__(self, folder: Path, *, limit_bytes: int) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes

    def load(self, identity: Sequence[Any]) -> list[tuple[int, Row]] | None:
        """The rows with this identity. None: they are not in the cache."""
        path = self._path(identity)
        try:
            content = path.read_bytes()
            age = time.time() - path.stat().st_mtime
        except OSError:
            return None
        body = memoryview(content)[_CHECKSUM_BYTES:]
        if content[:_CHECKSUM_BYTES] != _checksum(body):
            return None
        rows: list[tuple[int, Row]] = msgspec.msgpack.decode(body, type=list[tuple[int, dict[str, Any]]])
        if age > _TOUCH_SECONDS:
            _touch(path)
        return rows

    def save(self, identity: Sequence[Any], rows: Sequence[tuple[int, Row]]) -> None:
        """Keep the rows if they can come back as they are and there is room."""
        if not all(_is_plain(row) for _, row in rows):
            return
        try:
            body = msgspec.msgpack.encode(rows)
        except (UnicodeEncodeError, OverflowError):  # a lone surrogate; a number of more than 64 bits
            return
        if len(body) > self._limit_bytes:
            return
        path = self._path(identity)
        try:
            write_bytes_atomic(path, _checksum(body) + body)
            self._make_room(path)
        except OSError:
            return

    def _path(self, identity: Sequence[Any]) -> Path:
        digest = hashlib.sha256(repr((_FORMAT, *identity)).encode("utf-8", "backslashreplace")).hexdigest()
        return self._folder / f"{digest[:40]}.rows"

    def _make_room(self, newest: Path) -> None:
        """Remove the files used longest ago, but not the newest. Another process may do the same at the same time."""
        files = []
        for file in self._folder.glob("*.rows"):
            try:
                status = file.stat()
            except FileNotFoundError:
                continue
            files.append((status.st_mtime_ns, status.st_size, file))
        size = sum(size for _, size, _ in files)
        for _, freed, file in sorted(files):
            if size <= self._limit_bytes:
                break
            if file != newest:
                file.unlink(missing_ok=True)
                size -= freed


def _is_plain(value: Any) -> bool:
    """Whether the value comes back equal and of the same type. Values of subclasses do not."""
    if type(value) in _PLAIN:
        return True
    if type(value) is list:
        return all(map(_is_plain, value))
    return type(value) is dict and all(type(name) is str and _is_plain(member) for name, member in value.items())


def _checksum(body: bytes | memoryview) -> bytes:
    return hashlib.blake2b(body, digest_size=_CHECKSUM_BYTES).digest()


def _touch(path: Path) -> None:
    try:
        os.utime(path)
    except OSError:
        return
