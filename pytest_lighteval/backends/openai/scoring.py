"""Log-likelihoods and perplexities from a server's echoed prompts: one HTTP request for each context and continuation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from pytest_lighteval.backends.common.scoring_requests import (
    NO_TOKENS,
    choice_pairs,
    gather_scores,
    tokenize_choices,
    tokenize_texts,
    unscorable_reason,
)
from pytest_lighteval.backends.common.token_pairs import TextPair, TokenPair, move_spaces
from pytest_lighteval.backends.openai.concurrency import work_through
from pytest_lighteval.backends.openai.echo import Echo, ask_echo, count_prompt_tokens, same_context
from pytest_lighteval.backends.openai.errors import FinalStatusError, UnansweredError
from pytest_lighteval.backends.openai.server import Server
from pytest_lighteval.errors import BackendError
from pytest_lighteval.types import (
    LoglikelihoodRequest,
    LoglikelihoodResponse,
    PerplexityRequest,
    PerplexityResponse,
    Prompt,
    Tokenization,
)

_UNLIMITED = 2**31
_MERGED = 2
"""Tokens by which a context alone and the same text at the start of a longer one may differ."""
_NO_START = "an empty context needs a start: give tokenizer=, or start_text=, the text of the model's end-of-sequence token"


@dataclass(frozen=True, slots=True, kw_only=True)
class _PairScore:
    logprob: float
    greedy: bool
    token_count: int


@dataclass(slots=True, kw_only=True)
class _PendingRequest:
    """One request as pairs to be scored: in ids, or in texts if the server takes no ids."""

    pairs: tuple[TokenPair | TextPair, ...] = ()
    truncated: int = 0
    error: str | None = None
    """Why it cannot be scored. It then has no pairs."""
    failure: str | None = None
    """Why one of its pairs has no score, set by the thread that finds it, so that no other thread sends more of a lost request."""
    contexts: dict[tuple[int, ...] | str, Echo] = field(default_factory=dict)
    """By context, the echo of the first continuation after it: the context's values must be the same before every other one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _PairJob:
    """One continuation to be scored after a context."""

    owner: _PendingRequest
    place: int
    """Its index among the pairs of all requests."""
    pair: TokenPair | TextPair


