"""Answer requests with a loaded model: tokenize, plan, run, and hand each answer out as soon as it is complete."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import torch

from pytest_lighteval.backends.accelerate.arguments import AccelerateArguments
from pytest_lighteval.backends.accelerate.decoding import DecodingLimits
from pytest_lighteval.backends.accelerate.generation import Generation, choose_generation
from pytest_lighteval.backends.accelerate.loading import LoadedModel
from pytest_lighteval.backends.accelerate.loglikelihood import (
    Failed,
    PlainRows,
    PrefixTree,
    Scoring,
    find_disagreement,
    hidden_window,
    unsupported,
)
from pytest_lighteval.backends.accelerate.plan import Generated, Limits, PromptRow, truncated
from pytest_lighteval.backends.accelerate.prefix_tree import Limits as TreeLimits
from pytest_lighteval.backends.accelerate.scoring import Scored, Scorer, evaluating, peak_memory, unless_out_of_memory
from pytest_lighteval.backends.accelerate.texts import Texts
from pytest_lighteval.backends.accelerate.tree_scoring import TreeScorer
from pytest_lighteval.backends.foreign import first_line, quiet_transformers
from pytest_lighteval.backends.tokenization import TextPair, TokenPair, rolling_windows, with_start_space
from pytest_lighteval.errors import BackendError
from pytest_lighteval.types import (
    GenerateRequest,
    GenerateResponse,
    LoglikelihoodRequest,
    LoglikelihoodResponse,
    PerplexityRequest,
    PerplexityResponse,
)

__all__ = ["Engine"]

Item = TypeVar("Item")
Result = TypeVar("Result")

logger = logging.getLogger(__name__)

_TOKENS_SCORED = {"cpu": 2048}
_TOKENS_KEPT = {"cpu": 16384}
_OTHER_DEVICES = 16384, 32768
"""Padded tokens of a batch under `batch_size=auto`, when they are scored and when their keys and values are kept to generate.

