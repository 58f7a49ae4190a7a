"""What a page shows: runs as they were stored, and what was found by comparing them. Whoever fills this value gets a page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

Number = float | str
"""JSON has no not-a-number and no infinities: they are the texts "nan", "inf" and "-inf"."""


class PageTurn(msgspec.Struct, frozen=True):
    """One turn of a chat."""

    role: str
    content: str


class PageQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """The benchmark's part of a document; the fields of `types.Doc` that a page shows."""

    query: str = ""
    choices: tuple[str, ...] = ()
    gold: tuple[int, ...] = ()
    instruction: str = ""


class PageRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a page shows of a request."""

    prompt: str | tuple[PageTurn, ...] | None = None
    """Only shown of further turns. None: it is the document's own."""
    choices: tuple[str, ...] = ()
    stop_sequence: tuple[str, ...] = ()
    max_new_tokens: int | None = None
    do_sample: bool = False


class PageResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A response of any kind: what the other kinds have is empty."""

    logprobs: tuple[Number, ...] = ()
    greedy: tuple[bool, ...] = ()
    token_counts: tuple[int, ...] = ()
    unconditioned_logprobs: tuple[Number, ...] | None = None
    prompt_token_ids: msgspec.Raw = msgspec.Raw(b"null")
    """Only counted: a page shows no ids."""
    texts: tuple[str, ...] = ()
    token_ids: tuple[msgspec.Raw, ...] | None = None
    finish_reasons: tuple[str, ...] = ()
    empty_reasons: tuple[str, ...] = ()
    logprob: Number | None = None
    token_count: int = 0
    truncated_tokens: int = 0
    error: str | None = None


class PageAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A request and its response."""

    request: PageRequest = PageRequest()
    response: PageResponse | None = None
    """None: there is none."""
    scored_texts: tuple[str, ...] | None = None
    """What was scored, where it differs from what the model wrote."""


class PageExchange(msgspec.Struct, frozen=True, kw_only=True):
    """One of several turns of a document: what was asked, and the model's reply."""

    request: PageRequest = PageRequest()
    response: PageResponse | None = None


class PageDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One document under one few-shot seed. Its fields are those of a line in `details/` (docs/reports.md#details)."""

    id: str
    few_shot_seed: int = 0
    doc: PageQuestion = PageQuestion()
    prompt: str | tuple[PageTurn, ...] = ""
    few_shot_ids: tuple[str, ...] = ()
    answers: dict[str, PageAnswer] = {}
    """By what was asked: `choices`, `golds`, `generation`..."""
    scores: dict[str, Any] = {}
    """By metric: a number, None, or what a metric of the whole corpus needs of the document."""
    extracted: dict[str, str | None] | None = None
    """By metric: the answer that it found in the text, None where it found none. None: no metric says."""
    turns: tuple[PageExchange, ...] = ()
    """Of a document that asks several times. Empty: it asks once."""
    grades: dict[str, list[dict[str, Any]]] = {}
    """By metric: what a judge, or a program that ran the answer, said of each text: `outcome`, `mark`, and facts."""
    truncated: bool = False
    error: str | None = None
    not_judged: dict[str, str] = {}
    cut_texts: int = 0
    cut_in_thoughts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PageTask:
    """The documents of one task in one run."""

    key: str
    """`suite|task|few_shots`, as in results.json."""
    documents: Iterable[PageDocument]
    """Read once, in order, while the page is written."""
    is_partial: bool = False
    """The task ended before all of its documents were answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRun:
    """One run."""

    name: str
    """What a reader calls it: the model, a step, a folder. Unique in its page."""
    results: Mapping[str, Any]
    """The content of results.json, or as much of it as is known: `metrics`, `verdicts`, `run`, `backend`... (docs/reports.md)."""
    tasks: Iterable[PageTask] = ()
    """Empty: its texts are unknown, as those of a baseline file are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFlip:
    """A document that scores otherwise than in the reference."""

    id: str
    before: float
    after: float
    is_loss: bool
    reason: str | None = None
    """Why, by rule, in a few words: `near tie`, `other text`... None: no rule says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageComparison:
    """One run beside its reference."""

    candidate: int
    """Place of the run in `PageData.runs`."""
    reference: int | None
    """Place of the run that it is compared with. None: a baseline, which holds scores and no texts."""
    label: str
    """What it is compared with, for a reader."""
    verdicts: Mapping[str, Iterable[Mapping[str, Any]]]
    """By task or group: verdicts as in results.json."""
    flips: Mapping[str, Mapping[str, Iterable[PageFlip]]] = field(default_factory=dict)
    """By task and metric."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PagePoint:
    """One checkpoint, or one night, of a curve."""

    label: str
    """`step-1000`, or a date."""
    step: float | None
    """Its place on the axis. None: the points are as far apart as they come."""
    value: float
    n: int
    lower: float | None = None
    """Of the 95 % interval of the value. None: unknown."""
    upper: float | None = None
    change: float | None = None
    """Paired difference to the point before, in the metric's unit; above 0 is better. None: there is no point before."""
    change_lower: float | None = None
    change_upper: float | None = None
    against_best: float | None = None
    """The same against the best point before."""
    against_best_lower: float | None = None
    against_best_upper: float | None = None
    outcome: str | None = None
    """What a gate said, such as `REGRESSED`. None: there is no gate."""
    link: str | None = None
    """The address of its own page, relative to this one. None: it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageCurve:
    """One metric of a task over checkpoints."""

    key: str
    metric: str
    higher_is_better: bool
    points: tuple[PagePoint, ...]
    has_times: bool = False
    """The steps of its points are seconds since 1970 (UTC)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageData:
    """A whole page."""

    title: str
    runs: tuple[PageRun, ...]
    """The first is the one that the page is about."""
    comparisons: tuple[PageComparison, ...] = ()
    curves: tuple[PageCurve, ...] = ()
    notes: tuple[str, ...] = ()
    """Lines above everything: what a reader must know of the page itself."""
