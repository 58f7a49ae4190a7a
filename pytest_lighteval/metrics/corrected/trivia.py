"""TriviaQA's exact match with any published alias, normalized as its official evaluation does."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from itertools import islice

from pytest_lighteval.metrics.corrected.canonical import canonical
from pytest_lighteval.metrics.matches import best_over_golds

_MARKS = str.maketrans(dict.fromkeys(string.punctuation, " "))
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_MOST_SENTENCES = 8
"""Ends that are tried: initials look like them."""
_ANNOUNCED = re.compile(r"\banswer\s*(?:is|:)\s*:?\s*", re.IGNORECASE)


def normalize(text: str) -> str:
    """Lower case, punctuation and underscores as spaces, no articles, single spaces.

    Joshi et al. 2017 (arXiv:1705.03551; https://github.com/mandarjoshi90/triviaqa/blob/master/evaluation/triviaqa_evaluation.py), of the
    canonical text. A text of articles or of punctuation alone is itself.
    """
    plain = canonical(text).lower().strip()
    bare = " ".join(plain.translate(_MARKS).split()) or plain
    return " ".join(_ARTICLES.sub(" ", bare).split()) or bare


def candidates(text: str) -> Iterator[str]:
    """What a text may answer: its first line, or what it announces; up to the end of a sentence; up to the first comma."""
    plain = canonical(text).strip()
    if found := list(_ANNOUNCED.finditer(plain)):
        plain = plain[found[-1].end() :].strip()
    line = plain.partition("\n")[0]
    yield line
    yield from (line[: found.start()] for found in islice(re.finditer(r"[.!?](?=\s+[A-Z])", line), _MOST_SENTENCES))
    yield line.partition(",")[0]


def is_alias(gold: str, text: str) -> bool:
    """Does the text answer with this alias?"""
    right = normalize(gold)
    return bool(right) and any(normalize(candidate) == right for candidate in candidates(text))


METRICS = (best_over_golds("quasi_exact_match_triviaqa_corrected", "qem", is_alias),)
