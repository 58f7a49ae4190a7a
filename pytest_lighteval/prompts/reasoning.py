"""Remove a reasoning model's thoughts from a text before it is scored."""

from __future__ import annotations

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


def strip_reasoning(text: str, tags: ReasoningTags) -> str:
    """The text without what is between each pair of tags, and without white space around the rest.

    A closing tag without an opening one ends thoughts that began in the prompt (many chat templates open the tag there). An opening
    tag that is never closed begins a thought that was cut off: there is no answer after it, so nothing of it is scored.
    """
    for opening, closing in tags:
        text = _without_thoughts(text, opening, closing)
        text = text.rpartition(closing)[2]
        text = text.partition(opening)[0]
    return text.strip()


def _without_thoughts(text: str, opening: str, closing: str) -> str:
    """Without each opening tag, the nearest closing one after it, and what is between them; in linear time."""
    kept, place = [], 0
    while (start := text.find(opening, place)) >= 0 and (end := text.find(closing, start + len(opening))) >= 0:
        kept.append(text[place:start])
        place = end + len(closing)
    return "".join((*kept, text[place:]))
