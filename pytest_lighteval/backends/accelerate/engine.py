"""Answer requests with a loaded model: tokenize them, run them together, and yield each answer as soon as it is complete."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import torch

from pytest_lighteval.backends.accelerate.arguments import AccelerateArguments
from pytest_lighteval.backends.accelerate.batches import UNLIMITED
from pytest_lighteval.backends.accelerate.budgets import Budgets
from pytest_lighteval.backends.accelerate.generation.choose import Generation, choose_generation, unobeyed_settings
from pytest_lighteval.backends.accelerate.generation.rows import rows_of
from pytest_lighteval.backends.accelerate.loading import LoadedModel
from pytest_lighteval.backends.accelerate.memory import peak_memory
from pytest_lighteval.backends.accelerate.model_calls import ModelCalls
from pytest_lighteval.backends.accelerate.scoring.choose import choose_scoring
from pytest_lighteval.backends.accelerate.scoring.row_scorer import RowScorer
from pytest_lighteval.backends.accelerate.scoring.scores import Failed
from pytest_lighteval.backends.common.generation_requests import GeneratedText, generate_response, prepare_prompt
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
from pytest_lighteval.types import (
    GenerateRequest,
    GenerateResponse,
    LoglikelihoodRequest,
    LoglikelihoodResponse,
    PerplexityRequest,
    PerplexityResponse,
)


class TransformersEngine:
    """A transformers model in memory that answers requests."""

    def __init__(self, tokenizer: PromptTokenizer, loaded: LoadedModel, arguments: AccelerateArguments, max_length: int) -> None:
        self._tokenizer, self._loaded, self._arguments, self._max_length = tokenizer, loaded, arguments, max_length
        self._parameters = arguments.generation()
        self._calls = ModelCalls(loaded, arguments.model)
        with self._calls.as_backend_error("its first rows"):
            self._rows = RowScorer(loaded.model, loaded.device, tokenizer.special.start)
        self._budgets = Budgets(loaded, arguments.batch_size, all_logits=self._rows.keep == "all")
        self._chosen = choose_scoring(loaded, self._rows, self._budgets, self._calls, max_length=max_length)
        self._scoring = self._chosen.scoring

    def loglikelihood(self, requests: Sequence[LoglikelihoodRequest]) -> Iterator[tuple[int, LoglikelihoodResponse]]:
        """See `Backend.loglikelihood`."""
        start_space = self._arguments.multichoice_continuations_start_space
        tokenized = tokenize_choices(requests, self._tokenizer, start_space=start_space, max_input_tokens=self._max_length)
        for index, scores in gather_request_scores(tokenized, self._score(tokenized)):
            yield index, loglikelihood_response(tokenized[index], scores, len(requests[index].choices))

    def perplexity(self, requests: Sequence[PerplexityRequest]) -> Iterator[tuple[int, PerplexityResponse]]:
        """See `Backend.perplexity`."""
        tokenized = tokenize_texts(requests, self._tokenizer, max_input_tokens=self._max_length)
        for index, scores in gather_request_scores(tokenized, self._score(tokenized)):
            yield index, perplexity_response(tokenized[index], scores)

    def generate(self, requests: Sequence[GenerateRequest]) -> Iterator[tuple[int, GenerateResponse]]:
        """See `Backend.generate`."""
        tokenized = self._tokenizer.prompts(requests)
        prompts = [
            prepare_prompt(
                request,
                prompt,
                self._parameters,
                max_input_tokens=self._max_length,
                length=self._max_length,
                special_ids=self._tokenizer.special_ids,
                default_new_tokens=self._arguments.max_gen_toks,
                tokenization=self._tokenizer.tokenization(request),
            )
            for request, prompt in zip(requests, tokenized, strict=True)
        ]
        rows = [row for index, prompt in enumerate(prompts) for row in rows_of(index, prompt)]
        unfinished: dict[int, dict[int, GeneratedText]] = {index: {} for index in range(len(requests))}
        for row, generated in self._generation.generate(rows):
            samples = unfinished.get(row.owner)
            if samples is None:  # another sample of it has failed
                continue
            if generated is None:
                yield row.owner, GenerateResponse(error=f"memory ran out on a single prompt of {len(row.prompt)} tokens")
                del unfinished[row.owner]
                continue
            samples[row.sample or 0] = generated
            prompt = prompts[row.owner]
            if len(samples) == (prompt.samples or 1):
                yield row.owner, generate_response(requests[row.owner], prompt, [samples[sample] for sample in sorted(samples)])
                del unfinished[row.owner]

    def describe(self) -> dict[str, Any]:
        """What runs, for the report."""
        reason, groups = self._chosen.plain_reason, self._chosen.groups
        if reason is not None:
            reason = groups.explained(reason, scored=True)
        tokens = (self._budgets.tree if reason is None else self._budgets.plain_rows).tokens
        facts: dict[str, Any] = {
            "architecture": type(self._loaded.model).__name__,
            "device": str(self._loaded.device),
            "dtype": self._loaded.dtype,
            "threads": torch.get_num_threads(),
            "engine": "prefix tree" if reason is None else f"plain rows: {reason}",
            "batch_tokens": None if tokens == UNLIMITED else tokens,
            "head_at": {"each": "asked positions", "shared": "positions asked in the batch", "all": "all positions"}[self._rows.keep],
        }
        notes, tokens_generating = [], 0
        if reason is not None:
            notes.append(f"log-likelihoods are computed by plain rows, which takes several times as long: {reason}")
        if "_generation" in self.__dict__:
            generation = self._generation
            facts["generation"], tokens_generating = generation.name, generation.tokens_computed
            if generation.reason is not None:
                facts["generation"] += f": {generation.reason}"
                notes.append(f"texts are generated in {facts['generation']}")
            unobeyed = unobeyed_settings(self._loaded.model)
            if unobeyed is not None:
                notes.append(unobeyed)
        if notes:
            facts["notes"] = notes
        facts["use"] = {
            "tokens_scored": self._scoring.tokens_computed,
            "tokens_generating": tokens_generating,
            "peak_memory_bytes": peak_memory(self._loaded.device),
            **{f"out_of_memory_{unit}": count for unit, count in self._calls.shrunk_to.items()},
        }
        return facts

    def close(self) -> None:
        """See `ModelEngine.close`. Nothing to do: the memory is free as soon as nothing refers to the engine."""

    @cached_property
    def _generation(self) -> Generation:
        return choose_generation(
            self._loaded,
            self._tokenizer,
            self._parameters,
            self._budgets,
            self._calls,
            max_length=self._max_length,
            takes_places=self._rows.keep != "all",
            fused=self._chosen.fused,
            known_reason=self._chosen.plain_reason,
        )

    def _score(self, tokenized: Sequence[TokenizedRequest]) -> Iterator[tuple[int, PairScore | str]]:
        """See `gather_request_scores`."""
        for batch in self._scoring.score(pairs_of(tokenized)):
            for answer in batch:
                yield answer.owner, answer.error if isinstance(answer, Failed) else PairScore(logprob=answer.logprob, greedy=answer.greedy)
