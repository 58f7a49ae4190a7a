"""What errors of other libraries become in this package's messages."""

from __future__ import annotations

import pytest

from pytest_lighteval.errors import first_line, in_one_line


@pytest.mark.parametrize(
    ("text", "first", "whole"),
    [
        ("one line", "one line", "one line"),
        ("\n  first \n\nsecond\tline\n", "first", "first second line"),
        ("", "ValueError", "ValueError"),
        (" \n ", "ValueError", "ValueError"),
    ],
    ids=["one line", "several lines", "empty", "blank"],
)
def test_an_error_is_one_line_and_an_error_without_text_is_its_type(text: str, first: str, whole: str) -> None:
    error = ValueError(text)

    assert (first_line(error), in_one_line(error)) == (first, whole)
