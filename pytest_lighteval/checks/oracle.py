"""Answers that the linter puts into a model's mouth, cut as a backend cuts a model's."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from pytest_lighteval.backends.common.generation_requests import cut_at_stop
from pytest_lighteval.types import GenerateRequest, GenerateResponse, LoglikelihoodRequest, LoglikelihoodResponse, Prompt

CERTAIN = 0.0
"""The log-probability of what the oracle says."""
IMPOSSIBLE = -1e9
"""That of everything else: so low that a division by any length leaves no probability."""


class Tokens(Protocol):
    """What is known of a model's tokens."""

    @property
    def max_length(self) -> int | None:
        """Longest sequence in tokens. None: unknown."""

    @property
    def is_known(self) -> bool:
        """Whether there is a tokenizer. Otherwise `head` is a bound."""

    def count_tokens(self, prompt: Prompt) -> int | None:
        """Number of tokens of a prompt. None: unknown."""

    def head(self, text: str, count: int) -> str:
        """The most that a text's first `count` tokens can hold of it."""


class NoTokens:
    """Without a tokenizer: no tokenizer in use puts two words into one token, so a text has at least as many tokens as words."""

    max_length = None
    is_known = False

    def count_tokens(self, prompt: Prompt) -> None:
        """Nobody knows."""

    def head(self, text: str, count: int) -> str:
        """The first `count` words: no `count` tokens hold more."""
        for number, word in enumerate(re.finditer(r"\S+", text)):
            if number == count:
                return text[: word.start()]
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What is left of an answer."""

    text: str
    before_limit: str
    """What the stop sequences alone leave."""
    stop: str | None = None
    """The stop sequence that cut it. None: none did."""


def cut(answer: str, request: GenerateRequest, tokens: Tokens) -> Cut:
    """The answer as a backend returns it: before the first stop sequence, and within the limit of new tokens."""
    before = cut_at_stop(answer, [stop for stop in request.stop_sequence if stop])
    stop = None
    if before != answer:
        stop = next(stop for stop in request.stop_sequence if stop and answer.startswith(stop, len(before)))
    limit = request.max_new_tokens
    within = before if limit is None else tokens.head(before, limit)
    return Cut(text=within, before_limit=before, stop=stop)


_NUMBER = re.compile(r"-?(\d+)(\.\d+)?")


def wrong_numbers(gold: str) -> tuple[str, ...]:
    """Other numbers that are written almost as the gold: with the other sign, a further digit, or a decimal point.

    Empty: the gold is no number, or 0.
    """
    text = gold.strip()
    found = _NUMBER.fullmatch(text)
    if found is None or not float(text):
        return ()
    space = gold[: len(gold) - len(gold.lstrip())]
    numbers = [text.removeprefix("-") if text.startswith("-") else f"-{text}", f"{text}7"]
    if found[2] is None and len(found[1]) > 1:
        numbers.append(f"{text[:-1]}.{text[-1]}")
    return tuple(space + number for number in numbers if float(number) != float(text))


def says(text: str, request: GenerateRequest) -> GenerateResponse:
    """A model that answers with the text, as often as it is asked."""
    return GenerateResponse(texts=(text,) * request.num_samples, finish_reasons=("stop",) * request.num_samples)


def prefers(texts: Collection[str], request: LoglikelihoodRequest) -> LoglikelihoodResponse:
    """A model that is certain of these choices. Equal choices are equally likely, as they are to every model."""
    logprobs = tuple(CERTAIN if choice in texts else IMPOSSIBLE for choice in request.choices)
    return LoglikelihoodResponse(
        logprobs=logprobs,
        greedy=tuple(choice in texts for choice in request.choices),
        token_counts=tuple(max(1, len(choice.split())) for choice in request.choices),
        unconditioned_logprobs=None if request.unconditioned_prompt is None else (IMPOSSIBLE / 2,) * len(request.choices),
    )
