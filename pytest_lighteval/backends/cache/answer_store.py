"""Answers by key in one SQLite file that many processes read and write at once. Knows bytes; knows nothing about requests or models."""

from __future__ import annotations

import contextlib
import hashlib
import queue
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_lighteval.common.locks import locked

_APPLICATION = 0x6C657631
"""The application id that SQLite stores in our files."""
_FORMAT = 1
"""Version of the tables. It is in the file's name too, so that releases with different versions use different files."""
_BUSY_SECONDS = 60.0
_KEYS_AT_ONCE = 500
_ROWS_EVICTED_AT_ONCE = 100
_CHECKSUM_BYTES = 8
_KEPT = 0.9
"""Share of the limit that stays after an eviction. The answers that were used longest ago go."""
_CHECKS_PER_LIMIT = 50
"""How many times the size is checked while as many bytes as the limit are written."""

_SCHEMA = """
CREATE TABLE answers (
    number INTEGER PRIMARY KEY AUTOINCREMENT, -- never given twice: what is newer has a higher one
    key BLOB NOT NULL,
    call BLOB NOT NULL,
    used INTEGER NOT NULL, -- hour of the last use
    value BLOB NOT NULL,
    UNIQUE (key, call)
);
CREATE INDEX by_use ON answers (used, number);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAnswer:
    """One answer as it was written."""

    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class _Write:
    key: bytes
    call: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class _Touch:
    """Answers that were used again."""

    numbers: tuple[int, ...]


class _Stop:
    """The last message to the writer."""


class AnswerStore:
    """Answers under `(key, call)`: the request, and all requests that were asked together with it.

    Only answers numbered up to `newest` are found. Default: those that are in the file when it is opened. So what one worker of a session
    writes cannot change what another worker computes. A damaged value is not found.

    Nothing here raises for a file that is corrupt, foreign, full, locked or not writable. Then `problem` says why in one line, and
    nothing is found or written from then on. Only the thread that opened the store may read. Another thread writes, and commits new
    answers as soon as the last commit is done. So a killed process loses only the answers of a moment.
    """

    def __init__(self, folder: Path, *, limit_bytes: int, newest: int | None = None) -> None:
        self.path = store_path(folder)
        self.problem: str | None = None
        """Why the store is not used any more, in one line. None: it works."""
        self._limit_bytes = limit_bytes
        self._newest = newest
        self._reader: sqlite3.Connection | None = None
        self._queue: queue.Queue[_Write | _Touch | type[_Stop]] = queue.Queue()
        self._writer: threading.Thread | None = None
        with self._giving_up_on_failure():
            self._reader = _open(self.path)
            if newest is None:
                self._newest = _newest(self._reader)

    def find(self, keys: Sequence[bytes], call: bytes, *, any_call: bool = False) -> Iterator[StoredAnswer]:
        """The stored answers of these keys and this call, in no order, each once.

        `any_call`: if there is none of this call, one of another call will do.
        """
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            chosen: dict[bytes, tuple[int, bytes, bytes, int]] = {}
            with self._giving_up_on_failure():
                # among other calls the smallest: that does not depend on which was written first
                for number, key, other, used, value in self._rows(keys[start : start + _KEYS_AT_ONCE]):
                    if other != call and not any_call:
                        continue
                    if key not in chosen or other == call or (chosen[key][1] != call and other < chosen[key][1]):
                        chosen[key] = (number, other, value, used)
            whole = {key: found for key, found in chosen.items() if _checksum(key, found[2]) == found[2][:_CHECKSUM_BYTES]}
            hour = _hour()
            if unused := tuple(number for number, _, _, used in whole.values() if used < hour):
                self._send(_Touch(unused))
            for key, (_, _, value, _) in whole.items():
                yield StoredAnswer(key=key, value=value[_CHECKSUM_BYTES:])

    def write(self, key: bytes, call: bytes, value: bytes) -> None:
        """Store an answer, in place of one under the same key and call. Returns at once."""
        self._send(_Write(key, call, _checksum(key, b"\0" * _CHECKSUM_BYTES + value) + value))

    def flush(self) -> None:
        """Wait until everything is in the file."""
        if self._writer is not None:
            self._queue.join()

    def close(self) -> None:
        """Store what was written and close the file. Afterwards nothing is found or stored. May be called twice."""
        if self._writer is not None:
            self._queue.put(_Stop)
            self._writer.join()
            self._writer = None
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _rows(self, keys: Sequence[bytes]) -> list[tuple[int, bytes, bytes, int, bytes]]:
        if self._reader is None or self.problem is not None:
            return []
        marks = ",".join("?" * len(keys))
        query = f"SELECT number, key, call, used, value FROM answers WHERE key IN ({marks}) AND number <= ?"
        return self._reader.execute(query, (*keys, self._newest)).fetchall()

    def _send(self, message: _Write | _Touch) -> None:
        if self._reader is None or self.problem is not None:
            return
        if self._writer is None:
            self._writer = threading.Thread(target=self._keep_writing, name="lighteval-cache", daemon=True)
            self._writer.start()
        self._queue.put(message)

    def _keep_writing(self) -> None:
        """What the writer thread does: take all messages that are there, commit them together, wait for more."""
        connection: sqlite3.Connection | None = None
        unchecked = self._limit_bytes
        stopping = False
        while not stopping:
            messages = [self._queue.get()]
            with contextlib.suppress(queue.Empty):
                while True:
                    messages.append(self._queue.get_nowait())
            stopping = _Stop in messages
            try:
                with self._giving_up_on_failure():
                    if self.problem is None:
                        connection = connection or _open(self.path)
                        unchecked += _commit(connection, messages)
                        if unchecked >= self._limit_bytes // _CHECKS_PER_LIMIT:
                            _evict(connection, self._limit_bytes)
                            unchecked = 0
            except Exception as error:
                # any error: without this thread, `flush` would wait forever
                self._give_up(f"{type(error).__name__}: {error}")
            finally:
                for _ in messages:
                    self._queue.task_done()
        if connection is not None:
            connection.close()

    @contextlib.contextmanager
    def _giving_up_on_failure(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            self._give_up(str(getattr(error, "strerror", None) or error))

    def _give_up(self, reason: str) -> None:
        self.problem = self.problem or f"{self.path}: {' '.join(reason.split())}"


def store_path(folder: Path) -> Path:
    """The file of answers in a cache folder."""
    return folder / f"answers-{_FORMAT}.sqlite3"


def newest_number(folder: Path) -> int:
    """The number of the newest answer in a cache folder. 0: there is none, or the file cannot be read. Creates no file."""
    path = store_path(folder)
    if not path.is_file():
        return 0
    try:
        with contextlib.closing(_open(path)) as connection:
            return _newest(connection)
    except (sqlite3.Error, OSError):
        return 0


def _open(path: Path) -> sqlite3.Connection:
    """A connection to the file, which is created if it is missing. Raises OSError, and sqlite3.Error for a file that is not ours."""
    # the change to WAL does not wait for locks, so processes that start together do it one after the other
    with locked(path.with_suffix(".lock")):
        connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            _prepare(connection)
        except BaseException:
            connection.close()
            raise
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables == 0:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    else:
        (application,), (version,) = (connection.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version"))
        if (application, version) != (_APPLICATION, _FORMAT):
            raise sqlite3.DatabaseError("not a cache of this version; delete the file, or name another folder with --cache-dir")
    connection.execute("PRAGMA journal_mode = WAL")
    # a commit survives the death of the process; a power failure may lose the last commits, never the file
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA journal_size_limit = {16 * 2**20}")
    if tables == 0:
        connection.executescript(
            f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {_FORMAT}; COMMIT;"
        )


def _newest(connection: sqlite3.Connection) -> int:
    found = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'answers'").fetchone()
    return 0 if found is None else int(found[0])


def _commit(connection: sqlite3.Connection, messages: Sequence[_Write | _Touch | type[_Stop]]) -> int:
    """Write all messages in one transaction. Returns how many bytes of answers they held."""
    hour, size = _hour(), 0
    connection.execute("BEGIN IMMEDIATE")
    try:
        for message in messages:
            if isinstance(message, _Write):
                connection.execute(
                    "INSERT INTO answers (key, call, used, value) VALUES (?, ?, ?, ?)"
                    " ON CONFLICT (key, call) DO UPDATE SET used = excluded.used, value = excluded.value",
                    (message.key, message.call, hour, message.value),
                )
                size += len(message.value)
            elif isinstance(message, _Touch):
                connection.executemany("UPDATE answers SET used = ? WHERE number = ?", [(hour, number) for number in message.numbers])
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return size


def _evict(connection: sqlite3.Connection, limit_bytes: int) -> None:
    """Above the limit, delete what was used longest ago, a few rows at a time: other processes read and write in between."""
    if _size(connection) <= limit_bytes:
        return
    while _size(connection) > limit_bytes * _KEPT:
        deleted = connection.execute(
            "DELETE FROM answers WHERE number IN (SELECT number FROM answers ORDER BY used, number LIMIT ?)", (_ROWS_EVICTED_AT_ONCE,)
        ).rowcount
        if deleted < 1:
            break
    connection.executescript("PRAGMA incremental_vacuum")  # `execute` would free one page only
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def _size(connection: sqlite3.Connection) -> int:
    """Bytes in use. Free pages are used again before the file grows."""
    pages, free, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size"))
    return int((pages - free) * size)


def _checksum(key: bytes, value: bytes) -> bytes:
    """The checksum of a stored value: of all bytes after the checksum itself."""
    return hashlib.blake2b(value[_CHECKSUM_BYTES:], digest_size=_CHECKSUM_BYTES, key=key).digest()


def _hour() -> int:
    return int(time.time() // 3600)
