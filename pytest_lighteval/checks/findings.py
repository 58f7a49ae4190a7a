"""Cases of one kind of fault, counted over all documents, with the first ones as examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pytest_lighteval.types import Example, Finding, Severity

MOST_EXAMPLES = 3
_MOST_CHARACTERS = 160


def shown(text: str) -> str:
    """A text of a document as a Python literal on one line, the middle left out of a long one."""
    half = _MOST_CHARACTERS // 2
    return repr(f"{text[:half]} [...] {text[-half:]}" if len(text) > _MOST_CHARACTERS else text)


@dataclass(slots=True)
class Cases:
    """The documents that one fault concerns."""

    ids: list[str] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)
    causes: Counter[str] = field(default_factory=Counter)
    """How often each cause was seen, where a fault has several."""

    def add(self, doc_id: str, *texts: str, causes: Iterable[str] = ()) -> None:
        """One more document; the texts say what it shows."""
        self.ids.append(doc_id)
        self.causes.update(causes)
        if len(self.examples) < MOST_EXAMPLES:
            self.examples.append(Example(id=doc_id, text="; ".join(texts)))

    def finding(self, kind: str, severity: Severity, message: str, *, of: int) -> Finding:
        """The cases as one finding."""
        return Finding(kind=kind, severity=severity, message=message, count=len(self.ids), of=of, examples=tuple(self.examples))


@dataclass(slots=True)
class CasesByMetric:
    """The documents that one fault concerns, for each reported value."""

    by_metric: dict[str, Cases] = field(default_factory=dict)

    def add(self, metric: str, doc_id: str, *texts: str, causes: Iterable[str] = ()) -> None:
        """One more document under a metric."""
        self.by_metric.setdefault(metric, Cases()).add(doc_id, *texts, causes=causes)

    def last(self, metric: str) -> str | None:
        """The document that was added last under a metric, so that it is counted once. None: there is none."""
        cases = self.by_metric.get(metric)
        return cases.ids[-1] if cases is not None else None

    def merged(self) -> Iterator[tuple[str, Cases]]:
        """Names of metrics with their cases; metrics that concern the same documents for the same causes stand together."""
        together: dict[object, list[str]] = {}
        for metric, cases in self.by_metric.items():
            together.setdefault((tuple(cases.ids), frozenset(cases.causes.items())), []).append(metric)
        for metrics in together.values():
            yield ", ".join(metrics), self.by_metric[metrics[0]]


def listed(texts: Iterable[str], *, most: int = 3) -> str:
    """The first texts as literals, and how many there are besides."""
    every = list(texts)
    return ", ".join(map(shown, every[:most])) + (f" and {len(every) - most} more" if len(every) > most else "")
