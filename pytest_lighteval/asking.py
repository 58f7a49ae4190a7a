"""A backend is asked about documents: everything about them, and turn by turn where a document is a conversation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol, runtime_checkable

from pytest_lighteval.errors import BackendError, RequestsFailedError
from pytest_lighteval.prompts.reasoning import ReasoningTags, answer_after_thoughts
from pytest_lighteval.types import (
    Ask,
    Backend,
    Doc,
    GenerateRequest,
    GenerateResponse,
    Message,
    Prompt,
    Request,
    RequestKind,
    Response,
    SampleValue,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptedDoc:
    """One document with its prompt under one few-shot seed, and all requests about it."""

    doc: Doc
    few_shot_seed: int
    num_shots: int
    """Few-shot examples in the prompt."""
    dropped_shots: int
    """Examples that the truncation flag left out."""
    prompt: Prompt
    requests: Mapping[str, Request]
    """Of a conversation those of its first turn; each later one follows from an answer."""
    prompt_digest: str
    shots: tuple[Doc, ...] = ()
    """The examples. Empty: there are none, or a guest does not say which they are."""
    score: Callable[[Mapping[str, Response]], Mapping[str, SampleValue | None]] | None = None
    """A guest's own scoring of its responses. None: the task's metrics score them."""

    @property
    def asked(self) -> int:
        """How many requests there are about it, those of later turns included."""
        is_talk = any(isinstance(request, GenerateRequest) for request in self.requests.values())
        return len(set(self.requests.values())) + (len(self.doc.turns) if is_talk else 0)


@dataclass(slots=True)
class Progress:
    """How far an evaluation is. The callback sees it after every response."""

    done: int
    total: int
    """Requests."""
    documents: int = 0
    """The documents that they are about, once for each few-shot seed."""


@runtime_checkable
class LearnsAnswers(Protocol):
    """A backend that is given the documents, so that it can answer them right as often as a test wants. For tests only."""

    def learn(self, request: Request, doc: Doc) -> None:
        """Called once for every request, before the backend is asked."""


@runtime_checkable
class FollowsUp(Protocol):
    """A backend that answers a part of what it is asked (`--shard`), and all of what follows from its own answers."""

    def follow_up(self, requests: Sequence[GenerateRequest]) -> Iterator[tuple[int, GenerateResponse]]:
        """As `Backend.generate`, of all requests."""

    def complete(self, requests: Sequence[Any], wanted: Collection[int]) -> Iterator[tuple[int, Any]]:
        """Answer the requests of another kind about the documents of this part, which are at these positions, and perhaps more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thoughts:
    """What is known of a model's thoughts in a task's answers."""

    tags: ReasoningTags
    opened: str | None
    """The opening tag with which the prompts end, so answers begin within thoughts. None: they do not, or nobody knows."""
    stop_sequence: tuple[str, ...]
    """Where the answers after the thoughts are cut."""


def without_thoughts(response: GenerateResponse, thoughts: Thoughts) -> tuple[GenerateResponse, int]:
    """The response with its answers alone, and how many of its texts ended within thoughts."""
    reasons = response.finish_reasons or ("",) * len(response.texts)
    answers = [
        answer_after_thoughts(
            text, thoughts.tags, stop_sequence=thoughts.stop_sequence, opened=thoughts.opened, at_limit=reason == "length"
        )
        for text, reason in zip(response.texts, reasons, strict=True)
    ]
    return replace(response, texts=tuple(answer.text for answer in answers)), sum(answer.is_cut for answer in answers)


def teach(backend: LearnsAnswers, docs: Sequence[PromptedDoc]) -> None:
    """Give a backend the documents of all first requests."""
    for prompted in docs:
        for request in prompted.requests.values():
            backend.learn(request, prompted.doc)


@dataclass(frozen=True, slots=True, kw_only=True)
class Responses:
    """All responses about one document."""

    by_ask: Mapping[str, Response]
    """Of a conversation the last turn's, and for `Ask.TURNS` the texts of all turns in one response."""
    turns: tuple[tuple[GenerateRequest, GenerateResponse], ...] = ()
    """Each turn of a conversation, in order. Empty: it is none."""


@dataclass(slots=True)
class _Pending:
    """The responses about one document as they come in."""

    missing: int
    by_ask: dict[str, Response] = field(default_factory=dict)
    turns: list[tuple[GenerateRequest, GenerateResponse]] = field(default_factory=list)

    @property
    def responses(self) -> Responses:
        return Responses(by_ask=self.by_ask, turns=tuple(self.turns))


