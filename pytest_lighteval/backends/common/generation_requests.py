"""Generation requests as prompts in token ids with limits, and responses from the tokens that an engine generated. Knows no engine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_lighteval.types import GenerateRequest, GenerateResponse, Tokenization

if TYPE_CHECKING:
    from pytest_lighteval.backends.common.generation_parameters import GenerationParameters, TextParameters


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizedPrompt:
    """One prompt to be continued, in one text or in several."""

    tokens: tuple[int, ...]
    """The prompt, cut on the left to fit."""
    max_new_tokens: int
    stop_sequence: tuple[str, ...] = ()
    stop_ids: frozenset[int] = frozenset()
    """Tokens that end a text: the model's, and special tokens among the stop sequences, which decoding leaves out of the text."""
    samples: int | None = None
    """How many texts are sampled. None: one greedy text."""
    truncated_tokens: int = 0
    """How many tokens the prompt lost on its left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedText:
    """One text that an engine generated."""

    token_ids: tuple[int, ...]
    """With the tokens that ended it."""
    text: str
    finish_reason: str


def is_sampled(request: GenerateRequest, parameters: TextParameters) -> bool:
    """Whether the request's texts are sampled. A temperature that the user gave decides for all requests."""
    return request.do_sample if parameters.temperature is None else parameters.temperature > 0


def stops_of(request: GenerateRequest, parameters: TextParameters) -> tuple[str, ...]:
    """The stop sequences of the request and of the user, each once, without the empty one: it would end every text."""
    return tuple(stop for stop in dict.fromkeys((*request.stop_sequence, *parameters.stop_tokens)) if stop)


def cut_at_stop(text: str, stop_sequence: Sequence[str]) -> str:
    """The text before the first stop sequence in it."""
    for stop in stop_sequence:
        text = text.partition(stop)[0]
    return text


def prepare_prompt(
    request: GenerateRequest,
    prompt: tuple[int, ...],
    parameters: GenerationParameters,
    *,
    max_input_tokens: int,
    length: int,
    special_ids: Mapping[str, int],
    default_new_tokens: int | None = None,
    ends: Collection[int] = (),
    tokenization: Tokenization = "lighteval",
) -> TokenizedPrompt:
    """The prompt as an engine continues it, cut on the left to `max_input_tokens`.

    Prompt and new tokens together have at most `length` tokens, but at least one token is new. The user's limit comes before the task's,
    as in Lighteval's vLLM. `default_new_tokens` is the limit where there is neither (None: as many as fit). `ends` are end tokens of the
    model. By the rule of lm-eval, a prompt leaves room for all new tokens that are allowed, where they fit the model at all.
    """
    limit = parameters.max_new_tokens or request.max_new_tokens or default_new_tokens
    if tokenization == "lm_eval" and limit is not None and limit < length:
        max_input_tokens = min(max_input_tokens, length - limit)
    kept = prompt[-min(max_input_tokens, parameters.truncate_prompt or max_input_tokens) :]
    room = max(1, length - len(kept))
    stops = stops_of(request, parameters)
    return TokenizedPrompt(
        tokens=kept,
        max_new_tokens=min(limit or room, room),
        stop_sequence=stops,
        stop_ids=frozenset((*ends, *(special_ids[stop] for stop in stops if stop in special_ids))),
        samples=request.num_samples if is_sampled(request, parameters) else None,
        truncated_tokens=len(prompt) - len(kept),
    )


def decode_generated(
    tokens: Sequence[int],
    *,
    max_new_tokens: int,
    stop_sequence: Sequence[str],
    ends: Collection[int],
    decode: Callable[[Sequence[int]], str],
) -> GeneratedText:
    """The text up to the first end token or the limit, decoded as a whole and cut before its first stop sequence."""
    length = next((place + 1 for place, token in enumerate(tokens) if token in ends), len(tokens))
    kept = tuple(tokens[: min(length, max_new_tokens)])
    whole = decode(kept)
    text = cut_at_stop(whole, stop_sequence)
    ended = text != whole or (bool(kept) and kept[-1] in ends)
    return GeneratedText(token_ids=kept, text=text, finish_reason="stop" if ended else "length")


def generate_response(request: GenerateRequest, prompt: TokenizedPrompt, answers: Sequence[GeneratedText]) -> GenerateResponse:
    """The response to a request, from its texts in the order of the samples. A greedy text is repeated for each sample."""
    answers = list(answers) * (request.num_samples if prompt.samples is None else 1)
    return GenerateResponse(
        texts=tuple(answer.text for answer in answers),
        token_ids=tuple(answer.token_ids for answer in answers),
        finish_reasons=tuple(answer.finish_reason for answer in answers),
        prompt_token_ids=prompt.tokens,
        truncated_tokens=prompt.truncated_tokens,
    )
