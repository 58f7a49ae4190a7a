"""No two names have one file, and plain names are words that people read."""

from __future__ import annotations

import itertools

from pytest_lighteval.common.file_names import file_name, folder_of_test


def test_no_two_names_have_one_file_name() -> None:
    names = ["".join(letters) for length in range(1, 5) for letters in itertools.product("a.:_%/ é", repeat=length)]

    assert len({file_name(name) for name in names}) == len(names)
    assert not {".", ".."} & {file_name(name) for name in names}
    assert not any(file_name(name).startswith(".") or "/" in file_name(name) for name in names)


def test_no_two_tests_have_one_folder() -> None:
    ids = ["t/a.py::b", "t/a.py::b[c]", "t/a.py::b[c-d]", "t/a.py::b[c/d]", "t/a.py::b[c d]", "t-a.py::b", "../t/a.py::b", "./t/a.py::b"]
    folders = [folder_of_test(node_id) for node_id in [*ids, "t/a.py::b[" + "x" * 300 + "]", "t/a.py::b[" + "x" * 301 + "]"]]

    assert folders[:2] == ["t-a.py-b", "t-a.py-b-c"]
    assert folders[2] == "t-a.py-b-c-d-c536aaff"
    assert len(set(folders)) == len(folders)
    assert max(map(len, folders)) < 200
