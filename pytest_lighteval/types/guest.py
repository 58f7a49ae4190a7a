"""A task of another harness: it makes its own documents, requests and scores, and everything after that is as for any task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pytest_lighteval.types.doc import Doc
from pytest_lighteval.types.model import Message, Prompt, Request, RequestKind, Response


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestSettings:
    """How a guest is asked."""

    few_shots: int
    few_shot_seeds: int = 1
    """Every document is asked under that many selections of few-shot examples; seed 0 is the other harness's own."""
    max_samples: int | None = None
    """The first documents in stored order. None: all."""
    use_chat_template: bool = False
    system_prompt: str | None = None
    expects_thoughts: bool = False
    """The model may think before it answers, so no stop sequence may end its thoughts: the caller cuts the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestDocument:
    """One document under one few-shot seed."""

    doc: Doc
    few_shot_seed: int
    num_shots: int
    """Few-shot examples in the prompt."""
    prompt: Prompt
    requests: Mapping[str, Request]
    """By the guest's name of what is asked; `Ask.CHOICES` for all choices of one prompt."""
    score: Callable[[Mapping[str, Response]], Mapping[str, Any]] = field(repr=False)
    """The document's responses -> its values by reported name. Raises LightevalError if the guest's own code fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestDocuments:
    """All documents that are asked, seed by seed, in the order of the evaluation."""

    documents: Sequence[GuestDocument]
    fingerprint: str
    """Digest of their rows."""
    row_sources: Mapping[str, str]
    """As `TaskResult.row_sources`."""
    notes: tuple[str, ...] = ()


class Guest(Protocol):
    """What a `Task` of another harness brings."""

    @property
    def harness(self) -> str:
        """How messages call the other harness."""

    @property
    def kinds(self) -> tuple[RequestKind, ...]:
        """What its requests need of a backend, sorted."""

    @property
    def metrics(self) -> tuple[Any, ...]:
        """The `Metric`s that it reports. `sample` of these is never called: `GuestDocument.score` scores."""

    def documents(self, settings: GuestSettings, render: Callable[[Sequence[Message]], str | None]) -> GuestDocuments:
        """Load the data and make the requests. `render`: as `Backend.render`. Raises LightevalError."""
