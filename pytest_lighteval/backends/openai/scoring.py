"""Log-likelihoods and perplexities through a server's echoed prompts: one HTTP request for each context and continuation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from pytest_lighteval.backends.asking import NO_TOKENS, ask_choices, ask_rolling, choice_pairs, why_not_asked
from pytest_lighteval.backends.openai.client import FinalStatusError, UnansweredError
from pytest_lighteval.backends.openai.echo import Echo, ask_echo, count_prompt_tokens
from pytest_lighteval.backends.openai.pool import work_through
from pytest_lighteval.backends.openai.server import Server
from pytest_lighteval.backends.tokenization import TextPair, TokenPair, move_spaces
from pytest_lighteval.errors import BackendError
from pytest_lighteval.types import (
    LoglikelihoodRequest,
    LoglikelihoodResponse,
    PerplexityRequest,
    PerplexityResponse,
    Prompt,
)

__all__ = ["Scorer"]

_UNLIMITED = 2**31
_NO_START = "nothing can stand before an empty context: give tokenizer=, or start_text=, the text of the model's end-of-sequence token"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scored:
    logprob: float
    greedy: bool
    token_count: int


@dataclass(slots=True, kw_only=True)
class _Asked:
    """One request on its way."""

    index: int
    jobs: list[_Job] = field(default_factory=list)
    scores: dict[int, _Scored] = field(default_factory=dict)
    """By position in `jobs`."""
    truncated: int = 0
    error: str | None = None
    failure: str | None = None
    """The same, as the thread that met it tells the others at once, so that none asks for more of a request that is lost."""

    def add(self, pairs: Iterable[TokenPair | TextPair]) -> None:
        """What is to be scored, in order."""
        self.jobs += [_Job(owner=self, position=position, pair=pair) for position, pair in enumerate(pairs)]

    @property
    def is_complete(self) -> bool:
        return self.error is not None or len(self.scores) == len(self.jobs)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Job:
    """One continuation to be scored after a context."""

    owner: _Asked
    position: int
    pair: TokenPair | TextPair


class Scorer:
    """Asks a server that can score. Order out is that of arrival; every request comes out once."""

    def __init__(self, server: Server) -> None:
        self._server, self._arguments, self._client = server, server.arguments, server.client

    def loglikelihood(self, requests: Sequence[LoglikelihoodRequest]) -> Iterator[tuple[int, LoglikelihoodResponse]]:
        """See `Backend.loglikelihood`. Raises UnsupportedRequestError for a server that gives no log-probabilities."""
        self._server.require_scores()
        for done in self._score(self._ask_choices(requests)):
            count = len(requests[done.index].choices)
            yield done.index, _loglikelihood_response(done, count)

    def perplexity(self, requests: Sequence[PerplexityRequest]) -> Iterator[tuple[int, PerplexityResponse]]:
        """See `Backend.perplexity`. Raises UnsupportedRequestError likewise."""
        self._server.require_scores()
        for done in self._score(self._ask_rolling(requests)):
            if done.error is not None:
                yield done.index, PerplexityResponse(error=done.error)
                continue
            scores = done.scores.values()
            logprob = math.fsum(score.logprob for score in scores)
            yield done.index, PerplexityResponse(logprob=logprob, token_count=sum(score.token_count for score in scores))

    def _ask_choices(self, requests: Sequence[LoglikelihoodRequest]) -> list[_Asked]:
        """The requests with one job for every choice after every prompt of theirs."""
        asked = [_Asked(index=index) for index in range(len(requests))]
        start_space = self._arguments.multichoice_continuations_start_space
        if self._server.texts is None:
            for one, request in zip(asked, requests, strict=True):
                one.error = why_not_asked(request.choices)
                if one.error is None:
                    one.add(choice_pairs(request, self._text, start_space))
            return asked
        fitted = ask_choices(requests, self._server.texts, start_space=start_space, fed=self._fed)
        for one, request, ids in zip(asked, requests, fitted, strict=True):
            one.error, one.truncated = ids.error, max(ids.cuts, default=0)
            if self._server.takes_ids or one.error is not None:
                one.add(ids.pairs)
                continue
            texts = [self._as_text(pair) for pair in choice_pairs(request, self._text, start_space)]
            one.add(
                self._shortened(text, pair.context) if cut else text for text, pair, cut in zip(texts, ids.pairs, ids.cuts, strict=True)
            )
        return asked

    @property
    def _fed(self) -> int:
        """Most tokens of a context and all but the last token of a choice: the last one is fed too, and every server makes one more."""
        return max(1, (self._server.max_length or _UNLIMITED) - 2)

    def _ask_rolling(self, requests: Sequence[PerplexityRequest]) -> list[_Asked]:
        """Whole texts in windows of ids; each as one text where the server takes no ids."""
        asked = [_Asked(index=index) for index in range(len(requests))]
        texts = self._server.texts
        if texts is not None and self._server.takes_ids:
            for one, fitted in zip(asked, ask_rolling(requests, texts, start=texts.special.start, fed=self._fed), strict=True):
                one.error = fitted.error
                one.add(fitted.pairs)
            return asked
        for one, request in zip(asked, requests, strict=True):
            if request.text:
                one.add([TextPair(context="", continuation=request.text)])
            else:
                one.error = NO_TOKENS
        return asked

    def _shortened(self, pair: TextPair, kept: Sequence[int]) -> TextPair:
        moved = move_spaces(pair)
        assert self._server.texts is not None
        context: str = self._server.texts.tokenizer.decode(list(kept), skip_special_tokens=False)
        return TextPair(context=context, continuation=moved.continuation, rendered=pair.rendered)

    def _as_text(self, pair: TextPair) -> TextPair:
        return replace(pair, context=self._server.as_text(pair.context, rendered=pair.rendered))

    def _text(self, prompt: Prompt) -> tuple[str, bool]:
        """The text that is fed, and whether it was rendered from turns."""
        if isinstance(prompt, str):
            return prompt, False
        if self._server.texts is None:
            raise BackendError("choices after chat turns need tokenizer=: a server's chat API gives no log-probabilities of a given answer")
        return self._server.texts.text(prompt)

    def _score(self, asked: Sequence[_Asked]) -> Iterator[_Asked]:
        """Each of them once, as soon as it is complete."""
        yield from (one for one in asked if one.is_complete)
        jobs = [job for one in asked if not one.is_complete for job in one.jobs]
        for job, scored in work_through(jobs, self._score_one, threads=self._arguments.concurrency):
            one = job.owner
            if one.error is not None:
                continue
            if isinstance(scored, _Scored):
                one.scores[job.position] = scored
            else:
                one.error = scored
            if one.is_complete:
                yield one

    def _score_one(self, job: _Job) -> _Scored | str:
        """The score, or why there is none."""
        if job.owner.failure is not None:
            return job.owner.failure
        try:
            if isinstance(job.pair, TokenPair):
                echo = ask_echo(self._client, self._server.model, (*job.pair.context, *job.pair.continuation))
                count = len(job.pair.continuation)
            else:
                echo, count = self._ask_text(job.pair)
            logprob, greedy = echo.score_last(count)
        except FinalStatusError as error:
            raise self._server.no_answer(error) from None
        except UnansweredError as error:
            job.owner.failure = str(error)
            return job.owner.failure
        return _Scored(logprob=logprob, greedy=greedy, token_count=count)

    def _ask_text(self, pair: TextPair) -> tuple[Echo, int]:
        """The pair's echo, and how many of its last tokens are the continuation: Lighteval's rule, spaces move into it."""
        moved = move_spaces(pair)
        start = moved.context or self._start_text
        whole = start + moved.continuation
        echo = ask_echo(self._client, self._server.model, whole)
        if not start:
            # a server that adds a beginning token by itself may show it or not; without one the first token has no score
            hidden = echo.prompt_tokens - len(echo.tokens)
            shown = 1 if echo.logprobs[0] is None and "".join(echo.tokens[1:]) == whole else 0
            if not hidden and not shown:
                raise UnansweredError(_NO_START)
            return echo, len(echo.tokens) - shown
        count = echo.count_behind(whole, len(start)) if moved.context else None
        if count is None:
            alone = count_prompt_tokens(self._client, self._server.model, start)
            if alone is None:
                raise UnansweredError("the server's tokens do not spell the prompt, and it does not count a prompt's tokens")
            # a continuation that merged into the context's last token is that token
            count = max(1, echo.prompt_tokens - alone)
        return echo, count

    @property
    def _start_text(self) -> str:
        if self._arguments.start_text is not None:
            return self._arguments.start_text
        if self._server.texts is None:
            return ""
        text: str = self._server.texts.tokenizer.decode([self._server.texts.special.start], skip_special_tokens=False)
        return text


def _loglikelihood_response(done: _Asked, count: int) -> LoglikelihoodResponse:
    if done.error is not None:
        return LoglikelihoodResponse(error=done.error)
    scores = [done.scores[position] for position in range(len(done.jobs))]
    ids = [job.pair for job in done.jobs[:count] if isinstance(job.pair, TokenPair)]
    return LoglikelihoodResponse(
        logprobs=tuple(score.logprob for score in scores[:count]),
        greedy=tuple(score.greedy for score in scores[:count]),
        token_counts=tuple(score.token_count for score in scores[:count]),
        unconditioned_logprobs=tuple(score.logprob for score in scores[count:]) or None,
        prompt_token_ids=ids[0].context if ids else None,
        choice_token_ids=tuple(pair.continuation for pair in ids) or None,
        truncated_tokens=done.truncated,
    )
