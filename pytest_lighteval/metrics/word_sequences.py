"""Distances and common parts of two sequences of words, in time that is linear in each sequence or nearly so.

A row of the usual table is one whole number here, a bit for each word, so that a step works on all its words at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator, Sequence

Words = Sequence[Hashable]


def _places(words: Words, wanted: Words) -> dict[Hashable, int]:
    """Wanted word -> a number whose bits are its places."""
    places: dict[Hashable, list[int]] = {word: [] for word in wanted}
    for place, word in enumerate(words):
        if word in places:
            places[word].append(place)
    return {word: _bits(found, len(words)) for word, found in places.items() if found}


def _bits(places: Sequence[int], length: int) -> int:
    packed = bytearray(length // 8 + 1)
    for place in places:
        packed[place >> 3] |= 1 << (place & 7)
    return int.from_bytes(packed, "little")


def edit_distance(one: Words, other: Words) -> int:
    """Levenshtein over words, by Myers' bit vectors (1999) as in Hyyrö 2003, "A bit-vector algorithm for computing edit distances"."""
    if not one or not other:
        return len(one) + len(other)
    size = len(other)
    everything, last = (1 << size) - 1, 1 << (size - 1)
    places, distance = _places(other, one), size
    # where a row's number is higher than its left neighbour's, and where it is lower
    higher, lower = everything, 0
    for word in one:
        same = places.get(word, 0)
        diagonal = (((same & higher) + higher) ^ higher) | same | lower
        up = lower | (everything & ~(diagonal | higher))
        down = diagonal & higher
        distance += bool(up & last) - bool(down & last)
        up = (up << 1) | 1
        higher = ((down << 1) | ~(diagonal | up)) & everything
        lower = up & diagonal & everything
    return distance


def _common_rows(one: Words, other: Words) -> Iterator[int]:
    """For each prefix of `one`: a number whose bit j is 0 where one more word of `other` makes their common subsequence longer.

    Crochemore et al. 2001, "A fast and practical bit-vector algorithm for the longest common subsequence problem".
    """
    everything = (1 << len(other)) - 1
    places, row = _places(other, one), everything
    yield row
    for word in one:
        found = row & places.get(word, 0)
        row = ((row + found) | (row - found)) & everything
        yield row


def common_length(one: Words, other: Words) -> int:
    """The length of the longest common subsequence."""
    (row,) = deque(_common_rows(one, other), maxlen=1)
    return len(other) - row.bit_count()


def common_places(one: Words, other: Words) -> set[int]:
    """The places in `one` of a longest common subsequence: the one that rouge-score's `lcs_ind` takes of several."""
    rows = list(_common_rows(one, other))

    def length(i: int, j: int) -> int:
        return j - (rows[i] & ((1 << j) - 1)).bit_count()

    places = set()
    i, j = len(one), len(other)
    while i > 0 and j > 0:
        if one[i - 1] == other[j - 1]:
            i, j = i - 1, j - 1
            places.add(i)
        elif length(i, j - 1) > length(i - 1, j):
            j -= 1
        else:
            i -= 1
    return places


class Phrases:
    """All phrases of a text, in an automaton of their words (Blumer et al. 1985): what a longest phrase costs is its own length."""

    def __init__(self, words: Words) -> None:
        self._next: list[dict[Hashable, int]] = [{}]
        self._links, self._lengths = [-1], [0]
        last = 0
        for word in words:
            last = self._extend(last, word)

    def _extend(self, last: int, word: Hashable) -> int:
        state = self._add({}, self._lengths[last] + 1)
        while last != -1 and word not in self._next[last]:
            self._next[last][word] = state
            last = self._links[last]
        if last == -1:
            self._links[state] = 0
            return state
        found = self._next[last][word]
        if self._lengths[found] == self._lengths[last] + 1:
            self._links[state] = found
            return state
        copy = self._add(dict(self._next[found]), self._lengths[last] + 1)
        self._links[copy] = self._links[found]
        while last != -1 and self._next[last].get(word) == found:
            self._next[last][word] = copy
            last = self._links[last]
        self._links[found] = self._links[state] = copy
        return state

    def _add(self, following: dict[Hashable, int], length: int) -> int:
        self._next.append(following)
        self._links.append(-1)
        self._lengths.append(length)
        return len(self._next) - 1

    def longest(self, words: Words, start: int) -> int:
        """How many of the words from a place on are a phrase of the text."""
        state, place = 0, start
        while place < len(words) and words[place] in self._next[state]:
            state = self._next[state][words[place]]
            place += 1
        return place - start
