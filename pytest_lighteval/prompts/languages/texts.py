"""How texts are put together to sentences: capitals, and marks at the end. Lighteval v0.9.2's rules, letter for letter.

Source: https://github.com/huggingface/lighteval/blob/v0.9.2/src/lighteval/tasks/templates/utils/formatting_utils.py
"""

from __future__ import annotations

import re
from functools import cache

from pytest_lighteval.prompts.languages.words import Words

_ENDS = (
    r"!\"'.?\u0589\u061d-\u061f\u06d4\u0700-\u0702\u07f9\u0837\u0839\u083d\u083e\u0964\u0965\u104a\u104b\u1362\u1367\u1368\u166e\u1735"
    r"\u1736\u179b\u17d4-\u17d6\u17d9\u17da\u1803\u1809\u1944\u1945\u1aa8-\u1aab\u1b5a\u1b5b\u1b5e\u1b5f\u1b7d\u1b7e\u1c3b\u1c3c\u1c7e"
    r"\u1c7f\u203c\u203d\u2047-\u2049\u2e2e\u2e3c\u2e53\u2e54\u3002\ua4ff\ua60e\ua60f\ua6f3\ua6f7\ua876\ua877\ua8ce\ua8cf\ua92f\ua9c8"
    r"\ua9c9\uaa5d-\uaa5f\uaaf0\uaaf1\uabeb\ufe52\ufe56\ufe57\uff01\uff0e\uff1f\uff61\U00010a56\U00010a57\U00010f55-\U00010f59"
    r"\U00010f86-\U00010f89\U00011047\U00011048\U000110be-\U000110c1\U00011141-\U00011143\U000111c5\U000111c6\U000111cd\U000111de"
    r"\U000111df\U00011238\U00011239\U0001123b\U0001123c\U000112a9\U0001144b\U0001144c\U000115c2\U000115c3\U000115c9-\U000115d7"
    r"\U00011641\U00011642\U0001173c-\U0001173e\U00011944\U00011946\U00011a42\U00011a43\U00011a9b\U00011a9c\U00011c41\U00011c42"
    r"\U00011ef7\U00011ef8\U00011f43\U00011f44\U00016a6e\U00016a6f\U00016af5\U00016b37\U00016b38\U00016b44\U00016e98\U0001bc9f\U0001da88"
)
"""What ends a sentence in some script (Unicode's property Sentence_Terminal, https://www.unicode.org/reports/tr44/), and quotes.

No comma, colon or semicolon of any script.
"""


def capitalize(text: str) -> str:
    """The first character in upper case, whatever it is; a space in front stays as it is, and so does the letter behind it."""
    return text[:1].upper() + text[1:]


def decapitalize(text: str) -> str:
    """The first character in lower case."""
    return text[:1].lower() + text[1:]


def with_ending(text: str, words: Words) -> str:
    """Without white space at the end, and with the language's own mark in place of a last ASCII `?`, `.`, `,` or `:`."""
    bare = text.rstrip()
    marks = {"?": words.question_mark, ".": words.full_stop, ",": words.comma, ":": words.colon}
    return bare[:-1] + marks[bare[-1]] if bare and bare[-1] in marks else bare


def without_ending(text: str, also: str = "") -> str:
    """Without the marks of the end of a sentence, and the characters `also`. Other white space behind a mark keeps it."""
    return _edges(also)[1].sub("", text)


def without_beginning(text: str, also: str = "") -> str:
    """Without such marks and characters in front."""
    return _edges(also)[0].sub("", text)


@cache
def _edges(also: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What is taken off in front and at the end."""
    marks = f"[{_ENDS}{re.escape(also)}]+"
    return re.compile(rf"\A{marks}"), re.compile(rf"{marks}\Z")


def ends_sentence(text: str, words: Words) -> bool:
    """Whether it ends in one of the language's marks after which a sentence begins; white space behind it does not count."""
    marks = (words.question_mark, words.full_stop, words.exclamation_mark, words.colon, words.semicolon)
    return text.rstrip().endswith(marks)


def continued(before: str, text: str, words: Words) -> str:
    """The text as it is written behind another: it begins with a capital after nothing, a new line or a whole sentence."""
    starts = not before or before.endswith("\n") or ends_sentence(before, words)
    return capitalize(text) if starts else decapitalize(text)


def space_after(text: str, words: Words) -> str:
    """What stands between the text and what goes on behind it."""
    return words.sentence_space if ends_sentence(text, words) else words.word_space
