"""Documents whose choices cannot be told apart: all equally likely, or two of them the same text. An engine that measures nothing has many.

The first choice wins a tie, as in Lighteval. Where the right one comes first (BLiMP, TruthfulQA), equal log-probabilities score 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pytest_lighteval.types import Ask, Doc, LoglikelihoodResponse, PerplexityResponse, Response

_MOST_TIED = 0.2
_LEAST_DOCUMENTS = 20
_ROUNDING = 1e-3
"""The most by which rounding lifts the log-probability of something certain over 0, in half precision."""
_SAME = 1e-6
"""Log-probabilities that differ by no more are the same; above 1, no more than this share of them.

These are a few units in the last place of single precision.
A step of bf16 is some 4,000 times as wide, so the smallest difference that bf16 can show is a difference.
"""


def impossible_logprob(response: Response) -> str | None:
    """Why log-probabilities are no measurement: one is not a number, or above 0. None: they may be one."""
    numbers: tuple[float, ...] = ()
    if isinstance(response, LoglikelihoodResponse):
        numbers = (*response.logprobs, *(response.unconditioned_logprobs or ()))
    elif isinstance(response, PerplexityResponse) and response.logprob is not None:
        numbers = (response.logprob,)
    if any(map(math.isnan, numbers)):
        return "a log-probability is not a number (nan)"
    if max(numbers, default=0.0) > _ROUNDING:
        return f"a log-probability is above 0 ({max(numbers):g}), which no probability has"
    return None


@dataclass(slots=True)
class EqualChoices:
    """Counts documents as they are scored; a document under several few-shot seeds is counted under each."""

    asked: int = 0
    """Documents with at least two different choices."""
    tied: int = 0
    """Of these, those all of whose choices have the same log-probability, up to `_SAME`."""
    twins: set[str] = field(default_factory=set)
    """Ids of documents in which two choices are the same text."""

    def count(self, doc: Doc, responses: Mapping[str, Response]) -> None:
        """Count a document. Requests without a ranking of choices are passed over."""
        response = responses.get(Ask.CHOICES) or responses.get(Ask.CHOICES_PMI)
        if not isinstance(response, LoglikelihoodResponse):
            return
        parts = [(choices, logprobs) for choices, logprobs in _parts(doc, response.logprobs) if len(set(choices)) > 1]
        if parts:
            self.asked += 1
            self.tied += any(_are_same(logprobs) for _, logprobs in parts)
        if any(len(set(choices)) < len(choices) for choices, _ in _parts(doc, response.logprobs)):
            self.twins.add(doc.id)

    @property
    def problem(self) -> str | None:
        """Why the scores say nothing about the model. None: they may."""
        if self.asked < _LEAST_DOCUMENTS or self.tied <= _MOST_TIED * self.asked:
            return None
        told = f"in {self.tied} of {self.asked} documents all choices have the same log-probability"
        return f"{told}; at most {_MOST_TIED:.0%} may, as the first choice would be taken: the engine measures nothing"

    @property
    def notes(self) -> list[str]:
        """What a reader of the score should know, one line each."""
        notes = []
        if self.tied:
            notes.append(f"in {self.tied} of {self.asked} documents all choices have the same log-probability: the first one is taken")
        if self.twins:
            some = len(self.twins)
            notes.append(f"{some} document{'s have' if some > 1 else ' has'} two equal choices, of which the second one can never win")
        return notes


def _are_same(logprobs: Sequence[float]) -> bool:
    """Whether the log-probabilities are equal up to rounding; an infinite one equals itself alone."""
    return math.isclose(min(logprobs), max(logprobs), rel_tol=_SAME, abs_tol=_SAME)


def _parts(doc: Doc, logprobs: Sequence[float]) -> Iterator[tuple[Sequence[str], Sequence[float]]]:
    """The choices that compete with each other: all of them, but for TruthfulQA those of MC1 and of MC2."""
    split = doc.specific.get("len_mc1")
    places = (slice(0, split), slice(split, None)) if isinstance(split, int) else (slice(None),)
    for place in places:
        yield doc.choices[place], logprobs[place]
