"""Answer requests with a loaded model: tokenize, plan, run, and hand each answer out as soon as it is complete."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, TypeVar

import torch

from pytest_lighteval.backends.accelerate.arguments import AccelerateArguments
from pytest_lighteval.backends.accelerate.budgets import Budgets
from pytest_lighteval.backends.accelerate.generation.choose import Generation, choose_generation
from pytest_lighteval.backends.accelerate.loading import LoadedModel
from pytest_lighteval.backends.accelerate.memory import peak_memory, unless_out_of_memory
from pytest_lighteval.backends.accelerate.scoring.choose import (
    Failed,
    PlainRows,
    PrefixTree,
    Scoring,
    find_disagreement,
    hidden_window,
    unsupported,
)
from pytest_lighteval.backends.accelerate.scoring.row_batches import PromptRow
from pytest_lighteval.backends.accelerate.scoring.row_scorer import Scorer, evaluating
from pytest_lighteval.backends.accelerate.scoring.tree_scorer import TreeScorer
from pytest_lighteval.backends.common.generation_requests import GeneratedText, TokenizedPrompt, generate_response, prepare_prompt
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
from pytest_lighteval.backends.common.third_party import quiet_transformers
from pytest_lighteval.backends.protocol import answers_with_others
from pytest_lighteval.errors import BackendError, BackendLostError, first_line
from pytest_lighteval.types import (
    GenerateRequest,
    GenerateResponse,
    LoglikelihoodRequest,
    LoglikelihoodResponse,
    PerplexityRequest,
    PerplexityResponse,
)

Item = TypeVar("Item")
Result = TypeVar("Result")

logger = logging.getLogger(__name__)


class Engine:
    """A model in memory and the rules by which it is asked."""

    def __init__(self, texts: PromptTokenizer, loaded: LoadedModel, arguments: AccelerateArguments, max_length: int) -> None:
        self._texts, self._arguments, self._max_length = texts, arguments, max_length
        self._loaded = loaded
        self._modules = tuple(loaded.model.modules())
        self._is_alone = not answers_with_others(loaded.model)
        """No other process has to do what this one does, such as trying again with fewer rows."""
        self._parameters = arguments.generation()
        self._shrunk_to: dict[str, int] = {}
        """The fewest rows, or tokens, that memory allowed. Empty: it never ran out."""
        self._plain_reason: str | None = None
        """Why log-likelihoods are computed by plain rows. None: they are computed over the prefix tree."""
        self._fused = True
        """Whether fused kernels work here."""
        with self._as_backend_error("its first rows"):
            self._scorer = Scorer(loaded.model, loaded.device, texts.special.start)
        self._budgets = Budgets(loaded, arguments.batch_size, all_logits=self._scorer.keep == "all")
        self._scoring = self._choose_scoring()

    def loglikelihood(self, requests: Sequence[LoglikelihoodRequest]) -> Iterator[tuple[int, LoglikelihoodResponse]]:
        """See `Backend.loglikelihood`."""
        start_space = self._arguments.multichoice_continuations_start_space
        asked = tokenize_choices(requests, self._texts, start_space=start_space, max_input_tokens=self._max_length)
        for index, scores in gather_request_scores(asked, self._score(asked)):
            yield index, loglikelihood_response(asked[index], scores, len(requests[index].choices))

    def perplexity(self, requests: Sequence[PerplexityRequest]) -> Iterator[tuple[int, PerplexityResponse]]:
        """See `Backend.perplexity`."""
        asked = tokenize_texts(requests, self._texts, start=self._texts.special.start, max_input_tokens=self._max_length)
        for index, scores in gather_request_scores(asked, self._score(asked)):
            yield index, perplexity_response(asked[index], scores)

    def generate(self, requests: Sequence[GenerateRequest]) -> Iterator[tuple[int, GenerateResponse]]:
        """See `Backend.generate`."""
        prompts = self._texts.prompts([request.prompt for request in requests])
        asked = [
            prepare_prompt(
                request,
                prompt,
                self._parameters,
                max_input_tokens=self._max_length,
                length=self._max_length,
                special_ids=self._texts.special_ids,
                default_new_tokens=self._arguments.max_gen_toks,
            )
            for request, prompt in zip(requests, prompts, strict=True)
        ]
        found: dict[int, dict[int, GeneratedText]] = {index: {} for index in range(len(requests))}
        for row, generated in self._generation.generate([row for index, one in enumerate(asked) for row in _rows_of(index, one)]):
            samples = found.get(row.owner)
            if samples is None:
                continue
            if generated is None:
                yield row.owner, GenerateResponse(error=f"memory ran out on a single prompt of {len(row.prompt)} tokens")
                del found[row.owner]
                continue
            samples[row.sample or 0] = generated
            one = asked[row.owner]
            if len(samples) == (one.samples or 1):
                yield row.owner, generate_response(requests[row.owner], one, [samples[sample] for sample in sorted(samples)])
                del found[row.owner]

    def describe(self) -> dict[str, Any]:
        """What runs, for the report."""
        facts: dict[str, Any] = {
            "architecture": type(self._loaded.model).__name__,
            "device": str(self._loaded.device),
            "dtype": self._loaded.dtype,
            "threads": torch.get_num_threads(),
            "engine": f"plain rows: {self._plain_reason}" if self._plain_reason else "prefix tree",
            "batch_tokens": (self._budgets.plain_rows if self._plain_reason else self._budgets.tree).tokens,
            "head_at": {"each": "asked positions", "shared": "positions asked in the batch", "all": "all positions"}[self._scorer.keep],
        }
        notes, tokens_generating = [], 0
        if self._plain_reason is not None:
            notes.append(f"log-likelihoods are computed by plain rows, which takes several times as long: {self._plain_reason}")
        if "_generation" in self.__dict__:
            generation = self._generation
            facts["generation"], tokens_generating = generation.name, generation.tokens_computed
            if generation.reason is not None:
                facts["generation"] += f": {generation.reason}"
                notes.append(f"texts are generated in {facts['generation']}")
        if notes:
            facts["notes"] = notes
        facts["use"] = {
            "tokens_scored": self._scoring.tokens_computed,
            "tokens_generating": tokens_generating,
            "peak_memory_bytes": peak_memory(self._loaded.device),
            **{f"out_of_memory_{unit}": count for unit, count in self._shrunk_to.items()},
        }
        return facts

    def close(self) -> None:
        """See `ModelEngine.close`: all it holds goes with it."""

    def _choose_scoring(self) -> Scoring:
        """By prefix tree if the model gives the same log-likelihoods with it, else by plain rows; the report says why."""
        model = self._loaded.model
        plain = PlainRows(self._scorer, self._budgets.plain_rows, self._attempt, self._on_shrink)
        self._plain_reason = unsupported(model.config)
        if self._plain_reason is not None:
            return plain
        # kernels that a machine lacks, or that fail on a model's shapes, are not worth giving up the tree for
        for fused in (True, False):
            self._fused = fused
            scorer = TreeScorer(model, self._loaded.device, takes_places=self._scorer.keep != "all", fused=fused)
            self._plain_reason = self._why_plain(scorer)
            if self._plain_reason is None:
                return PrefixTree(scorer, self._budgets.tree, self._attempt, lambda tokens: self._on_shrink(tokens, "tokens"), plain=plain)
        return plain

    def _why_plain(self, scorer: TreeScorer) -> str | None:
        """Why this scorer cannot be used for the model. None: it can."""
        config = self._loaded.model.config
        try:
            with self._as_backend_error("its configuration"):
                limits = self._budgets.tree
            reason = find_disagreement(
                # no waste at all: every shared path is a stem then, however short
                PrefixTree(scorer, limits, self._attempt, tolerated_waste=0),
                PlainRows(self._scorer, self._budgets.plain_rows, self._attempt),
                vocabulary=config.get_text_config().vocab_size,
                exact=self._loaded.is_exact,
                max_length=self._max_length,
            )
        except BackendError as error:
            return str(error).removeprefix(f"{self._arguments.model}: ")
        if reason is None and not scorer.windows_seen:
            return hidden_window(config, self._max_length)
        return reason

    @cached_property
    def _generation(self) -> Generation:
        return choose_generation(
            self._loaded,
            self._texts,
            self._parameters,
            max_length=self._max_length,
            slots=lambda: self._budgets.slots,
            batches=self._budgets.generated_rows,
            takes_places=self._scorer.keep != "all",
            fused=self._fused,
            known_reason=self._plain_reason,
            attempt=self._attempt,
            on_shrink=self._on_shrink,
        )

    def _score(self, asked: Sequence[TokenizedRequest]) -> Iterator[tuple[int, PairScore | str]]:
        """See `gather_request_scores`."""
        for batch in self._scoring.score(pairs_of(asked)):
            for answer in batch:
                yield answer.owner, answer.error if isinstance(answer, Failed) else PairScore(logprob=answer.logprob, greedy=answer.greedy)

    def _attempt(self, run: Callable[[Sequence[Item]], Result], items: Sequence[Item]) -> Result | None:
        """What it returns in eval mode, or None when memory ran out. Whatever else goes wrong in the model is a BackendError.

        Where other processes answer with this one, whatever goes wrong is a BackendLostError.
        """
        with self._as_backend_error(f"a batch of {len(items)}"), evaluating(self._loaded.model, self._modules):
            return unless_out_of_memory(lambda: run(items)) if self._is_alone else run(items)

    @contextlib.contextmanager
    def _as_backend_error(self, what: str) -> Iterator[None]:
        """Turn what a model's own code raises into one BackendError; nothing of it is printed."""
        try:
            with quiet_transformers():
                yield
        except (RuntimeError, LookupError, ValueError, TypeError, AttributeError, MemoryError) as error:
            kind = BackendError if self._is_alone else BackendLostError
            raise kind(f"{self._arguments.model}: it failed on {what}: {type(error).__name__}: {first_line(error)}") from error

    def _on_shrink(self, count: int, unit: str = "rows") -> None:
        self._shrunk_to[unit] = min(count, self._shrunk_to.get(unit, count))
        logger.warning("memory ran out: the batch is run again, %d %s at a time", count, unit)


def _rows_of(index: int, asked: TokenizedPrompt) -> list[PromptRow]:
    """The rows of a request: one if it is greedy, else one a sample."""
    return [
        PromptRow(
            owner=index,
            prompt=asked.tokens,
            max_new_tokens=asked.max_new_tokens,
            stop_sequence=asked.stop_sequence,
            stop_ids=asked.stop_ids,
            sample=sample,
        )
        for sample in ((None,) if asked.samples is None else range(asked.samples))
    ]