Constants for each kind of device: were they taken from what is free at the moment, a score's last digits would depend on it. More than
2048 tokens at a time bring nothing on a CPU; generation there is bound by reading the weights, and gains with every row.
"""
_LOGITS_AT_ONCE = 2**28
"""Elements of logits that a batch may keep under `batch_size=auto` (1 GiB in fp32)."""
_STEM_BYTES = {"cpu": 2**30}
_STEM_BYTES_OTHERS = 2**32
"""Keys and values of shared prefixes that are kept at a time."""
_SLOT_BYTES = {"cpu": 2**31}
_SLOT_BYTES_OTHERS = 2**33
"""Keys and values that are kept at a time to generate."""
_ROWS_GENERATED = {"cpu": 64}
_ROWS_GENERATED_OTHERS = 256
"""Rows that are generated at a time under `batch_size=auto`: more of them make a step longer and the whole hardly faster."""


@dataclass(slots=True, kw_only=True)
class _Asked:
    """One request on its way: its pairs, and the scores that have come in."""

    index: int
    pairs: list[TokenPair]
    truncated: int = 0
    scores: dict[int, Scored] = field(default_factory=dict)
    """By position in `pairs`."""
    error: str | None = None

    @property
    def complete(self) -> bool:
        return self.error is not None or len(self.scores) == len(self.pairs)

    @property
    def ordered(self) -> list[Scored]:
        return [self.scores[position] for position in range(len(self.pairs))]


class Engine:
    """A model in memory and the rules by which it is asked."""

    def __init__(self, texts: Texts, loaded: LoadedModel, arguments: AccelerateArguments, max_length: int) -> None:
        self._texts, self._arguments, self._max_length = texts, arguments, max_length
        self._loaded = loaded
        self._parameters = arguments.generation()
        self._scoring_limits = self._limits(_TOKENS_SCORED.get(loaded.device.type, _OTHER_DEVICES[0]))
        self._shrunk_to: dict[str, int] = {}
        """The fewest rows, or tokens, that memory allowed. Empty: it never ran out."""
        self._plain_reason: str | None = None
        """Why log-likelihoods are computed by plain rows. None: they are computed over the prefix tree."""
        with self._one_line("its first rows"):
            self._scorer = Scorer(loaded.model, loaded.device, texts.special.start)
        self._scoring = self._choose_scoring()

    def loglikelihood(self, requests: Sequence[LoglikelihoodRequest]) -> Iterator[tuple[int, LoglikelihoodResponse]]:
        """See `Backend.loglikelihood`."""
        asked = self._ask_choices(requests)
        for done in self._score(asked):
            count = len(requests[done.index].choices)
            yield done.index, _loglikelihood_response(done, count)

    def perplexity(self, requests: Sequence[PerplexityRequest]) -> Iterator[tuple[int, PerplexityResponse]]:
        """See `Backend.perplexity`."""
        asked = []
        for index, tokens in enumerate(self._texts.rolling([request.text for request in requests])):
            windows = rolling_windows(tokens, self._texts.special.start, self._max_length)
            asked.append(_Asked(index=index, pairs=windows, error=None if windows else "the text has no tokens"))
        for done in self._score(asked):
            if done.error is not None:
                yield done.index, PerplexityResponse(error=done.error)
                continue
            count = sum(len(window.continuation) for window in done.pairs)
            yield done.index, PerplexityResponse(logprob=math.fsum(score.logprob for score in done.ordered), token_count=count)

    def generate(self, requests: Sequence[GenerateRequest]) -> Iterator[tuple[int, GenerateResponse]]:
        """See `Backend.generate`."""
        prompts = self._texts.prompts([request.prompt for request in requests])
        plans = [self._plan_prompt(index, request, prompt) for index, (request, prompt) in enumerate(zip(requests, prompts, strict=True))]
        found: dict[int, dict[int, Generated]] = {index: {} for index in range(len(requests))}
        for row, generated in self._generation.generate([row for plan in plans for row in plan]):
            samples = found.get(row.owner)
            if samples is None:
                continue
            if generated is None:
                yield row.owner, GenerateResponse(error=f"memory ran out on a single prompt of {len(row.prompt)} tokens")
                del found[row.owner]
                continue
            samples[row.sample or 0] = generated
            if len(samples) == len(plans[row.owner]):
                request, cut = requests[row.owner], len(prompts[row.owner]) - len(row.prompt)
                yield row.owner, _generate_response(row, [samples[sample] for sample in sorted(samples)], request.num_samples, cut)
                del found[row.owner]

    def _plan_prompt(self, index: int, request: GenerateRequest, prompt: tuple[int, ...]) -> list[PromptRow]:
        """The rows of a request: one if it is greedy, else one a sample. Its prompt is cut on the left to fit."""
        parameters = self._parameters
        prompt = prompt[-min(self._max_length, parameters.truncate_prompt or self._max_length) :]
        room = max(1, self._max_length - len(prompt))
        asked = request.max_new_tokens or parameters.max_new_tokens or self._arguments.max_gen_toks or room
        stops = (*request.stop_sequence, *parameters.stop_tokens)
        sampled = request.do_sample if parameters.temperature is None else parameters.temperature > 0
        return [
            PromptRow(
                owner=index,
                prompt=prompt,
                max_new_tokens=min(asked, room),
                stop_sequence=tuple(stop for stop in stops if stop),
                stop_ids=frozenset(self._texts.special_ids[stop] for stop in stops if stop in self._texts.special_ids),
                sample=sample if sampled else None,
            )
            for sample in range(request.num_samples if sampled else 1)
        ]

    def describe(self) -> dict[str, Any]:
        """What runs, for the report."""
        facts: dict[str, Any] = {
            "architecture": type(self._loaded.model).__name__,
            "device": str(self._loaded.device),
            "dtype": self._loaded.dtype,
            "threads": torch.get_num_threads(),
            "engine": f"plain rows: {self._plain_reason}" if self._plain_reason else "prefix tree",
            "batch_tokens": self._scoring_limits.tokens,
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

    def _ask_choices(self, requests: Sequence[LoglikelihoodRequest]) -> list[_Asked]:
        start_space = self._arguments.multichoice_continuations_start_space
        texts: list[TextPair] = []
        spans = []
        for request in requests:
            first = len(texts)
            for prompt in (request.prompt, request.unconditioned_prompt):
                if prompt is not None:
                    context, rendered = self._texts.text(prompt)
                    texts += [
                        TextPair(context=context, continuation=with_start_space(choice, start_space), rendered=rendered)
                        for choice in request.choices
                    ]
            spans.append(slice(first, len(texts)))
        pairs = self._texts.pairs(texts)
        return [self._fit(index, request, pairs[span]) for index, (request, span) in enumerate(zip(requests, spans, strict=True))]

    def _fit(self, index: int, request: LoglikelihoodRequest, pairs: Sequence[TokenPair]) -> _Asked:
        """The request with its contexts cut to the model's length, or with the reason why it cannot be asked."""
        if not request.choices:
            return _Asked(index=index, pairs=[], error="the request has no choices")
        asked = _Asked(index=index, pairs=[])
        for position, pair in enumerate(pairs):
            choice = position % len(request.choices)
            if not request.choices[choice] or not pair.continuation:
                return _Asked(
                    index=index, pairs=[], error=f"choice {choice} ({request.choices[choice]!r}) is empty: it has no tokens to score"
                )
            try:
                fitting, cut = truncated(pair, self._max_length)
            except ValueError as error:
                return _Asked(index=index, pairs=[], error=f"choice {choice}: {error}")
            asked.pairs.append(fitting)
            asked.truncated = max(asked.truncated, cut)
        return asked

    def _choose_scoring(self) -> Scoring:
        """By prefix tree if the model gives the same log-likelihoods with it, else by plain rows; the report says why."""
        model = self._loaded.model
        plain = PlainRows(self._scorer, self._scoring_limits, self._attempt, self._on_shrink)
        self._plain_reason = unsupported(model.config)
        if self._plain_reason is not None:
            return plain
        limits = self._tree_limits()
        scorer = TreeScorer(model, self._loaded.device, takes_places=self._scorer.keep != "all")
        try:
            self._plain_reason = find_disagreement(
                # no waste at all: every shared path is a stem then, however short
                PrefixTree(scorer, limits, self._attempt, tolerated_waste=0),
                PlainRows(self._scorer, self._scoring_limits, self._attempt),
                vocabulary=model.config.get_text_config().vocab_size,
                # quantized weights are multiplied in half precision, whatever the others' dtype
                exact=self._loaded.dtype in ("float32", "float64") and not getattr(model, "is_quantized", False),
                max_length=self._max_length,
            )
        except BackendError as error:
            self._plain_reason = str(error).removeprefix(f"{self._arguments.model}: ")
        if self._plain_reason is None and not scorer.windows_seen:
            self._plain_reason = hidden_window(model.config, self._max_length)
        if self._plain_reason is not None:
            return plain
        return PrefixTree(scorer, limits, self._attempt, lambda tokens: self._on_shrink(tokens, "tokens"), plain=plain)

    @cached_property
    def _generation(self) -> Generation:
        return choose_generation(
            self._loaded,
            self._texts,
            self._parameters,
            max_length=self._max_length,
            slots=self._decoding_limits,
            batches=self._limits(_TOKENS_KEPT.get(self._loaded.device.type, _OTHER_DEVICES[1])),
            takes_places=self._scorer.keep != "all",
            known_reason=self._plain_reason,
            attempt=self._attempt,
            on_shrink=self._on_shrink,
        )

    def _decoding_limits(self) -> DecodingLimits:
        device, batch_size = self._loaded.device.type, self._arguments.batch_size
        logits = max(1, _LOGITS_AT_ONCE // self._loaded.model.config.get_text_config().vocab_size)
        tokens = _TOKENS_SCORED.get(device, _OTHER_DEVICES[0])
        rows = min(_ROWS_GENERATED.get(device, _ROWS_GENERATED_OTHERS), logits)
        return DecodingLimits(
            rows=batch_size if isinstance(batch_size, int) else rows,
            kept=_SLOT_BYTES.get(device, _SLOT_BYTES_OTHERS) // self._token_bytes,
            tokens=min(tokens, logits) if self._scorer.keep == "all" else tokens,
        )

    @property
    def _token_bytes(self) -> int:
        """What the keys and values of a token take."""
        config = self._loaded.model.config.get_text_config()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        size: int = 2 * config.num_hidden_layers * heads * head_dim * getattr(torch, self._loaded.dtype).itemsize
        return size

    def _tree_limits(self) -> TreeLimits:
        config = self._loaded.model.config.get_text_config()
        tokens = _TOKENS_SCORED.get(self._loaded.device.type, _OTHER_DEVICES[0])
        kept = _STEM_BYTES.get(self._loaded.device.type, _STEM_BYTES_OTHERS) // self._token_bytes
        logits = max(1, _LOGITS_AT_ONCE // config.vocab_size)
        if self._scorer.keep == "all":
            tokens = min(tokens, logits)
        pieces = self._arguments.batch_size if isinstance(self._arguments.batch_size, int) else None
        return TreeLimits(tokens=tokens, logits=logits, kept=kept, pieces=pieces)

    def _score(self, asked: Sequence[_Asked]) -> Iterator[_Asked]:
        """Each of them once, as soon as it is complete."""
        owners = [(one, position) for one in asked for position in range(len(one.pairs)) if one.error is None]
        yield from (one for one in asked if one.complete)
        for batch in self._scoring.score([one.pairs[position] for one, position in owners]):
            waiting = []
            for answer in batch:
                one, position = owners[answer.owner]
                if one.error is not None:
                    continue
                if isinstance(answer, Failed):
                    one.error = answer.error
                else:
                    one.scores[position] = answer
                waiting.append(one)
            # a request may wait for rows of several batches, and have several in this one
            yield from {one.index: one for one in waiting if one.complete}.values()

    def _attempt(self, run: Callable[[Sequence[Item]], Result], items: Sequence[Item]) -> Result | None:
        """What it returns in eval mode, or None when memory ran out. Whatever else goes wrong in the model is a BackendError."""
        with self._one_line(f"a batch of {len(items)}"), evaluating(self._loaded.model):
            return unless_out_of_memory(lambda: run(items))

    @contextlib.contextmanager
    def _one_line(self, what: str) -> Iterator[None]:
        """Turn what a model's own code raises into one BackendError; nothing of it is printed."""
        try:
            with quiet_transformers():
                yield
        except (RuntimeError, LookupError, ValueError, TypeError, AttributeError) as error:
            raise BackendError(f"{self._arguments.model}: it failed on {what}: {type(error).__name__}: {first_line(error)}") from error

    def _on_shrink(self, count: int, unit: str = "rows") -> None:
        self._shrunk_to[unit] = min(count, self._shrunk_to.get(unit, count))
        logger.warning("memory ran out: the batch is run again, %d %s at a time", count, unit)

    def _limits(self, tokens: int) -> Limits:
        if isinstance(self._arguments.batch_size, int):
            return Limits(rows=self._arguments.batch_size)
        vocabulary: int = self._loaded.model.config.get_text_config().vocab_size
        return Limits(tokens=tokens, logits=max(1, _LOGITS_AT_ONCE // vocabulary))


def _generate_response(row: PromptRow, samples: list[Generated], num_samples: int, cut: int) -> GenerateResponse:
    # every greedy sample is the same one
    samples = samples * (num_samples if row.sample is None else 1)
    return GenerateResponse(
        texts=tuple(sample.text for sample in samples),
        token_ids=tuple(sample.token_ids for sample in samples),
        finish_reasons=tuple(sample.finish_reason for sample in samples),
        prompt_token_ids=row.prompt,
        truncated_tokens=cut,
    )


def _loglikelihood_response(done: _Asked, count: int) -> LoglikelihoodResponse:
    if done.error is not None:
        return LoglikelihoodResponse(error=done.error)
    scores, pairs = done.ordered, done.pairs
    return LoglikelihoodResponse(
        logprobs=tuple(score.logprob for score in scores[:count]),
        greedy=tuple(score.greedy for score in scores[:count]),
        token_counts=tuple(len(pair.continuation) for pair in pairs[:count]),
        unconditioned_logprobs=tuple(score.logprob for score in scores[count:]) or None,
        prompt_token_ids=pairs[0].context,
        choice_token_ids=tuple(pair.continuation for pair in pairs[:count]),
        truncated_tokens=done.truncated,
    )
