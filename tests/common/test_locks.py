"""A lock is held by one at a time, and an error in its block releases it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pytest_lighteval.common.locks import locked


def test_a_second_holder_waits_for_the_first(tmp_path: Path) -> None:
    order: list[str] = []
    path = tmp_path / "folder" / "a.lock"

    def second() -> None:
        with locked(path):
            order.append("second")

    thread = threading.Thread(target=second)
    with locked(path):
        thread.start()
        thread.join(0.2)
        order.append("first")
    thread.join(10)

    assert order == ["first", "second"]


def test_an_error_releases_the_lock(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "a.lock"):
        raise ZeroDivisionError

    with locked(tmp_path / "a.lock"):
        pass


def test_a_lock_that_cannot_be_made_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(OSError, match="file"), locked(tmp_path / "file" / "a.lock"):
        pass
