"""Which documents share a context, such as a passage with several questions: their errors are not independent.

Looks at texts alone, so it also finds a passage that a column holds together with its question.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from os.path import commonprefix

from pytest_lighteval.types import Doc

_LONG = 100
"""Characters of a context: shorter texts are names, formulas and forms."""
_FEWEST = 20
_MOST_OF_ALL = 0.5
"""A text in more documents than this share is a form or an instruction."""
_NOTED = 0.1


def shared_context_note(docs: Sequence[Doc]) -> str | None:
    """What a reader of the standard error should know of documents without declared clusters. None: nothing.

    It is said from 20 documents on, if a tenth of them or more share a context.
    """
    sharing = shares_context([doc.query.removeprefix(doc.instruction or "") for doc in docs])
    if len(docs) < _FEWEST or sum(sharing) < _NOTED * len(docs) or any(doc.cluster is not None for doc in docs):
        return None
    return (
        f"{sum(sharing)} of {len(docs)} documents share a long text with another one, and the suite declares no cluster: if it is a "
        "passage with several questions, the standard error is too small, and a gate may be red by chance (docs/suites.md: cluster)"
    )


def shares_context(texts: Sequence[str]) -> list[bool]:
    """For each text, whether at least 100 of its characters are a context that another one has too.

    A context is a line, or 100 characters at the beginning, behind what all texts begin with. What is in more than half of the texts is
    an instruction or a form.
    """
    common = len(commonprefix(texts))  # noqa: RUF071 - texts, no paths
    parts = [{*(line for line in text.splitlines() if len(line) >= _LONG)} for text in texts]
    for text, of in zip(texts, parts, strict=True):
        if len(beginning := text[common : common + _LONG]) == _LONG:
            of.add(beginning)
    counts = Counter(part for of in parts for part in of)
    contexts = {part for part, count in counts.items() if 2 <= count <= _MOST_OF_ALL * len(texts)}
    return [not contexts.isdisjoint(of) for of in parts]
