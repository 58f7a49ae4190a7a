"""Prompts that hold their own answer: at the end, behind an announcement, or more often than they hold the answers of others."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pytest_lighteval.checks.chance import is_pattern
from pytest_lighteval.checks.findings import Cases, shown
from pytest_lighteval.types import Doc, Finding, Severity

_SHORT = 4
"""Shorter golds end any text by accident."""
_LONG = 30
"""A gold this long does not stand in a question by accident."""
_MOST_WORDS = _LONG // 2
"""A gold of more words is longer than `_LONG` characters, and found as a text. Grids of digits would cost minutes."""
_MANY = 0.5
"""A benchmark of quotations asks for what the prompt says."""
_LARGE = 0.05
"""Golds of so many more documents than by chance are given away."""
_SURE = 0.9
"""What is right so often behind the same words is announced, and not quoted."""

_Words = tuple[str, ...]


def words(text: str) -> _Words:
    """The words of a text in lower case, without marks."""
    return tuple(re.findall(r"\w+", text.casefold()))


def answer_in_prompt(docs: Sequence[Doc]) -> Iterator[Finding]:
    """Golds of written answers that the document's own question holds."""
    at_end, long = Cases(), Cases()
    for doc in docs:
        golds = [gold.strip() for gold in doc.golds if gold.strip()]
        query = doc.query.rstrip()
        texts = (f"query {shown(query)}",)
        ending = next((gold for gold in golds if len(gold) >= _SHORT and query.endswith(gold)), None)
        inside = next((gold for gold in golds if len(gold) >= _LONG and gold in query), None)
        if ending is not None:
            at_end.add(doc.id, f"gold {shown(ending)}", *texts)
        elif inside is not None:
            long.add(doc.id, f"gold {shown(inside)}", *texts)
    if at_end.ids:
        yield at_end.finding("answer-ends-prompt", Severity.WARNING, "the prompt ends with the gold", of=len(docs))
    seen = set(at_end.ids)
    rest = _Golds([doc for doc in docs if doc.id not in seen])
    announcement = next(rest.announced(), None)
    if announcement is not None:
        yield announcement
        return
    held = rest.held()
    is_many = max(len(held.own.ids), len(long.ids)) + len(seen) >= _MANY * (held.trials + len(seen))
    if held.is_pattern and len(held.own.ids) >= len(long.ids):
        is_small = held.share - held.chance < _LARGE and not long.ids
        message = f"the prompt holds its own gold in {held.share:.1%}, where chance is {held.chance:.1%}"
        yield held.own.finding("answer-in-prompt", Severity.NOTE if is_many or is_small else Severity.WARNING, message, of=held.trials)
    elif long.ids:
        message = f"the prompt holds a gold of {_LONG} characters or more"
        yield long.finding("answer-in-prompt", Severity.NOTE if is_many else Severity.WARNING, message, of=len(docs))


def announced_label(docs: Sequence[Doc]) -> Iterator[Finding]:
    """The right one of the labels (letters, yes and no) behind the same words in all prompts, such as `The answer is`."""
    yield from _Golds(docs).announced()


@dataclass(frozen=True, slots=True)
class _Held:
    """How often prompts hold their own gold, and how often they would if the golds were shuffled among the documents."""

    own: Cases
    trials: int
    chance: float

    @property
    def share(self) -> float:
        return len(self.own.ids) / max(1, self.trials)

    @property
    def is_pattern(self) -> bool:
        return is_pattern(len(self.own.ids), self.trials, self.chance)


class _Golds:
    """The golds of a task by their words, so that one pass over a query finds all that it holds.

    Documents with the same golds are one group, so the time does not grow with the square of their number.
    """

    def __init__(self, docs: Iterable[Doc]) -> None:
        golds_of = ((doc, frozenset(filter(None, map(words, doc.golds)))) for doc in docs)
        self._docs = [(doc, words(doc.query), golds) for doc, golds in golds_of if golds]
        self._sizes = Counter(golds for _, _, golds in self._docs)
        self._groups: dict[_Words, list[frozenset[_Words]]] = defaultdict(list)
        for group in self._sizes:
            for gold in (gold for gold in group if len(gold) <= _MOST_WORDS):
                self._groups[gold].append(group)
        # a gold is looked up where its first word stands
        lengths: dict[str, set[int]] = defaultdict(set)
        for gold in self._groups:
            lengths[gold[0]].add(len(gold))
        self._lengths = dict(lengths)

    def held(self) -> _Held:
        """Golds that stand anywhere in the query."""
        own, chance = Cases(), 0.0
        for doc, query, golds in self._docs:
            found = {gold for place in range(len(query)) for gold in self._at(query, place)}
            chance += self._chance(found)
            if found & golds:
                own.add(doc.id, f"gold {shown(_first(doc, found))}", f"query {shown(doc.query)}")
        return _Held(own, len(self._docs), chance / max(1, len(self._docs)))

    def announced(self) -> Iterator[Finding]:
        """The words behind which the own gold stands most often, if that is no accident."""
        hits: Counter[_Words] = Counter()
        for _, query, golds in self._docs:
            places = [place for place in range(len(query)) if not golds.isdisjoint(self._at(query, place))]
            hits.update({before for place in places for before in _before(query, place)})
        frequent = {before for before, count in hits.items() if count >= _LARGE * len(self._docs)}
        trials: Counter[_Words] = Counter()
        for _, query, _ in self._docs if frequent else ():
            trials.update({before for place in range(len(query)) for before in _before(query, place)} & frequent)
        # more hits first, then the longer announcement; never the order of a set
        for before in sorted(frequent, key=lambda before: (-hits[before], -len(before), before)):
            if hits[before] >= _SURE * trials[before] and (finding := self._behind(before, tests=len(hits))) is not None:
                yield finding
                return

    def _behind(self, announcement: _Words, *, tests: int) -> Finding | None:
        own, trials, chance = Cases(), 0, 0.0
        for doc, query, golds in self._docs:
            places = [place for place in range(len(query)) if announcement in _before(query, place)]
            if not places:
                continue
            found = {gold for place in places for gold in self._at(query, place)}
            trials += 1
            chance += self._chance(found)
            if found & golds:
                own.add(doc.id, f"gold {shown(_first(doc, found))}", f"query {shown(doc.query)}")
        hits = len(own.ids)
        if not is_pattern(hits, trials, chance / trials, tests=tests):
            return None
        text = " ".join(filter(None, announcement))
        where = f"behind {text!r}" if text else "at the beginning of the prompt"
        message = f"the gold stands {where} in {hits / trials:.1%}, where chance is {chance / trials:.1%}"
        return own.finding("answer-in-prompt", Severity.WARNING, message, of=len(self._docs))

    def _at(self, query: _Words, place: int) -> Iterator[_Words]:
        """The golds of any document that begin at a place of the query."""
        for length in self._lengths.get(query[place], ()):
            if (gold := query[place : place + length]) in self._groups:
                yield gold

    def _chance(self, found: Iterable[_Words]) -> float:
        """The probability that the golds of a random document of the task are among those that were found."""
        return sum(self._sizes[group] for group in {group for gold in found for group in self._groups[gold]}) / len(self._docs)


def _before(query: _Words, place: int) -> tuple[_Words, _Words]:
    """The two words before a place, and the last of them; empty ones before the beginning."""
    return (query[place - 2] if place > 1 else "", last := query[place - 1] if place else ""), (last,)


def _first(doc: Doc, found: set[_Words]) -> str:
    return next(gold for gold in doc.golds if words(gold) in found)
