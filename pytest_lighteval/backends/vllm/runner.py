"""Run prompts in one vLLM engine: prompts become sampling parameters, outputs become scores and tokens.

Takes the engine and the class of its sampling parameters as objects, and what the installed version can do from `probe`.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from pytest_lighteval.backends.common.generation_parameters import GenerationParameters
from pytest_lighteval.backends.common.generation_requests import TokenizedPrompt
from pytest_lighteval.backends.common.prefixes import common_prefix
from pytest_lighteval.backends.common.scoring_requests import PairScore
from pytest_lighteval.backends.common.seeds import private_seed
from pytest_lighteval.backends.vllm.scoring import MOST_CANDIDATES, ContinuationPrompt, NextTokenPrompt
from pytest_lighteval.errors import BackendError

_SEEDS = 2**31
"""Seeds are below this: numpy takes no larger ones."""
_WORTH_A_PROMPT = 192
"""A context with at least this many new tokens is first a prompt of its own, which puts them into the prefix cache. As a part of the first
choice's prompt, each of them would cost an unused row of logits over the whole vocabulary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What the installed vLLM does correctly, besides plain prompt log-probabilities."""

    reads_cache: bool = False
    """Prompt log-probabilities of a prompt that starts with cached tokens."""
    names_tokens: bool = False
    """Log-probabilities of named tokens at the next position."""
    notes: tuple[str, ...] = ()
    """Why a fast way is not used, for the report. A choice of the user has no note."""


