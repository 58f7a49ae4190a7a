"""Requests as pairs of token ids that fit the model, and responses from the scores of the pairs. Knows no engine: the caller scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from pytest_lighteval.backends.common.token_pairs import TextPair, TokenPair, rolling_windows, with_start_space
from pytest_lighteval.types import (
    LoglikelihoodRequest,
    LoglikelihoodResponse,
    PerplexityRequest,
    PerplexityResponse,
    Prompt,
    Tokenization,
)

Score = TypeVar("Score")
"""The score of one pair: any type but `str`, which says why there is no score."""

NO_TOKENS = "the text has no tokens"
_NOT_A_NUMBER = "the model's log-probabilities are not numbers (nan): something overflowed; try dtype=bfloat16 or float32"


class RequestTokenizer(Protocol):
    """A tokenizer and its rules. `PromptTokenizer` is one."""

    def text(self, prompt: Prompt) -> tuple[str, bool]:
        """The text that is passed to the model, and whether it was rendered from turns."""

    def pairs(self, pairs: Sequence[TextPair]) -> list[TokenPair]:
        """Contexts and continuations as ids."""

    def rolling(self, requests: Sequence[PerplexityRequest]) -> list[tuple[int, tuple[int, ...]]]:
        """Whole texts to be scored: the token before the first, and the ids."""

    def tokenization(self, request: LoglikelihoodRequest) -> Tokenization:
        """Whose rule splits the request's contexts and choices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairScore:
    """How likely a continuation is."""

    logprob: float
    """Natural log, summed over its tokens in float64."""
    greedy: bool
    """Every token of it is the likeliest one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizedRequest:
    """One request as pairs to be scored. All pairs fit the model."""

    pairs: tuple[TokenPair, ...] = ()
    """Of a choice request: each choice after the prompt, then each choice after the unconditioned prompt if there is one."""
    truncated_tokens: tuple[int, ...] = ()
    """Of a choice request: how many tokens each pair's context lost on its left."""
    error: str | None = None
    """Why it cannot be scored. It then has no pairs."""


def tokenize_choices(
    requests: Sequence[LoglikelihoodRequest], tokenizer: RequestTokenizer, *, start_space: bool | None, max_input_tokens: int
) -> list[TokenizedRequest]:
    """In the order of the requests. `max_input_tokens`: the most tokens that the model takes, a choice's last one not counted."""
    pairs: list[TextPair] = []
    spans = []
    for request in requests:
        first = len(pairs)
        pairs += choice_pairs(request, tokenizer.text, start_space, tokenizer.tokenization(request))
        spans.append(slice(first, len(pairs)))
    encoded = tokenizer.pairs(pairs)
    return [_fit(request, encoded[span], max_input_tokens) for request, span in zip(requests, spans, strict=True)]


def choice_pairs(
    request: LoglikelihoodRequest,
    text: Callable[[Prompt], tuple[str, bool]],
    start_space: bool | None,
    tokenization: Tokenization = "lighteval",
) -> list[TextPair]:
    """The texts of `TokenizedRequest.pairs`. `text` is that of a `RequestTokenizer`."""
    pairs = []
    for prompt in (request.prompt, request.unconditioned_prompt):
        if prompt is not None:
            context, rendered = text(prompt)
            pairs += [
                TextPair(context=context, continuation=with_start_space(choice, start_space), rendered=rendered, tokenization=tokenization)
                for choice in request.choices
            ]
    return pairs


def unscorable_reason(choices: Sequence[str]) -> str | None:
    """Why these choices cannot be scored, whatever their tokens are. None: they can."""
    if not choices:
        return "the request has no choices"
    return next((_empty(number, choice) for number, choice in enumerate(choices) if not choice), None)


def tokenize_texts(requests: Sequence[PerplexityRequest], tokenizer: RequestTokenizer, *, max_input_tokens: int) -> list[TokenizedRequest]:
    """In the order of the requests. A text of more than `max_input_tokens` becomes several pairs (see `rolling_windows`)."""
    windows = [tuple(rolling_windows(tokens, start, max_input_tokens)) for start, tokens in tokenizer.rolling(requests)]
    return [TokenizedRequest(pairs=pairs) if pairs else TokenizedRequest(error=NO_TOKENS) for pairs in windows]


