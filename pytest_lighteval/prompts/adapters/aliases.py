"""Accepted answers that are lists of aliases: TriviaQA (https://arxiv.org/abs/1705.03551), WebQuestions (https://aclanthology.org/D13-1160)."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def plain_triviaqa_aliases(row: dict[str, Any]) -> dict[str, Any]:
    """`aliases`: the shortest ones, in lower case and without ASCII punctuation."""
    aliases = [alias.lower().translate(_NO_PUNCTUATION) for alias in _shortest(row["answer"]["aliases"])]
    return {**row, "aliases": aliases}


def published_triviaqa_aliases(row: dict[str, Any]) -> dict[str, Any]:
    """`aliases`: all published ones, the answer itself first, then the normalized ones."""
    answer = row["answer"]
    return {**row, "aliases": list(dict.fromkeys([answer["value"], *answer["aliases"], *answer["normalized_aliases"]]))}


def shortest_webqs_answers(row: dict[str, Any]) -> dict[str, Any]:
    """`answers` without those that begin with a shorter one."""
    return {**row, "answers": _shortest(row["answers"])}


def _shortest(aliases: Sequence[str]) -> list[str]:
    """Sorted, without those that begin with another one, as a text that begins with an accepted answer is accepted anyway."""
    kept: list[str] = []
    for alias in sorted(aliases):
        if not kept or not alias.startswith(kept[-1]):
            kept.append(alias)
    return kept