class EchoScorer:
    """Scores with a server that can. Yields each request once, as soon as it is complete."""

    def __init__(self, server: Server) -> None:
        self._server, self._arguments, self._client = server, server.arguments, server.client

    def loglikelihood(self, requests: Sequence[LoglikelihoodRequest]) -> Iterator[tuple[int, LoglikelihoodResponse]]:
        """See `Backend.loglikelihood`. Raises UnsupportedRequestError for a server that gives no log-probabilities."""
        self._server.require_scores()
        pending = self._choice_requests(requests)
        for index, scores in self._score(pending):
            yield index, _loglikelihood_response(pending[index], scores, len(requests[index].choices))

    def perplexity(self, requests: Sequence[PerplexityRequest]) -> Iterator[tuple[int, PerplexityResponse]]:
        """See `Backend.perplexity`. Raises UnsupportedRequestError likewise."""
        self._server.require_scores()
        for index, scores in self._score(self._text_requests(requests)):
            if isinstance(scores, str):
                yield index, PerplexityResponse(error=scores)
                continue
            logprob = math.fsum(score.logprob for score in scores)
            yield index, PerplexityResponse(logprob=logprob, token_count=sum(score.token_count for score in scores))

    def _choice_requests(self, requests: Sequence[LoglikelihoodRequest]) -> list[_PendingRequest]:
        """Each request as its choices after its prompts."""
        if self._server.tokenizer is None:
            reasons = [unscorable_reason(request.choices) for request in requests]
            return [
                _PendingRequest(error=reason) if reason else _PendingRequest(pairs=tuple(self._pairs(request)))
                for request, reason in zip(requests, reasons, strict=True)
            ]
        pending = []
        start_space = self._arguments.multichoice_continuations_start_space
        fitted = tokenize_choices(requests, self._server.tokenizer, start_space=start_space, max_input_tokens=self._max_input_tokens)
        for request, ids in zip(requests, fitted, strict=True):
            pairs: Sequence[TokenPair | TextPair] = ids.pairs
            if not self._server.takes_ids and ids.error is None:
                texts = [self._as_text(pair) for pair in self._pairs(request)]
                pairs = [
                    self._shortened(text, pair.context) if cut else text
                    for text, pair, cut in zip(texts, ids.pairs, ids.truncated_tokens, strict=True)
                ]
            pending.append(_PendingRequest(pairs=tuple(pairs), truncated=max(ids.truncated_tokens, default=0), error=ids.error))
        return pending

    def _pairs(self, request: LoglikelihoodRequest) -> list[TextPair]:
        start_space = self._arguments.multichoice_continuations_start_space
        return choice_pairs(request, self._text, start_space, request.tokenization or "lighteval")

    @property
    def _max_input_tokens(self) -> int:
        """See `tokenize_choices`. The prompt has the last token of a choice too, and every server generates one more."""
        return max(1, (self._server.max_length or _UNLIMITED) - 2)

    def _text_requests(self, requests: Sequence[PerplexityRequest]) -> list[_PendingRequest]:
        """Each request as windows of ids, or as one text if the server takes no ids."""
        tokenizer = self._server.tokenizer
        if tokenizer is not None and self._server.takes_ids:
            fitted = tokenize_texts(requests, tokenizer, max_input_tokens=self._max_input_tokens)
            return [_PendingRequest(pairs=one.pairs, error=one.error) for one in fitted]
        return [
            _PendingRequest(pairs=(self._whole(request),)) if request.text else _PendingRequest(error=NO_TOKENS) for request in requests
        ]

    def _whole(self, request: PerplexityRequest) -> TextPair:
        return TextPair(context="", continuation=request.text, tokenization=request.tokenization or "lighteval")

    def _shortened(self, pair: TextPair, kept: Sequence[int]) -> TextPair:
        moved = move_spaces(pair)
        assert self._server.tokenizer is not None
        context: str = self._server.tokenizer.tokenizer.decode(list(kept), skip_special_tokens=False)
        return replace(moved, context=context)

    def _as_text(self, pair: TextPair) -> TextPair:
        return replace(pair, context=self._server.as_text(pair.context, rendered=pair.rendered))

    def _text(self, prompt: Prompt) -> tuple[str, bool]:
        """The text that is passed to the model, and whether it was rendered from turns."""
        if isinstance(prompt, str):
            return prompt, False
        if self._server.tokenizer is None:
            raise BackendError("choices after chat turns need tokenizer=: a server's chat API gives no log-probabilities of a given answer")
        return self._server.tokenizer.text(prompt)

    def _score(self, pending: Sequence[_PendingRequest]) -> Iterator[tuple[int, list[_PairScore] | str]]:
        """Each request once, as soon as it is complete."""
        owned = [(one, pair) for one in pending for pair in one.pairs]
        jobs = [_PairJob(owner=one, place=place, pair=pair) for place, (one, pair) in enumerate(owned)]
        done = ((job.place, score) for job, score in work_through(jobs, self._score_one, threads=self._arguments.concurrency))
        for index, scores in gather_scores([len(one.pairs) for one in pending], done):
            pending[index].contexts.clear()  # an echo has every token of a long prompt
            yield index, pending[index].error or scores

    def _score_one(self, job: _PairJob) -> _PairScore | str:
        """The score, or why there is none."""
        if job.owner.failure is not None:
            return job.owner.failure
        try:
            if isinstance(job.pair, TokenPair):
                ids = (*job.pair.context, *job.pair.continuation)
                echo = ask_echo(self._client, self._server.model, ids)
                self._server.check_echo(echo, ids)
                count = len(job.pair.continuation)
            else:
                echo, count = self._ask_text(job.pair)
            # one step, whichever thread is first
            first = job.owner.contexts.setdefault(job.pair.context, echo)
            if not same_context(first, echo):
                raise UnansweredError("the server's log-probabilities of a context depend on what follows it: they belong to other tokens")
            logprob, greedy = echo.score_last(count)
        except FinalStatusError as error:
            raise self._server.no_answer(error) from None
        except UnansweredError as error:
            job.owner.failure = str(error)
            return job.owner.failure
        return _PairScore(logprob=logprob, greedy=greedy, token_count=count)

    def _ask_text(self, pair: TextPair) -> tuple[Echo, int]:
        """The pair's echo, and how many of its last tokens are the continuation. By Lighteval's rule, spaces move into it."""
        moved = move_spaces(pair)
        start = moved.context or self._start_text(moved.tokenization)
        whole = start + moved.continuation
        echo = ask_echo(self._client, self._server.model, whole)
        self._server.check_echo(echo, whole)
        if not start:
            # a server that adds a beginning token may echo it or not; without this token, the first one has no score
            hidden = echo.prompt_tokens - len(echo.tokens)
            shown = 1 if echo.logprobs[0] is None and "".join(echo.tokens[1:]) == whole else 0
            if not hidden and not shown:
                raise UnansweredError(_NO_START)
            return echo, len(echo.tokens) - shown
        count = echo.count_after(whole, len(start)) if moved.context else None
        if count is None:
            alone = count_prompt_tokens(self._client, self._server.model, start)
            if alone is None:
                raise UnansweredError("the server's tokens do not spell the prompt, and it does not count a prompt's tokens")
            self._server.check_count(alone, self._server.expected_tokens(start))
            # if the continuation merged into the context's last token, it is that token
            count = max(1, echo.prompt_tokens - alone)
            covering = echo.count_covering(len(moved.continuation))
            if covering is not None and abs(count - covering) > _MERGED:
                raise UnansweredError(f"the server counts {count} tokens in the continuation, whose text is in the last {covering}")
        return echo, count

    def _start_text(self, tokenization: Tokenization) -> str:
        if self._arguments.start_text is not None:
            return self._arguments.start_text
        if self._server.tokenizer is None:
            return ""
        text: str = self._server.tokenizer.tokenizer.decode(
            [self._server.tokenizer.special.start_of(tokenization)], skip_special_tokens=False
        )
        return text


def _loglikelihood_response(pending: _PendingRequest, scores: Sequence[_PairScore] | str, count: int) -> LoglikelihoodResponse:
    if isinstance(scores, str):
        return LoglikelihoodResponse(error=scores)
    ids = [pair for pair in pending.pairs[:count] if isinstance(pair, TokenPair)]
    return LoglikelihoodResponse(
        logprobs=tuple(score.logprob for score in scores[:count]),
        greedy=tuple(score.greedy for score in scores[:count]),
        token_counts=tuple(score.token_count for score in scores[:count]),
        unconditioned_logprobs=tuple(score.logprob for score in scores[count:]) or None,
        prompt_token_ids=ids[0].context if ids else None,
        choice_token_ids=tuple(pair.continuation for pair in ids) or None,
        truncated_tokens=pending.truncated,
    )
