"""The folder in which programs write becomes empty, whatever they made of it."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_lighteval.sandbox.inside import scratch

_IN_MEMORY = Path("/dev/shm")


@pytest.fixture
def place() -> Iterator[Path]:
    """In memory where that is possible: deep folders are slow on some file systems."""
    with tempfile.TemporaryDirectory(dir=_IN_MEMORY if os.access(_IN_MEMORY, os.W_OK) else None) as folder:
        yield Path(folder)


def test_the_size_is_that_of_all_files_below(place: Path) -> None:
    (place / "one" / "two").mkdir(parents=True)
    (place / "one" / "two" / "file").write_bytes(b"x" * 100_000)

    assert 100_000 <= scratch.size(str(place)) < 200_000


def test_a_folder_deeper_than_a_stack_and_longer_than_a_path_is_emptied_and_links_are_not_followed(place: Path) -> None:
    outside = place / "outside"
    outside.write_text("kept")
    outside.chmod(0o600)
    folder = place / "scratch"
    folder.mkdir()
    (folder / "file").write_bytes(bytes(5000))
    (folder / "link").symlink_to(outside)
    here = os.open(folder, os.O_RDONLY)
    for depth in range(1100):
        os.mkdir("locked", 0, dir_fd=here) if depth % 100 == 0 else None
        os.mkdir("deeper", dir_fd=here)
        above, here = here, os.open("deeper", os.O_RDONLY, dir_fd=here)
        os.close(above)
    os.symlink(outside, "link", dir_fd=here)
    os.close(here)

    assert scratch.size(str(folder)) == sys.maxsize
    scratch.empty(str(folder))

    assert list(folder.iterdir()) == []
    assert scratch.size(str(folder)) == 0
    assert (outside.read_text(), outside.stat().st_mode & 0o777) == ("kept", 0o600)
