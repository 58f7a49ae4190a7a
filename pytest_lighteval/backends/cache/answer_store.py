"""Answers by key in one SQLite file that many processes read and write at once. Knows bytes; knows nothing of requests or models."""

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
"""SQLite's application id of our files."""
_FORMAT = 1
"""Version of the tables. It is a part of the file's name too, so that releases which differ in it do not fight over one file."""
_BUSY_SECONDS = 60.0
_KEYS_AT_ONCE = 500
_ROWS_EVICTED_AT_ONCE = 100
_CHECKSUM_BYTES = 8
_KEPT = 0.9
"""Share of the limit that is kept once the limit is reached: the answers used longest ago go."""
_CHECKS_PER_LIMIT = 50
"""How many times the size is looked at while the whole limit is written."""

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
    """The last thing that the writer is told."""


class AnswerStore:
    """Answers under `(key, call)`: what was asked, and what was asked together with it.

    Only answers numbered up to `newest` are found: by default those that were there when it was opened. So what one worker of a session
    writes cannot change what another one computes, whichever is first. A value that is not what was written is not found.

    Nothing here raises for a file that is corrupt, foreign, full, locked or not writable: `problem` then says why in one line, and from
    then on nothing is found and nothing is kept. Reading belongs to the thread that opened it; a thread of its own writes, and commits
    what has come in as soon as the last commit is done, so that a process that is killed loses a moment's answers.
    """

    def __init__(self, folder: Path, *, limit_bytes: int, newest: int | None = None) -> None:
        self.path = store_path(folder)
        self.problem: str | None = None
        self._limit_bytes = limit_bytes
        self._newest = newest
        self._reader: sqlite3.Connection | None = None
        self._queue: queue.Queue[_Write | _Touch | type[_Stop]] = queue.Queue()
        self._writer: threading.Thread | None = None
        with self._giving_up_on_failure():
            self._reader = _open(self.path)
            if newest is None:
                self._newest = _newest(self._reader)

    def find(self, keys: Sequence[bytes], call: bytes) -> Iterator[StoredAnswer]:
        """What is stored of the keys, in no order, each once; an answer of the same call before those of others."""
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            chosen: dict[bytes, tuple[int, bytes, bytes, int]] = {}
            with self._giving_up_on_failure():
                # of several other calls the smallest, which does not depend on who wrote first
                for number, key, other, used, value in self._rows(keys[start : start + _KEYS_AT_ONCE]):
                    if key not in chosen or other == call or (chosen[key][1] != call and other < chosen[key][1]):
                        chosen[key] = (number, other, value, used)
            whole = {key: found for key, found in chosen.items() if _checksum(key, found[2]) == found[2][:_CHECKSUM_BYTES]}
            hour = _hour()
            if stale := tuple(number for number, _, _, used in whole.values() if used < hour):
                self._send(_Touch(stale))
            for key, (_, _, value, _) in whole.items():
                yield StoredAnswer(key=key, value=value[_CHECKSUM_BYTES:])

    def write(self, key: bytes, call: bytes, value: bytes) -> None:
        """Keep an answer, in place of one under the same key and call. Returns at once."""
        self._send(_Write(key, call, _checksum(key, b"\0" * _CHECKSUM_BYTES + value) + value))

    def flush(self) -> None:
        """Wait until all that was written is kept."""
        if self._writer is not None:
            self._queue.join()

    def close(self) -> None:
        """Keep what was written and let go of the file. Nothing is found or kept afterwards; may be called twice."""
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
        question = f"SELECT number, key, call, used, value FROM answers WHERE key IN ({marks}) AND number <= ?"
        return self._reader.execute(question, (*keys, self._newest)).fetchall()

    def _send(self, message: _Write | _Touch) -> None:
        if self._reader is None or self.problem is not None:
            return
        if self._writer is None:
            self._writer = threading.Thread(target=self._keep_writing, name="lighteval-cache", daemon=True)
            self._writer.start()
        self._queue.put(message)

    def _keep_writing(self) -> None:
        """The writer's whole life: take all that has come in, commit it at once, wait for more."""
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
                # whatever it is: with this thread gone, everybody who waits for what was written would wait for ever
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
    """The number of the newest answer in a cache folder. 0: there is none, or the file cannot be read. Makes no file."""
    path = store_path(folder)
    if not path.is_file():
        return 0
    try:
        with contextlib.closing(_open(path)) as connection:
            return _newest(connection)
    except (sqlite3.Error, OSError):
        return 0


def _open(path: Path) -> sqlite3.Connection:
    """A connection to the file, which is made if need be. Raises sqlite3.Error for a file that is not ours, and OSError."""
    # the change to WAL waits for nobody, so processes that start together do it one after the other
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
    # a commit survives the death of the process; losing the machine's power may lose the last ones, never the file
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
    """Keep all of it in one transaction; returns how many bytes that were."""
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
    """Above the limit, delete what was used longest ago, a little at a time: others read and write in between."""
    if _size(connection) <= limit_bytes:
        return
    while _size(connection) > limit_bytes * _KEPT:
        deleted = connection.execute(
            "DELETE FROM answers WHERE number IN (SELECT number FROM answers ORDER BY used, number LIMIT ?)", (_ROWS_EVICTED_AT_ONCE,)
        ).rowcount
        if deleted < 1:
            break
    connection.executescript("PRAGMA incremental_vacuum")  # `execute` would give back one page
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def _size(connection: sqlite3.Connection) -> int:
    """Bytes in use; pages that are free are used again before the file grows."""
    pages, free, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size"))
    return int((pages - free) * size)


def _checksum(key: bytes, value: bytes) -> bytes:
    """Of what follows the checksum's own bytes in a stored value."""
    return hashlib.blake2b(value[_CHECKSUM_BYTES:], digest_size=_CHECKSUM_BYTES, key=key).digest()


def _hour() -> int:
    return int(time.time() // 3600)
