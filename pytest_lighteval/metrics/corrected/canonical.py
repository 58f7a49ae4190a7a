"""One way of writing what Unicode can write in several: the first step of every sound comparison."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

_SPELLINGS = {
    **dict.fromkeys("\N{MINUS SIGN}\N{HYPHEN}\N{NON-BREAKING HYPHEN}\N{FIGURE DASH}\N{EN DASH}\N{EM DASH}\N{SMALL HYPHEN-MINUS}", "-"),
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u00b4`", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb", '"'),
    "\N{ARABIC DECIMAL SEPARATOR}": ".",
    "\N{ARABIC THOUSANDS SEPARATOR}": ",",
    "\N{ARABIC COMMA}": ",",
    "\N{IDEOGRAPHIC FULL STOP}": ".",
    "\N{DEVANAGARI DANDA}": ".",
    "\N{IDEOGRAPHIC COMMA}": ",",
}
_INVISIBLE = "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
_LINE_ENDS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"


def canonical(text: str) -> str:
    """The text in NFC, with ASCII digits, ASCII quotes, hyphens and full stops, letters of usual width, and no invisible marks.

    Every white space that does not end a line is a space. Superscripts and fractions stay: "10²" is not "102".
    """
    if text.isascii():
        return text.replace("\t", " ").replace("`", "'")
    return "".join(map(_spelled, unicodedata.normalize("NFC", text)))


@lru_cache(maxsize=4096)
def _spelled(letter: str) -> str:
    if letter in _SPELLINGS:
        return _SPELLINGS[letter]
    if letter in _INVISIBLE:
        return ""
    if letter in _LINE_ENDS:
        return letter
    if letter.isspace():
        return " "
    if letter.isdecimal():
        return str(unicodedata.decimal(letter))
    width, _, usual = unicodedata.decomposition(letter).partition(" ")
    return chr(int(usual, 16)) if width in ("<wide>", "<narrow>") else letter
