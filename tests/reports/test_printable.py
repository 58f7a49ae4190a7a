"""Nothing in a text of others controls the terminal, or is a command to the CI that reads the log."""

from __future__ import annotations

import pytest

from pytest_lighteval.reports.printable import encodable, map_texts, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Grüße, 你好 \u200d\n\tend", "Grüße, 你好 \u200d\n\tend"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b31mred\x7f\x00", r"\x9b31mred\x7f\x00"),
        ("10%\r20%\r\ndone", "10%\n20%\ndone"),
        ("a\x0bb\x0cc\x85d\u2028e\u202ef\u2066g", r"a\x0bb\x0cc\x85d\u2028e\u202ef\u2066g"),
        ("\ud800 and \udcff", r"\ud800 and \udcff"),
        ("::set-output name=a::b", r"\::set-output name=a::b"),
        ("an error:\n  \u3000::add-mask::x\n:\u200b:stop", "an error:\n  \u3000\\::add-mask::x\n\\:\u200b:stop"),
        (
            "x ##[set-env name=A]b, ##vso[task.setvariable], ##teamcity[x]",
            r"x #\#[set-env name=A]b, #\#vso[task.setvariable], #\#teamcity[x]",
        ),
        ("a::b in the middle, #### 69, ## [x]", "a::b in the middle, #### 69, ## [x]"),
        ("\r::warning::x", "\n\\::warning::x"),
    ],
)
def test_a_text_is_shown_without_what_controls_a_reader(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


def test_colours_stay_where_they_are_asked_for_and_nothing_else() -> None:
    assert printable("\x1b[31mred\x1b[0m\x1b[2J", colours=True) == "\x1b[31mred\x1b[0m\\x1b[2J"
    assert printable("\x1b[31mred") == r"\x1b[31mred"
    assert printable("plain", colours=True) == "plain"


def test_every_text_of_a_value_is_changed_and_an_unchanged_value_is_the_same_object() -> None:
    value = {"a": ["b", ("c", 1, None)], 2: {"d\ud800": b"e"}}
    assert map_texts(value, encodable) == {"a": ["b", ("c", 1, None)], 2: {r"d\ud800": b"e"}}
    same = {"a": ["b", ("c", 1, None)], 2: {"d": 0.5}}
    assert map_texts(same, encodable) is same