def pairs_of(requests: Sequence[TokenizedRequest]) -> list[TokenPair]:
    """The pairs of all requests, in their order. `gather_request_scores` takes scores by the place in this list."""
    return [pair for request in requests for pair in request.pairs]


def gather_scores(counts: Sequence[int], scored: Iterable[tuple[int, Score | str]]) -> Iterator[tuple[int, list[Score] | str]]:
    """Each request's index and the scores of its pairs, as soon as it is complete; or why one of its pairs has no score.

    `counts` has the number of pairs of each request. `scored` has, in any order, each pair's place among all pairs and its score, or why
    it has none. Requests without pairs come first, with no scores.
    """
    owners = [(index, position) for index, count in enumerate(counts) for position in range(count)]
    waiting: dict[int, dict[int, Score]] = {index: {} for index, count in enumerate(counts) if count}
    yield from ((index, []) for index, count in enumerate(counts) if not count)
    for place, score in scored:
        index, position = owners[place]
        if index not in waiting:  # another pair of it has failed
            continue
        if isinstance(score, str):
            del waiting[index]
            yield index, score
            continue
        waiting[index][position] = score
        if len(waiting[index]) == counts[index]:
            scores = waiting.pop(index)
            yield index, [scores[position] for position in range(len(scores))]


def gather_request_scores(
    requests: Sequence[TokenizedRequest], scored: Iterable[tuple[int, PairScore | str]]
) -> Iterator[tuple[int, list[PairScore] | str]]:
    """The same for `pairs_of(requests)`. A request that cannot be scored comes with its error."""
    for index, scores in gather_scores([len(request.pairs) for request in requests], scored):
        yield index, requests[index].error or scores


def loglikelihood_response(request: TokenizedRequest, scores: Sequence[PairScore] | str, choices: int) -> LoglikelihoodResponse:
    """The response to a request with this number of choices, from its pairs' scores or from what went wrong."""
    if isinstance(scores, str):
        return LoglikelihoodResponse(error=scores)
    if any(math.isnan(score.logprob) for score in scores):
        return LoglikelihoodResponse(error=_NOT_A_NUMBER)
    return LoglikelihoodResponse(
        logprobs=tuple(score.logprob for score in scores[:choices]),
        greedy=tuple(score.greedy for score in scores[:choices]),
        token_counts=tuple(len(pair.continuation) for pair in request.pairs[:choices]),
        unconditioned_logprobs=tuple(score.logprob for score in scores[choices:]) or None,
        prompt_token_ids=request.pairs[0].context,
        choice_token_ids=tuple(pair.continuation for pair in request.pairs[:choices]),
        truncated_tokens=max(request.truncated_tokens),
    )


def perplexity_response(request: TokenizedRequest, scores: Sequence[PairScore] | str) -> PerplexityResponse:
    """The response to a perplexity request, from its pairs' scores or from what went wrong."""
    if isinstance(scores, str):
        return PerplexityResponse(error=scores)
    count = sum(len(pair.continuation) for pair in request.pairs)
    logprob = math.fsum(score.logprob for score in scores)
    return PerplexityResponse(error=_NOT_A_NUMBER) if math.isnan(logprob) else PerplexityResponse(logprob=logprob, token_count=count)


def _fit(request: LoglikelihoodRequest, pairs: Sequence[TokenPair], max_input_tokens: int) -> TokenizedRequest:
    reason = unscorable_reason(request.choices)
    if reason is not None:
        return TokenizedRequest(error=reason)
    fitting, truncated_tokens = [], []
    for position, pair in enumerate(pairs):
        choice = position % len(request.choices)
        if not pair.continuation:
            return TokenizedRequest(error=_empty(choice, request.choices[choice]))
        cut = max(0, len(pair.context) + len(pair.continuation) - 1 - max_input_tokens)
        if cut >= len(pair.context):
            return TokenizedRequest(
                error=f"choice {choice}: a choice of {len(pair.continuation)} tokens does not fit into the model's {max_input_tokens}"
            )
        fitting.append(TokenPair(context=pair.context[cut:], continuation=pair.continuation))
        truncated_tokens.append(cut)
    return TokenizedRequest(pairs=tuple(fitting), truncated_tokens=tuple(truncated_tokens))


def _empty(number: int, choice: str) -> str:
    return f"choice {number} ({choice!r}) is empty: it has no tokens to score"