def ask_all(
    backend: Backend,
    docs: Mapping[int, PromptedDoc],
    progress: Progress,
    on_progress: Callable[[Progress], None],
    *,
    all_of_it: bool,
    thoughts: Thoughts | None,
) -> Iterator[tuple[int, Responses]]:
    """Ask everything, one call of the backend a kind, and yield a document's index and responses as soon as it has all of them.

    Equal requests about a document are asked once. Conversations go on in rounds: a call for all second turns, then one for all third.

    Raises:
        RequestsFailedError: A request was not answered although `all_of_it` must be.
        BackendError: A request was answered twice, or the backend failed.
    """
    asked = first_requests(docs)
    pending = {index: _Pending(missing=len(set(doc.requests.values()))) for index, doc in docs.items()}

    on_progress(progress)
    kinds = sorted(asked)
    for kind in kinds:
        requests, askers = asked[kind].requests, asked[kind].askers
        # each kind has its own request type, which the method of that name takes
        ask = getattr(backend, kind.value)
        if kind != kinds[0] and not all_of_it and isinstance(backend, FollowsUp):
            # the first kind decides which documents are in this part
            wanted = {position for position, (index, _) in enumerate(askers) if pending[index].by_ask}
            ask = partial(backend.complete, wanted=wanted)
        is_first = True
        while requests:
            following = Asked()
            unanswered = set(range(len(requests)))
            for position, response in ask(requests):
                if position not in unanswered:
                    raise BackendError(f"backend {backend.name!r} answered {kind} request {position} twice, or was never asked it")
                unanswered.remove(position)
                index, answered = askers[position]
                progress.done += 1
                on_progress(progress)
                one, doc = pending[index], docs[index].doc
                request = requests[position]
                if isinstance(request, GenerateRequest) and isinstance(response, GenerateResponse) and (doc.turns or Ask.TURNS in answered):
                    one.turns.append((request, response))
                    if response.error is None and len(one.turns) <= len(doc.turns):
                        following.requests.append(_next_request(request, response, doc.turns[len(one.turns) - 1], thoughts))
                        following.askers.append((index, answered))
                        continue
                    one.by_ask |= {asked_for: _of_turns(one.turns, asked_for) for asked_for in answered}
                else:
                    one.by_ask |= dict.fromkeys(answered, response)
                one.missing -= 1
                if one.missing == 0:
                    yield index, one.responses
            if unanswered and (all_of_it or not is_first):
                count = len(requests)
                raise RequestsFailedError(f"backend {backend.name!r} answered {count - len(unanswered)} of {count} {kind} requests")
            # in the documents' order, whatever the order of the answers: what is asked together may change the last digits
            order = sorted(range(len(following.requests)), key=lambda place: following.askers[place][0])
            requests, askers = [following.requests[place] for place in order], [following.askers[place] for place in order]
            if isinstance(backend, LearnsAnswers):
                for request, (index, _) in zip(requests, askers, strict=True):
                    backend.learn(request, docs[index].doc)
            ask = backend.follow_up if isinstance(backend, FollowsUp) else backend.generate
            is_first = False


def _next_request(request: GenerateRequest, response: GenerateResponse, said: str, thoughts: Thoughts | None) -> GenerateRequest:
    """What is asked when the user goes on: the conversation so far, without the model's thoughts."""
    assert not isinstance(request.prompt, str)
    (answer, *_) = (response if thoughts is None else without_thoughts(response, thoughts)[0]).texts
    return replace(request, prompt=(*request.prompt, Message(role="assistant", content=answer), Message(role="user", content=said)))


def _of_turns(turns: Sequence[tuple[GenerateRequest, GenerateResponse]], asked_for: str) -> GenerateResponse:
    """The response to all turns, or to the last of them. A turn that failed is its error."""
    for number, (_, response) in enumerate(turns, start=1):
        if response.error is not None:
            return replace(response, error=f"turn {number}: {response.error}" if len(turns) > 1 else response.error)
    responses = [response for _, response in turns]
    if asked_for != Ask.TURNS or len(turns) == 1:
        return responses[-1]
    tokens = [response.token_ids for response in responses]
    return GenerateResponse(
        texts=tuple(text for response in responses for text in response.texts),
        token_ids=tuple(ids for of_turn in tokens if of_turn is not None for ids in of_turn) if None not in tokens else None,
        finish_reasons=tuple(reason for response in responses for reason in response.finish_reasons),
        truncated_tokens=max(response.truncated_tokens for response in responses),
        empty_reasons=tuple(reason for response in responses for reason in response.empty_reasons or ("",) * len(response.texts))
        if any(response.empty_reasons for response in responses)
        else (),
    )


@dataclass(slots=True)
class Asked:
    """The requests of one kind."""

    requests: list[Request] = field(default_factory=list)
    askers: list[tuple[int, list[str]]] = field(default_factory=list)
    """For each of them, its document and what it answers there."""


def first_requests(docs: Mapping[int, PromptedDoc]) -> dict[RequestKind, Asked]:
    """What is asked about these documents at first, equal requests about a document once."""
    asked: dict[RequestKind, Asked] = {}
    for index, doc in docs.items():
        asks: dict[Request, list[str]] = {}
        for ask, request in doc.requests.items():
            asks.setdefault(request, []).append(ask)
        for request, answered in asks.items():
            of_kind = asked.setdefault(request.kind, Asked())
            of_kind.requests.append(request)
            of_kind.askers.append((index, answered))
    return asked
