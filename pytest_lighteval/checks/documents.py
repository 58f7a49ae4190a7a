"""Faults that documents show by themselves or beside each other: repeated, contradictory, with choices that nobody can tell apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pytest_lighteval.checks.findings import Cases, listed, shown
from pytest_lighteval.checks.options import listed_options, unnamed_letters
from pytest_lighteval.types import Doc, Finding, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Kinds:
    """What a task's metrics look at."""

    scores_choices: bool
    """Log-likelihoods of choices are compared."""
    compares_golds: bool
    """Some metric compares an answer with the gold."""


def document_findings(docs: Sequence[Doc], kinds: Kinds) -> Iterator[Finding]:
    """What is wrong with documents, whatever a model answers; in linear time."""
    yield from _repeated(docs, kinds)
    yield from _options(docs)
    if kinds.scores_choices:
        yield from _choices(docs)
        yield from _spaces(docs)


Competing = tuple[tuple[str, ...], tuple[int, ...]]
"""Choices that compete with each other, and the golds among them."""


def competing(doc: Doc) -> Sequence[Competing]:
    """The one list of choices; of TruthfulQA that of MC1 and that of MC2."""
    split = doc.specific.get("len_mc1")
    if not isinstance(split, int):
        return [(doc.choices, doc.gold)]
    first = doc.choices[:split], tuple(index for index in doc.gold if index < split)
    return [first, (doc.choices[split:], tuple(index - split for index in doc.gold if index >= split))]


def _repeated(docs: Sequence[Doc], kinds: Kinds) -> Iterator[Finding]:
    """Equal documents, and equal questions whose golds exclude each other."""
    same, against = Cases(), Cases()
    first: dict[object, Doc] = {}
    by_question: dict[object, Doc] = {}
    for doc in docs:
        golds = frozenset(doc.golds)
        choices = tuple(sorted(doc.choices))
        other = first.setdefault((doc.query, choices, golds), doc)
        if other is not doc:
            same.add(doc.id, f"the same as {other.id}", f"query {shown(doc.query)}")
            continue
        # accepted answers are not shown to the model, so they are no part of the question
        has_choices = len(doc.choices) > len(doc.gold)
        question = (doc.query, choices) if has_choices else doc.query
        earlier = by_question.setdefault(question, doc)
        if kinds.compares_golds and earlier is not doc and doc.gold and earlier.gold and not golds & frozenset(earlier.golds):
            told = f"gold {shown(doc.golds[0])} here and {shown(earlier.golds[0])} in {earlier.id}"
            against.add(doc.id, told, f"query {shown(doc.query)}")
    if same.ids:
        yield same.finding("duplicate-document", Severity.WARNING, "the same query, choices and gold as an earlier document", of=len(docs))
    if against.ids:
        message = "the same question as an earlier document, with another gold: nobody can be right in both"
        yield against.finding("contradicting-golds", Severity.ERROR, message, of=len(docs))


def _options(docs: Sequence[Doc]) -> Iterator[Finding]:
    """Letters as choices, whether they are compared or written."""
    equal, unnamed = Cases(), Cases()
    for doc in docs:
        options = listed_options(doc)
        if options is not None and (twins := _repeats(options)):
            equal.add(doc.id, f"twice {listed(twins)}", f"gold {shown(doc.golds[0])}" if doc.gold else "")
        if names := unnamed_letters(doc):
            unnamed.add(doc.id, f"no {', '.join(names)} in the query, which ends {shown(doc.query[-80:])}")
    if unnamed.ids:
        yield unnamed.finding(
            "unnamed-choice", Severity.WARNING, "the choices are letters, and the prompt does not say what one means", of=len(docs)
        )
    if equal.ids:
        yield equal.finding("equal-options", Severity.WARNING, "the prompt lists the same text for two letters", of=len(docs))


def _choices(docs: Sequence[Doc]) -> Iterator[Finding]:
    equal, similar, certain = Cases(), Cases(), Cases()
    for doc in docs:
        twins: list[str] = []
        near: list[str] = []
        for choices, gold in competing(doc):
            twins += _repeats(choices)
            near += _repeats([" ".join(choice.split()).casefold() for choice in dict.fromkeys(choices)])
            if choices and len({choice for index, choice in enumerate(choices) if index not in gold}) == 0:
                certain.add(doc.id, f"choices {listed(choices)}")
        if twins:
            equal.add(doc.id, f"twice {listed(twins)}", f"gold {shown(doc.golds[0])}" if doc.gold else "")
        elif near:
            similar.add(doc.id, f"twice {listed(near)}")
    if certain.ids:
        yield certain.finding("no-wrong-choice", Severity.ERROR, "every choice is right, so any model scores", of=len(docs))
    if equal.ids:
        yield equal.finding("equal-choices", Severity.WARNING, "two choices are the same text; the first one wins the tie", of=len(docs))
    if similar.ids:
        yield similar.finding("similar-choices", Severity.NOTE, "two choices differ in case or white space alone", of=len(docs))


def _repeats(texts: Sequence[str]) -> list[str]:
    """Texts that occur again, once for each time."""
    seen: set[str] = set()
    again = []
    for text in texts:
        if text in seen:
            again.append(text)
        seen.add(text)
    return again


def _spaces(docs: Sequence[Doc]) -> Iterator[Finding]:
    """White space between query and choice that changes how they are tokenized."""
    uneven, double = Cases(), Cases()
    for doc in docs:
        begin = {choice[:1].isspace() for choice in doc.choices}
        if len(begin) > 1:
            uneven.add(doc.id, f"choices {listed(doc.choices)}")
        elif begin == {True} and doc.query[-1:] == " ":
            double.add(doc.id, f"query ends {shown(doc.query[-40:])}", f"choice {shown(doc.choices[0])}")
    if uneven.ids:
        yield uneven.finding("uneven-spaces", Severity.WARNING, "some choices begin with a space and some do not", of=len(docs))
    if double.ids:
        yield double.finding("double-space", Severity.NOTE, "the query ends with a space, and the choices begin with one", of=len(docs))
