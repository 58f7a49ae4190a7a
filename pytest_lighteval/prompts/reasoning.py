"""Remove a reasoning model's thoughts from a text before it is scored."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_lighteval.errors import UserInputError

ReasoningTags = tuple[tuple[str, str], ...]
"""Pairs of opening and closing tag."""

DEFAULT_TAGS: ReasoningTags = (("<think>", "</think>"),)


def parse_tags(text: str) -> ReasoningTags:
    """`<think>:</think>,[THINK]:[/THINK]` as pairs. Raises UserInputError."""
    pairs = []
    for part in text.split(","):
        opening, colon, closing = (piece.strip() for piece in part.partition(":"))
        if not (opening and colon and closing):
            raise UserInputError(f"--reasoning-tags: {part.strip()!r} is not OPENING:CLOSING, such as <think>:</think>")
        pairs.append((opening, closing))
    return tuple(pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is left of a text after its thoughts."""

    text: str
    is_cut: bool = False
    """The text ended within thoughts, so there is no answer, or none after the last thoughts."""


def strip_reasoning(text: str, tags: ReasoningTags) -> str:
    """The text of `answer_after_thoughts` when nothing else is known of it."""
    return answer_after_thoughts(text, tags).text


def answer_after_thoughts(
    text: str, tags: ReasoningTags, *, stop_sequence: Sequence[str] = (), opened: str | None = None, at_limit: bool = False
) -> Answer:
    """The text without its thoughts and the white space around the rest, which is cut before a stop sequence.

    Thoughts are between two tags, in any case of letters, of which the opening one begins the text or a line. A tag that is merely named
    costs nothing. `opened`: the opening tag with which the prompt ends, so the text begins within thoughts. Without that knowledge, a
    closing tag without an opening one ends thoughts unless it stands within a sentence. Thoughts that begin the text and never end, and
    at a limit of length also later ones, are cut: what is in them is no answer.
    """
    has_thoughts = is_cut = False
    # thoughts between one pair may only begin the text when those between another are gone
    for number, (opening, closing) in enumerate(tags * 2 if len(tags) > 1 else tags):
        begins_within = number < len(tags) and opened is not None and opening.lower() == opened.lower()
        text, found, cut = _separate(text, _Tags(opening, closing), begins_within, at_limit)
        has_thoughts, is_cut = has_thoughts or found, is_cut or cut
    if has_thoughts:  # otherwise a stop sequence may be the line's end before the answer
        text = text.strip()
    end = min((place for stop in stop_sequence if stop and (place := text.find(stop)) >= 0), default=len(text))
    return Answer(text=text[:end].strip(), is_cut=is_cut)


class _Tags:
    """One pair of tags as patterns."""

    def __init__(self, opening: str, closing: str) -> None:
        begin = re.escape(opening)
        self.opening = re.compile(begin, re.IGNORECASE)
        self.at_once = re.compile(rf"\s*{begin}", re.IGNORECASE)
        self.on_a_line = re.compile(rf"^[^\S\n]*{begin}", re.IGNORECASE | re.MULTILINE)
        self.closing = re.compile(re.escape(closing), re.IGNORECASE)


def _separate(text: str, tags: _Tags, opened: bool, at_limit: bool) -> tuple[str, bool, bool]:
    """The text without thoughts, whether there were any, and whether the last of them were cut; in linear time."""
    place, has_thoughts = 0, False
    if opened and not tags.at_once.match(text):
        end = tags.closing.search(text)
        if end is None:
            return "", True, True
        place, has_thoughts = end.end(), True
    parts: list[str] = []
    while start := tags.at_once.match(text, place) or tags.on_a_line.search(text, place):
        end = tags.closing.search(text, start.end())
        if end is None:
            begins = not "".join(parts).strip() and not text[place : start.start()].strip()
            if begins or at_limit:
                return "".join((*parts, text[place : start.start()])), True, True
            break
        parts.append(text[place : start.start()])
        place, has_thoughts = end.end(), True
    kept = "".join((*parts, text[place:]))
    rest = _after_a_lone_closing_tag(kept, tags)
    return rest, has_thoughts or len(rest) < len(kept), False


def _after_a_lone_closing_tag(text: str, tags: _Tags) -> str:
    """What follows the last closing tag that ends thoughts, which began in a prompt that we do not know."""
    opening = tags.opening.search(text)
    begin = 0
    for tag in tags.closing.finditer(text):
        before, after = text[tag.start() - 1 : tag.start()], text[tag.end() : tag.end() + 1]
        ends_a_line = before in ("", "\n") or after in ("", "\n")
        ends_a_word = before not in _BEFORE_A_NAME and (opening is None or tag.start() < opening.start())
        if ends_a_line or ends_a_word:
            begin = tag.end()
    return text[begin:]


_BEFORE_A_NAME = frozenset(" \t`'\"(\u201c\u2018\u00ab")
"""What stands before a tag that a sentence names."""
