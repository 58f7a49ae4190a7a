"""The store: what was written is found by later sessions, by many processes, after a kill, and never in a damaged state."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_lighteval.backends.cache import answer_store
from pytest_lighteval.backends.cache.answer_store import AnswerStore, newest_number, store_path

LIMIT = 10**8
CALL, OTHER, LATER = b"call-one", b"call-two", b"call-zzz"


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


@contextmanager
def opened(folder: Path, *, limit_bytes: int = LIMIT, newest: int | None = None) -> Iterator[AnswerStore]:
    store = AnswerStore(folder, limit_bytes=limit_bytes, newest=newest)
    yield store
    store.close()


def write(folder: Path, answers: dict[int, bytes], call: bytes = CALL, *, limit_bytes: int = LIMIT) -> None:
    with opened(folder, limit_bytes=limit_bytes) as store:
        for number, value in answers.items():
            store.write(key(number), call, value)
    assert store.problem is None


def read(folder: Path, *numbers: int, call: bytes = CALL, any_call: bool = False) -> dict[int, bytes]:
    with opened(folder) as store:
        answers = store.find([key(number) for number in numbers], call, any_call=any_call)
        found = {int.from_bytes(answer.key, "big"): answer.value for answer in answers}
    assert store.problem is None
    return found


def set_use(folder: Path, hours: dict[int, int]) -> None:
    with sqlite3.connect(store_path(folder)) as connection:
        connection.executemany("UPDATE answers SET used = ? WHERE key = ?", [(hour, key(number)) for number, hour in hours.items()])
    connection.close()


def uses(folder: Path) -> dict[int, int]:
    connection = sqlite3.connect(store_path(folder))
    found = {int.from_bytes(name, "big"): used for name, used in connection.execute("SELECT key, used FROM answers")}
    connection.close()
    return found


def test_what_was_written_is_found_by_the_next_session(tmp_path: Path) -> None:
    write(tmp_path, {number: bytes([number % 256]) * 10 for number in range(1_200)})

    assert read(tmp_path, *range(1_300)) == {number: bytes([number % 256]) * 10 for number in range(1_200)}


def test_a_session_does_not_find_what_was_written_since_it_began(tmp_path: Path) -> None:
    write(tmp_path, {1: b"before"})
    with opened(tmp_path) as session:
        write(tmp_path, {2: b"by another"})
        session.write(key(3), CALL, b"by itself")
        session.flush()

        assert [answer.value for answer in session.find([key(1), key(2), key(3)], CALL)] == [b"before"]


def test_workers_find_answers_up_to_the_number_that_their_controller_gives(tmp_path: Path) -> None:
    assert newest_number(tmp_path) == 0
    assert not list(tmp_path.iterdir())
    write(tmp_path, {1: b"before"})
    newest = newest_number(tmp_path)
    write(tmp_path, {2: b"by the first worker"})

    with opened(tmp_path, newest=newest) as second_worker:
        assert [answer.value for answer in second_worker.find([key(1), key(2)], CALL)] == [b"before"]


def test_the_answer_of_the_same_call_comes_before_those_of_others(tmp_path: Path) -> None:
    write(tmp_path, {1: b"later"}, LATER)
    write(tmp_path, {1: b"one"}, CALL)
    write(tmp_path, {1: b"two"}, OTHER)

    assert read(tmp_path, 1, call=OTHER) == {1: b"two"}
    assert read(tmp_path, 1, call=LATER) == {1: b"later"}
    assert read(tmp_path, 1, call=b"unknown!") == {}
    # among other calls the smallest, not the first that was written
    assert read(tmp_path, 1, call=b"unknown!", any_call=True) == {1: b"one"}


def test_an_answer_replaces_the_one_of_the_same_call(tmp_path: Path) -> None:
    write(tmp_path, {1: b"old"})
    write(tmp_path, {1: b"new"})

    assert read(tmp_path, 1) == {1: b"new"}


def test_a_value_that_was_changed_on_disk_is_not_found(tmp_path: Path) -> None:
    write(tmp_path, {1: b"right", 2: b"right"})
    with sqlite3.connect(store_path(tmp_path)) as connection:
        (value,) = connection.execute("SELECT value FROM answers WHERE key = ?", (key(1),)).fetchone()
        connection.execute("UPDATE answers SET value = ? WHERE key = ?", (value[:-5] + b"wrong", key(1)))
    connection.close()

    assert read(tmp_path, 1, 2) == {2: b"right"}


def fill(folder: Path, first: int, count: int) -> None:
    write(folder, {number: b"%d" % number for number in range(first, first + count)})


def test_many_processes_write_at_once_into_a_file_that_none_has_made(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    # neighbours share half of their keys
    processes = [context.Process(target=fill, args=(tmp_path, worker * 50, 100)) for worker in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    assert [process.exitcode for process in processes] == [0] * 4
    assert read(tmp_path, *range(250)) == {number: b"%d" % number for number in range(250)}


def write_and_wait(folder: Path) -> None:
    store = AnswerStore(folder, limit_bytes=LIMIT)
    for number in range(100):
        store.write(key(number), CALL, b"kept")
    store.flush()
    (folder / "flushed").touch()
    time.sleep(600)


def test_what_was_flushed_outlives_a_killed_process(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=write_and_wait, args=(tmp_path,))
    process.start()
    while not (tmp_path / "flushed").exists():
        assert process.is_alive()
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()

    assert read(tmp_path, *range(100)) == dict.fromkeys(range(100), b"kept")


def test_above_the_limit_what_was_used_longest_ago_goes_while_others_read_on(tmp_path: Path) -> None:
    write(tmp_path, {number: bytes(2_000) for number in range(1_000)})
    set_use(tmp_path, {number: number for number in range(1_000)})
    with opened(tmp_path) as reader:
        (first,) = reader.find([key(999)], CALL)

        write(tmp_path, {2_000: b"new"}, limit_bytes=1_000_000)

        assert first.value == bytes(2_000)
        assert reader.problem is None
    kept = sorted(uses(tmp_path))
    assert 200 < len(kept) < 500
    assert kept == [*range(1_001 - len(kept), 1_000), 2_000]
    assert store_path(tmp_path).stat().st_size < 1_100_000


def test_finding_an_answer_counts_as_a_use_at_most_once_an_hour(tmp_path: Path) -> None:
    write(tmp_path, {1: b"found", 2: b"left alone"})
    set_use(tmp_path, {1: 5, 2: 5})

    read(tmp_path, 1)

    assert uses(tmp_path)[2] == 5
    assert uses(tmp_path)[1] > 400_000


def unreadable(folder: Path) -> None:
    store_path(folder).write_bytes(b"This is no database, but a text that is long enough to be taken for the header of one." * 20)


def foreign(folder: Path) -> None:
    with sqlite3.connect(store_path(folder)) as connection:
        connection.execute("CREATE TABLE answers (question, answer)")
    connection.close()


def of_another_version(folder: Path) -> None:
    write(folder, {1: b"old"})
    with sqlite3.connect(store_path(folder)) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


def in_the_way(folder: Path) -> None:
    store_path(folder).mkdir()


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        pytest.param(unreadable, "file is not a database", id="corrupt"),
        pytest.param(foreign, "not a cache of this version; delete the file, or name another folder with --cache-dir", id="foreign"),
        pytest.param(of_another_version, "not a cache of this version", id="version"),
        pytest.param(in_the_way, "unable to open database file", id="folder"),
    ],
)
def test_a_file_that_cannot_serve_is_one_line_and_nothing_is_found_or_kept(tmp_path: Path, spoil: object, problem: str) -> None:
    assert callable(spoil)
    spoil(tmp_path)

    with opened(tmp_path) as store:
        store.write(key(1), CALL, b"value")
        store.flush()
        assert list(store.find([key(1)], CALL)) == []

    assert store.problem is not None
    assert store.problem.startswith(f"{store_path(tmp_path)}: {problem}")
    assert "\n" not in store.problem
    assert newest_number(tmp_path) == 0


def test_a_file_that_is_damaged_in_the_middle_of_a_session_ends_its_use(tmp_path: Path) -> None:
    write(tmp_path, {number: bytes(3_000) for number in range(200)})
    path = store_path(tmp_path)
    content = bytearray(path.read_bytes())
    with opened(tmp_path) as store:
        content[4096:] = b"\xa5" * (len(content) - 4096)
        path.write_bytes(content)

        assert list(store.find([key(number) for number in range(200)], CALL)) == []
        assert store.problem is not None
        assert store.problem.startswith(f"{path}: database disk image is malformed")


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with opened(tmp_path / "file" / "cache") as store:
        assert store.problem == f"{tmp_path / 'file' / 'cache' / 'answers-1.sqlite3'}: Not a directory"


def test_any_error_in_writing_is_one_line_and_nothing_waits_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> int:
        raise MemoryError("no room\nfor a page")

    monkeypatch.setattr(answer_store, "_commit", refuse)
    with opened(tmp_path) as store:
        store.write(key(1), CALL, b"value")
        store.flush()

        assert store.problem == f"{store_path(tmp_path)}: MemoryError: no room for a page"
        # from then on nothing is kept, and nothing waits
        store.write(key(2), CALL, b"value")
        store.flush()
