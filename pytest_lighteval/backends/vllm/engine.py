"""Answer requests with a running engine: tokenize, call it once for each kind of request, and yield each response when it is complete."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pytest_lighteval.backends.common.generation_parameters import GenerationParameters
from pytest_lighteval.backends.common.generation_requests import (
    GeneratedText,
    TokenizedPrompt,
    decode_generated,
    generate_response,
    prepare_prompt,
)
from pytest_lighteval.backends.common.prompt_tokenizer import PromptTokenizer
from pytest_lighteval.backends.common.scoring_requests import (
    PairScore,
    TokenizedRequest,
    gather_request_scores,
    loglikelihood_response,
    pairs_of,
    perplexity_response,
    tokenize_choices,
    tokenize_texts,
)
from pytest_lighteval.backends.vllm.arguments import VllmArguments
from pytest_lighteval.backends.vllm.scoring import PromptScorer, score_pairs
from pytest_lighteval.errors import BackendError, LightevalError, first_line
from pytest_lighteval.types import (
    GenerateRequest,
    GenerateResponse,
    LoglikelihoodRequest,
    LoglikelihoodResponse,
    PerplexityRequest,
    PerplexityResponse,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFacts:
    """Facts about a running engine."""

    max_model_len: int
    """The most tokens of a prompt and the generated text together."""
    ends: frozenset[int]
    """End tokens that the model declares, besides the tokenizer's."""
    described: dict[str, Any]
    """Plain facts for the report."""


class RunningEngine(PromptScorer, Protocol):
    """A running engine, in this process or in several others."""

    def generate(
        self, prompts: Sequence[TokenizedPrompt], parameters: GenerationParameters
    ) -> Iterator[tuple[int, tuple[tuple[int, ...], ...]]]:
        """Each prompt's index, once and in any order, with the tokens of each of its texts, as soon as all of them are complete."""

    @property
    def facts(self) -> EngineFacts:
        """See `EngineFacts`."""

    def close(self) -> None:
        """Release its memory, unless the user started it."""


class VllmEngine:
    """A running engine and the rules by which requests become prompts."""

    def __init__(self, tokenizer: PromptTokenizer, running: RunningEngine, arguments: VllmArguments, max_length: int) -> None:
        self._tokenizer, self._running, self._arguments = tokenizer, running, arguments
        self._parameters = arguments.generation()
        longest = running.facts.max_model_len
        # a scored text is a prompt as a whole, and vLLM reserves one position after each prompt
        self._max_input_tokens = min(max_length, longest - 2)
        self._prompt_length, self._length = min(max_length, longest - 1), min(max_length, longest)
        self._ends = running.facts.ends | ({tokenizer.special.end} if tokenizer.special.end is not None else set())

    def loglikelihood(self, requests: Sequence[LoglikelihoodRequest]) -> Iterator[tuple[int, LoglikelihoodResponse]]:
        """See `Backend.loglikelihood`."""
        start_space = self._arguments.multichoice_continuations_start_space
        tokenized = tokenize_choices(requests, self._tokenizer, start_space=start_space, max_input_tokens=self._max_input_tokens)
        for index, scores in self._score(tokenized):
            yield index, loglikelihood_response(tokenized[index], scores, len(requests[index].choices))

    def perplexity(self, requests: Sequence[PerplexityRequest]) -> Iterator[tuple[int, PerplexityResponse]]:
        """See `Backend.perplexity`."""
        tokenized = tokenize_texts(requests, self._tokenizer, max_input_tokens=self._max_input_tokens)
        for index, scores in self._score(tokenized):
            yield index, perplexity_response(tokenized[index], scores)

    def generate(self, requests: Sequence[GenerateRequest]) -> Iterator[tuple[int, GenerateResponse]]:
        """See `Backend.generate`."""
        prompts = self._tokenizer.prompts(requests)
        planned = [
            prepare_prompt(
                request,
                prompt,
                self._parameters,
                length=self._length,
                max_input_tokens=self._prompt_length,
                special_ids=self._tokenizer.special_ids,
                ends=self._ends,
                tokenization=self._tokenizer.tokenization(request),
            )
            for request, prompt in zip(requests, prompts, strict=True)
        ]
        order = sorted(range(len(planned)), key=lambda index: planned[index].tokens)
        with self._as_backend_error():
            for place, answers in self._running.generate([planned[index] for index in order], self._parameters):
                index = order[place]
                yield index, generate_response(requests[index], planned[index], [self._read(planned[index], answer) for answer in answers])

    def describe(self) -> dict[str, Any]:
        """See `ModelEngine.describe`."""
        return dict(self._running.facts.described)

    def close(self) -> None:
        """See `ModelEngine.close`."""
        self._running.close()

    def _read(self, prompt: TokenizedPrompt, tokens: Sequence[int]) -> GeneratedText:
        limit, stops = prompt.max_new_tokens, prompt.stop_sequence
        return decode_generated(tokens, max_new_tokens=limit, stop_sequence=stops, ends=prompt.stop_ids, decode=self._tokenizer.decode)

    def _score(self, tokenized: Sequence[TokenizedRequest]) -> Iterator[tuple[int, list[PairScore] | str]]:
        """See `gather_request_scores`."""
        with self._as_backend_error():
            yield from gather_request_scores(tokenized, score_pairs(pairs_of(tokenized), self._running))

    @contextlib.contextmanager
    def _as_backend_error(self) -> Iterator[None]:
        """Turn any error inside vLLM into a BackendError of one line."""
        try:
            yield
        except LightevalError:
            raise
        except Exception as error:  # vLLM's own errors have no common base
            raise BackendError(f"{self._arguments.model}: vLLM failed: {type(error).__name__}: {first_line(error)}") from error
