"""The folder in which programs write becomes empty, whatever they made of it."""

from __future__ import annotations

import os
from pathlib import Path

from pytest_lighteval.sandbox.inside import scratch


def test_a_folder_deeper_than_a_stack_and_longer_than_a_path_is_emptied_and_links_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("kept")
    outside.chmod(0o600)
    folder = tmp_path / "scratch"
    folder.mkdir()
    (folder / "file").write_bytes(bytes(5000))
    (folder / "link").symlink_to(outside)
    place = os.open(folder, os.O_RDONLY)
    for depth in range(1100):
        os.mkdir("locked", 0, dir_fd=place) if depth % 100 == 0 else None
        os.mkdir("deeper", dir_fd=place)
        above, place = place, os.open("deeper", os.O_RDONLY, dir_fd=place)
        os.close(above)
    os.symlink(outside, "link", dir_fd=place)
    os.close(place)

    assert scratch.size(str(folder)) > 1100 * 4096
    scratch.empty(str(folder))

    assert list(folder.iterdir()) == []
    assert (outside.read_text(), outside.stat().st_mode & 0o777) == ("kept", 0o600)
