"""A row of a data set, and the document that is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Row = Mapping[str, Any]
"""One row of a data set, as it was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doc:
    """One question of a benchmark, with the field names of Lighteval's `Doc`."""

    id: str
    """`<split>:<row>` in the stored data set, with `:<n>` at the end if a row gives several documents."""
    query: str
    """The question, with the instruction before it (Lighteval's convention)."""
    choices: tuple[str, ...]
    """The scored choices (multiple choice) or the accepted answers (generation). A leading space belongs to the choice."""
    gold: tuple[int, ...]
    """Indices of the right choices. A scored document has at least one."""
    instruction: str = ""
    """A prefix of `query` that is printed once, before the few-shot examples."""
    original_query: str | None = None
    """The question as metrics and judges see it. None: the task has none."""
    unconditioned_query: str | None = None
    """The query without the question, for PMI metrics. None: the task has none."""
    fewshot_sorting_class: str | None = None
    """The label that `balanced` few-shot selection balances. None: the first gold's text."""
    specific: Mapping[str, Any] = field(default_factory=dict)
    """What a metric needs beyond text, such as IFEval's instruction ids."""
    cluster: str | None = None
    """The same for documents of one source, such as a passage: their errors are not independent. None: the document has its own source."""

    turns: tuple[str, ...] = ()
    """What the user says after the model's first answer, its second, and so on. Empty: the query is all that is asked."""

    @property
    def golds(self) -> tuple[str, ...]:
        """The right choices' texts."""
        return tuple(self.choices[index] for index in self.gold)
