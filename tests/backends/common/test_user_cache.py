"""Digests of files, and when they are read again."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from pytest_lighteval.backends.common.user_cache import cache_home, digest_file

LONG_AGO = 1_000_000_000_000_000_000


def old_file(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    os.utime(path, ns=(LONG_AGO, LONG_AGO))
    return path


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LIGHTEVAL_CACHE", str(tmp_path / "mine"))
    assert cache_home() == tmp_path / "mine"
    monkeypatch.delenv("LIGHTEVAL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_home() == tmp_path / "xdg" / "pytest-lighteval"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_home() == tmp_path / ".cache" / "pytest-lighteval"


def test_a_digest_is_the_sha256_of_the_content(tmp_path: Path) -> None:
    assert digest_file(old_file(tmp_path / "weights", b"abc")) == hashlib.sha256(b"abc").hexdigest()


def test_a_file_of_the_same_name_and_size_with_other_content_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    first = digest_file(old_file(path, b"abc"))
    path.write_bytes(b"xyz")

    assert digest_file(path) != first
    # even where its time stamp was set back, since the time of the change of status cannot be
    os.utime(path, ns=(LONG_AGO, LONG_AGO))
    assert digest_file(path) == hashlib.sha256(b"xyz").hexdigest()


def test_an_unchanged_file_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = old_file(tmp_path / "weights", b"abc")
    # two seconds on, when no write can share the time stamp any more
    monkeypatch.setattr("time.time_ns", lambda: path.stat().st_ctime_ns + 3_000_000_000)
    first = digest_file(path)
    monkeypatch.setattr(hashlib, "file_digest", lambda *arguments: pytest.fail("read again"))

    assert digest_file(path) == first


def test_a_cache_that_cannot_be_written_or_read_costs_only_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a file").write_text("in the way")
    monkeypatch.setenv("LIGHTEVAL_CACHE", str(tmp_path / "a file"))
    path = old_file(tmp_path / "weights", b"abc")
    monkeypatch.setattr("time.time_ns", lambda: path.stat().st_ctime_ns + 3_000_000_000)

    assert digest_file(path) == digest_file(path) == hashlib.sha256(b"abc").hexdigest()
