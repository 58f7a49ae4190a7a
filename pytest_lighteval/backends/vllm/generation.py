"""Prompts to be continued: what the requests and the arguments together ask, and the text that comes of the tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pytest_lighteval.backends.accelerate.arguments import GenerationParameters
from pytest_lighteval.types import GenerateRequest, GenerateResponse

__all__ = ["WritePrompt", "Writer", "plan_prompt", "read_answer"]

_SEEDS = 2**31
"""How many seeds a request may have; torch takes more, numpy does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WritePrompt:
    """One prompt to be continued, in one text or in several."""

    tokens: tuple[int, ...]
    max_new_tokens: int
    stops: tuple[str, ...] = ()
    stop_ids: tuple[int, ...] = ()
    """The model's end tokens, and stops that are special tokens, which have no text that a stop sequence could be found in."""
    samples: int | None = None
    """How many texts are drawn. None: one greedy text."""
    seed: int = 0


class Writer(Protocol):
    """What continues prompts: every one once, by its index, in any order, as soon as its texts are complete."""

    def write(self, prompts: Sequence[WritePrompt], parameters: GenerationParameters) -> Iterator[tuple[int, tuple[tuple[int, ...], ...]]]:
        """The tokens of every text, what ended it included."""


def plan_prompt(
    request: GenerateRequest,
    prompt: tuple[int, ...],
    parameters: GenerationParameters,
    *,
    length: int,
    fed: int,
    special_ids: Mapping[str, int],
    ends: Collection[int],
) -> WritePrompt:
    """What to ask of the engine. The prompt is cut on the left to `fed` tokens; with what is new it has at most `length`, but one is new.

    Samples have a seed that depends on the parameters' seed and on the prompt alone: not on order, company or worker.
    """
    prompt = prompt[-min(fed, parameters.truncate_prompt or fed) :]
    room = max(1, length - len(prompt))
    asked = request.max_new_tokens or parameters.max_new_tokens or room
    stops = tuple(stop for stop in (*request.stop_sequence, *parameters.stop_tokens) if stop)
    sampled = request.do_sample if parameters.temperature is None else parameters.temperature > 0
    digest = hashlib.sha256(repr((parameters.seed, prompt)).encode()).digest()
    return WritePrompt(
        tokens=prompt,
        max_new_tokens=min(asked, room),
        stops=stops,
        stop_ids=tuple(sorted({*ends, *(special_ids[stop] for stop in stops if stop in special_ids)})),
        samples=request.num_samples if sampled else None,
        seed=int.from_bytes(digest[:8]) % _SEEDS,
    )


class Decoder(Protocol):
    """A tokenizer's way back."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of generated tokens, special ones left out."""


def read_answer(
    request: GenerateRequest,
    prompt: WritePrompt,
    answers: Sequence[tuple[int, ...]],
    texts: Decoder,
    *,
    cut: int,
) -> GenerateResponse:
    """The response: texts decoded as a whole and cut at the first stop sequence, as the accelerate backend cuts them."""
    ids, found, reasons = [], [], []
    for answer in answers:
        # what may have run on behind an end token is no part of the answer
        length = next((place + 1 for place, token in enumerate(answer) if token in prompt.stop_ids), len(answer))
        tokens = answer[: min(length, prompt.max_new_tokens)]
        text = whole = texts.decode(tokens)
        for stop in prompt.stops:
            text = text.partition(stop)[0]
        ended = text != whole or (bool(tokens) and tokens[-1] in prompt.stop_ids)
        ids.append(tokens)
        found.append(text)
        reasons.append("stop" if ended else "length")
    # every greedy sample is the same one
    times = request.num_samples if prompt.samples is None else 1
    return GenerateResponse(
        texts=tuple(found) * times,
        token_ids=tuple(ids) * times,
        finish_reasons=tuple(reasons) * times,
        prompt_token_ids=prompt.tokens,
        truncated_tokens=cut,
    )
