"""Ways to choose right without an understanding: the longest choice, one place or label, the one that the query holds. By statistics.

A shortcut is reported if chance makes so many hits in fewer than one of a million sound tasks (`chance`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from pytest_lighteval.checks.chance import is_pattern
from pytest_lighteval.checks.documents import competing
from pytest_lighteval.checks.findings import Cases, shown
from pytest_lighteval.checks.leaks import announced_label, words
from pytest_lighteval.checks.options import letters, listed_options
from pytest_lighteval.types import Doc, Finding, Severity

_LARGE = 0.05
"""A shortcut that gains so much over chance moves rankings."""
_LOPSIDED = 0.9
"""A label that is right so often leaves nothing to measure."""
_MANY = 0.5
_SHORT = 4
"""Shorter golds stand in any text by accident."""
_FEW_LABELS = 2
"""Labels that some documents have beside those of the document with the most."""


@dataclass(slots=True)
class _Strategy:
    """A way to guess, counted over the documents on which it says anything."""

    cases: Cases = field(default_factory=Cases)
    """The documents on which it is right."""
    trials: int = 0
    chance: float = 0.0
    """Sum over these documents."""

    def tried(self, doc: Doc, is_right: bool, chance: float, *texts: str) -> None:
        self.trials += 1
        self.chance += chance
        if is_right:
            self.cases.add(doc.id, *texts)

    @property
    def share(self) -> float:
        return len(self.cases.ids) / self.trials

    @property
    def mean_chance(self) -> float:
        return self.chance / self.trials

    def is_pattern(self, *, tests: int = 1) -> bool:
        return self.trials > 0 and is_pattern(len(self.cases.ids), self.trials, self.mean_chance, tests=tests)

    def finding(self, kind: str, what: str, *, severity: Severity | None = None) -> Finding:
        severity = severity or (Severity.WARNING if self.share - self.mean_chance >= _LARGE else Severity.NOTE)
        message = f"{what} is right in {self.share:.1%}, where chance is {self.mean_chance:.1%}"
        return self.cases.finding(kind, severity, message, of=self.trials)


def choice_shortcuts(docs: Sequence[Doc]) -> Iterator[Finding]:
    """Shortcuts among the choices of documents, or among the options that the prompt lists for letters."""
    yield from _at_the_end(docs)
    if _are_labels(docs):
        yield from _one_label(docs)
        yield from announced_label(docs)
        yield from _by_length([doc for doc in docs if letters(doc)], listed_options)
        return
    yield from _by_length(docs, lambda doc: competing(doc)[0][0])
    yield from _by_place(docs)
    yield from _in_the_query(docs)


def _are_labels(docs: Sequence[Doc]) -> bool:
    """Whether the choices are the same few in all documents, such as letters or yes and no."""
    most = max((len(doc.choices) for doc in docs), default=0)
    texts = {choice for doc in docs for choice in doc.choices}
    return len(texts) <= most + _FEW_LABELS


def _one_label(docs: Sequence[Doc]) -> Iterator[Finding]:
    """One label that is right more often than the others."""
    labels: dict[str, _Strategy] = {}
    for doc in docs:
        golds = frozenset(doc.golds)
        different = dict.fromkeys(doc.choices)
        for label in different:
            labels.setdefault(label, _Strategy()).tried(doc, label in golds, len(golds) / len(different), f"gold {shown(label)}")
    if not labels:
        return
    best = max(labels, key=lambda label: labels[label].share)
    strategy = labels[best]
    if strategy.is_pattern(tests=len(labels)):
        severity = Severity.WARNING if strategy.share >= _LOPSIDED else Severity.NOTE
        yield strategy.finding("one-label-dominates", f"the constant answer {best!r}", severity=severity)


def _by_length(docs: Sequence[Doc], texts_of: Callable[[Doc], Sequence[str] | None]) -> Iterator[Finding]:
    extremes: tuple[tuple[str, Callable[[Sequence[int]], int]], ...] = (("longest", max), ("shortest", min))
    for name, extreme in extremes:
        strategy = _Strategy()
        for doc in docs:
            choices, gold = texts_of(doc) or (), competing(doc)[0][1]
            lengths = [len(choice) for choice in choices]
            if len(lengths) < 2 or not gold or lengths.count(extreme(lengths)) > 1:
                continue
            place = lengths.index(extreme(lengths))
            strategy.tried(doc, place in gold, len(gold) / len(lengths), f"gold {shown(choices[place])}")
        if strategy.is_pattern(tests=len(extremes)):
            yield strategy.finding(f"gold-is-{name}", f"the {name} choice")


def _by_place(docs: Sequence[Doc]) -> Iterator[Finding]:
    """A place among the choices that is right more often than the others; a matter of the model only where the prompt lists the choices."""
    places: dict[int, _Strategy] = defaultdict(_Strategy)
    listing = 0
    for doc in docs:
        listing += len(doc.choices) > 1 and all(choice.strip() in doc.query for choice in doc.choices)
        choices, gold = competing(doc)[0]
        for place in range(len(choices) if len(choices) > 1 else 0):
            places[place].tried(doc, place in gold, len(gold) / len(choices), f"gold {shown(choices[place])}")
    patterns = [place for place in places if places[place].is_pattern(tests=len(places))]
    if not patterns:
        return
    best = max(patterns, key=lambda place: places[place].share)
    if listing >= _MANY * len(docs):
        yield places[best].finding("gold-in-one-place", f"choice {best + 1}, as the prompt lists them,")
    else:
        told = f"choice {best + 1} (models do not see the order, but an engine that gives ties scores)"
        yield places[best].finding("gold-in-one-place", told, severity=Severity.NOTE)


def _in_the_query(docs: Sequence[Doc]) -> Iterator[Finding]:
    """The choice that alone stands in the query."""

    def holds(query: str, choice: str) -> bool:
        text = " ".join(words(choice))
        return len(text) >= _SHORT and f" {text} " in query

    strategy = _by_text(docs, lambda query: f" {' '.join(words(query))} ", holds)
    if strategy.is_pattern():
        yield strategy.finding("gold-in-query", "the one choice that stands in the query")


def _at_the_end(docs: Sequence[Doc]) -> Iterator[Finding]:
    """The choice with which the query ends. `A:`, as in `Q: ... A:`, is no choice A."""

    def ends_with(query: str, choice: str) -> bool:
        text = choice.strip()
        return bool(text) and query.endswith(text) and not query[: -len(text)][-1:].isalnum()

    strategy = _by_text(docs, str.rstrip, ends_with)
    if strategy.is_pattern():
        yield strategy.finding("answer-ends-prompt", "the choice with which the prompt ends", severity=Severity.WARNING)


def _by_text(docs: Sequence[Doc], prepare: Callable[[str], str], is_held: Callable[[str, str], bool]) -> _Strategy:
    """The choice that the prepared query holds, where that is one choice alone."""
    strategy = _Strategy()
    for doc in docs:
        if len(doc.choices) < 2 or len(doc.gold) != 1:
            continue
        query = prepare(doc.query)
        held = [index for index, choice in enumerate(doc.choices) if is_held(query, choice)]
        if len(held) == 1:
            texts = f"gold {shown(doc.choices[held[0]])}", f"query {shown(doc.query)}"
            strategy.tried(doc, held[0] in doc.gold, 1 / len(doc.choices), *texts)
    return strategy
