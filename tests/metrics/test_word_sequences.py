"""Bit vectors and automata give what the plain tables give."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from pytest_lighteval.metrics.overlap import extractive_fragments
from pytest_lighteval.metrics.word_sequences import common_length, common_places, edit_distance

PAIRS = [
    (stream.choices("abcd"[: 1 + number % 4], k=stream.randrange(0, 40)), stream.choices("abcde", k=stream.randrange(0, 40)))
    for stream in [random.Random(7)]
    for number in range(150)
]


def plain_distance(one: Sequence[str], other: Sequence[str]) -> int:
    row = list(range(len(other) + 1))
    for left in one:
        diagonal, row[0] = row[0], row[0] + 1
        for index, right in enumerate(other, start=1):
            diagonal, row[index] = row[index], min(row[index] + 1, row[index - 1] + 1, diagonal + (left != right))
    return row[-1]


def plain_fragments(summary: Sequence[str], text: Sequence[str]) -> list[int]:
    lengths, place = [], 0
    while place < len(summary):
        longest = 0
        for start in range(len(text)):
            length = 0
            while place + length < len(summary) and start + length < len(text) and summary[place + length] == text[start + length]:
                length += 1
            longest = max(longest, length)
        lengths += [longest] if longest else []
        place += max(longest, 1)
    return lengths


def test_the_edit_distance_is_that_of_the_plain_table() -> None:
    assert [edit_distance(one, other) for one, other in PAIRS] == [plain_distance(one, other) for one, other in PAIRS]


def test_common_subsequences_are_those_of_rouge_score() -> None:
    library = pytest.importorskip("rouge_score.rouge_scorer")
    taken = [sorted(library.lcs_ind(one, other)) for one, other in PAIRS]

    assert [sorted(common_places(one, other)) for one, other in PAIRS] == taken
    assert [common_length(one, other) for one, other in PAIRS] == [len(places) for places in taken]


def test_fragments_are_the_longest_phrases_of_the_text() -> None:
    assert [extractive_fragments(one, other) for one, other in PAIRS] == [plain_fragments(one, other) for one, other in PAIRS]


class CountedWord:
    """Counts how often words are compared or looked up."""

    steps = 0

    def __init__(self, text: str) -> None:
        self._text = text

    def __hash__(self) -> int:
        CountedWord.steps += 1
        return hash(self._text)

    def __eq__(self, other: object) -> bool:
        CountedWord.steps += 1
        return isinstance(other, CountedWord) and self._text == other._text


@pytest.mark.parametrize("function", [edit_distance, common_length, common_places, extractive_fragments])
@pytest.mark.parametrize("text", ["aa", "ab", "ac"])
def test_ten_times_as_many_words_are_ten_times_as_many_steps(function: object, text: str) -> None:
    assert callable(function)
    steps = []
    for length in (100, 1000):
        one, other = [[CountedWord(letter) for _ in range(length)] for letter in text]
        CountedWord.steps = 0
        function(one, other)
        steps.append(CountedWord.steps)

    assert steps[1] < 15 * steps[0]