class Runner:
    """Runs prompts in an `LLM`. All prompts of a call are in the engine at once; each result is yielded when it comes."""

    def __init__(self, llm: Any, sampling_parameters: Callable[..., Any], abilities: Abilities, *, repetition_penalty: float = 1.0) -> None:
        self._engine = llm.llm_engine
        self._forget = llm.reset_prefix_cache
        self._parameters = sampling_parameters
        self._repetition_penalty = repetition_penalty
        self._numbers = count()
        self.abilities = abilities
        self.recomputed_prompts = 0
        """How many prompts ran again without the cache, because it held tokens that were to be scored."""

    def score_next_tokens(self, prompts: Sequence[NextTokenPrompt]) -> Iterator[tuple[int, tuple[PairScore, ...]]]:
        """See `PromptScorer.score_next_tokens`."""
        return self._score_by_name(prompts) if self.abilities.names_tokens else self._score_by_reading(prompts)

    def score_continuations(self, prompts: Sequence[ContinuationPrompt]) -> Iterator[tuple[int, PairScore]]:
        """See `PromptScorer.score_continuations`."""
        again, halves = [], []
        for index, output in self._read(prompts, from_cache=self.abilities.reads_cache):
            # the first scored token has row `context - 1`, counted from 0; the rows of cached positions hold uninitialized memory
            context = len(prompts[index].tokens) - prompts[index].scored
            missing = (output.num_cached_tokens or 0) - (context - 1) if self.abilities.reads_cache else 0
            if missing <= 0:
                yield index, _sum_rows(output, prompts[index])
            elif missing == 1 and prompts[index].scored > 1 and self.abilities.names_tokens:
                # a cached block often ends with the context: then only the first token's row is missing
                halves.append((index, _sum_rows(output, replace(prompts[index], scored=prompts[index].scored - 1))))
            else:
                again.append(index)
        self.recomputed_prompts += len(again)
        yield from self._complete(prompts, halves)
        for place, output in self._read([prompts[index] for index in again], from_cache=False) if again else ():
            yield again[place], _sum_rows(output, prompts[again[place]])

    def _complete(self, prompts: Sequence[ContinuationPrompt], halves: Sequence[tuple[int, PairScore]]) -> Iterator[tuple[int, PairScore]]:
        """Add the first token's score to scores that lack it: one prompt for each context, which is still in the cache."""
        waiting: defaultdict[tuple[int, ...], defaultdict[int, list[tuple[int, PairScore]]]] = defaultdict(lambda: defaultdict(list))
        for index, rest in halves:
            split = len(prompts[index].tokens) - prompts[index].scored
            waiting[prompts[index].tokens[:split]][prompts[index].tokens[split]].append((index, rest))
        firsts = [
            NextTokenPrompt(tokens=context, candidates=tuple(by_token)[start : start + MOST_CANDIDATES])
            for context, by_token in waiting.items()
            for start in range(0, len(by_token), MOST_CANDIDATES)
        ]
        for place, scores in self._score_by_name(firsts, forget=False) if firsts else ():
            for token, first in zip(firsts[place].candidates, scores, strict=True):
                for index, rest in waiting[firsts[place].tokens][token]:
                    yield index, PairScore(logprob=math.fsum((first.logprob, rest.logprob)), greedy=first.greedy and rest.greedy)

    def generate(
        self, prompts: Sequence[TokenizedPrompt], parameters: GenerationParameters
    ) -> Iterator[tuple[int, tuple[tuple[int, ...], ...]]]:
        """See `RunningEngine.generate`."""
        sampling = [self._sampling(prompt, parameters) for prompt in prompts]
        for index, output in self._run([prompt.tokens for prompt in prompts], sampling):
            yield index, tuple(tuple(answer.token_ids) for answer in sorted(output.outputs, key=lambda answer: answer.index))

    def _score_by_name(self, prompts: Sequence[NextTokenPrompt], *, forget: bool = True) -> Iterator[tuple[int, tuple[PairScore, ...]]]:
        """Never together with other kinds of prompts: vLLM 0.32 would mix up their log-probabilities."""
        sampling = [
            self._parameters(temperature=0.0, max_tokens=1, detokenize=False, logprob_token_ids=list(prompt.candidates))
            for prompt in prompts
        ]
        for index, output in self._run([prompt.tokens for prompt in prompts], sampling, forget=forget):
            (answer,) = output.outputs
            row = answer.logprobs[0]
            yield (
                index,
                tuple(
                    PairScore(logprob=float(row[candidate].logprob), greedy=answer.token_ids[0] == candidate)
                    for candidate in prompts[index].candidates
                ),
            )

    def _score_by_reading(self, prompts: Sequence[NextTokenPrompt]) -> Iterator[tuple[int, tuple[PairScore, ...]]]:
        owners = [(index, candidate) for index, prompt in enumerate(prompts) for candidate in prompt.candidates]
        found: dict[int, dict[int, PairScore]] = {index: {} for index in range(len(prompts))}
        reads = [ContinuationPrompt(tokens=(*prompts[index].tokens, candidate), scored=1) for index, candidate in owners]
        for place, score in self.score_continuations(reads):
            index, candidate = owners[place]
            found[index][candidate] = score
            if len(found[index]) == len(prompts[index].candidates):
                scores = found.pop(index)
                yield index, tuple(scores[candidate] for candidate in prompts[index].candidates)

    def _read(self, prompts: Sequence[ContinuationPrompt], *, from_cache: bool) -> Iterator[tuple[int, Any]]:
        plain: dict[str, Any] = {"temperature": 0.0, "max_tokens": 1, "detokenize": False}
        settings = plain | {"prompt_logprobs": 0}
        if self.abilities.reads_cache:
            settings["skip_reading_prefix_cache"] = not from_cache
        rows: list[tuple[int | None, tuple[int, ...], Any]] = []
        before: tuple[int, ...] = ()
        for index, prompt in enumerate(prompts):
            context = prompt.tokens[: -prompt.scored]
            if from_cache and len(context) - common_prefix(before, context) >= _WORTH_A_PROMPT:
                rows.append((None, context, self._parameters(**plain)))
            rows.append((index, prompt.tokens, self._parameters(**settings)))
            before = prompt.tokens
        for place, output in self._run([tokens for _, tokens, _ in rows], [parameters for _, _, parameters in rows]):
            owner = rows[place][0]
            if owner is not None:
                yield owner, output

    def _sampling(self, prompt: TokenizedPrompt, parameters: GenerationParameters) -> Any:
        settings: dict[str, Any] = {
            "max_tokens": prompt.max_new_tokens,
            "stop": list(prompt.stop_sequence),
            "stop_token_ids": sorted(prompt.stop_ids),
            "repetition_penalty": parameters.repetition_penalty or self._repetition_penalty,
            "frequency_penalty": parameters.frequency_penalty,
            "presence_penalty": parameters.presence_penalty,
            "min_tokens": min(parameters.min_new_tokens or 0, prompt.max_new_tokens),
            # vLLM needs the text only for stop sequences; the answer is decoded from the tokens
            "detokenize": bool(prompt.stop_sequence),
        }
        if prompt.samples is None:
            return self._parameters(temperature=0.0, **settings)
        drawn = {"top_k": parameters.top_k, "top_p": parameters.top_p, "min_p": parameters.min_p}
        return self._parameters(
            temperature=1.0 if parameters.temperature is None else parameters.temperature,
            n=prompt.samples,
            seed=int.from_bytes(private_seed(parameters.seed, prompt.tokens)[:8]) % _SEEDS,
            **{name: value for name, value in drawn.items() if value is not None},
            **settings,
        )

    def _run(self, prompts: Sequence[tuple[int, ...]], parameters: Sequence[Any], *, forget: bool = True) -> Iterator[tuple[int, Any]]:
        """Every prompt's index and finished output, as they finish. Prompts that the caller does not wait for are aborted.

        `forget` empties the prefix cache first, so that the last digits of a score depend on this call alone. Raises BackendError if that
        fails. It does while another caller's prompts are in the engine, and their outputs would be lost here.
        """
        if forget and self._forget() is False:
            raise BackendError("vLLM cannot empty its prefix cache: something else is using the engine")
        first = next(self._numbers)
        waiting = {f"lighteval-{first}-{index}": index for index in range(len(prompts))}
        try:
            with _no_warnings():
                for (name, index), sampling in zip(tuple(waiting.items()), parameters, strict=True):
                    self._engine.add_request(name, {"type": "token", "prompt_token_ids": list(prompts[index])}, sampling)
            while waiting:
                with _no_warnings():
                    outputs = self._engine.step()
                for output in outputs:
                    if output.finished and output.request_id in waiting:
                        yield waiting.pop(output.request_id), output
                if waiting and not self._engine.has_unfinished_requests():
                    raise BackendError(f"vLLM has nothing left to do, but has no output for {len(waiting)} of {len(prompts)} prompts")
        finally:
            if waiting:
                # an engine that died has raised an error already
                with contextlib.suppress(Exception):
                    self._engine.abort_request(list(waiting))


@contextlib.contextmanager
def _no_warnings() -> Iterator[None]:
    """Keep a user's strict warning filter from vLLM's warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _sum_rows(output: Any, prompt: ContinuationPrompt) -> PairScore:
    """The score of the last tokens. Rows are counted from the end, because newer engines leave out those of a cached prefix."""
    rows = output.prompt_logprobs[-prompt.scored :]
    scored = prompt.tokens[-prompt.scored :]
    found = [row[token] for row, token in zip(rows, scored, strict=True)]
    return PairScore(logprob=math.fsum(entry.logprob for entry in found), greedy=all(entry.rank == 1 for entry in found))
