"""Sample each row's next token from its logits: penalties, then the likeliest token, or a draw by the row's own random numbers."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence

import torch

from pytest_lighteval.backends.accelerate.generation.rows import PromptRow
from pytest_lighteval.backends.common.generation_parameters import GenerationParameters
from pytest_lighteval.backends.common.seeds import private_seed
from pytest_lighteval.errors import BackendError

_ROWS_DRAWN_AT_ONCE = 16
"""Rows whose vocabulary is sorted and summed, in float64, at a time."""


class SamplerState:
    """What the sampler remembers of one row."""

    def __init__(self, row: PromptRow, seed: int, ends: Collection[int]) -> None:
        self.prompt = row.prompt
        self.ends = sorted(ends)
        self.draw = None if row.sample is None else _private_random(row, seed)
        """None: greedy."""
        self.seen: torch.Tensor | None = None
        """`[vocabulary]`: whether a token is in its prompt or text. None: not needed so far."""
        self.counts: torch.Tensor | None = None
        """`[vocabulary]`: how often each token was generated. None: not needed so far."""


class Sampler:
    """The rules of sampling, the same for all rows."""

    def __init__(self, parameters: GenerationParameters, repetition_penalty: float) -> None:
        self._parameters, self._repetition_penalty = parameters, repetition_penalty

    def sample(self, logits: torch.Tensor, rows: Sequence[SamplerState], texts: Sequence[Sequence[int]]) -> list[int]:
        """The next token of each row, from its logits `[rows, vocabulary]` in fp32 and the tokens that it generated so far.

        A row draws one random number in each call. Call this once for each token: then a row's text does not depend on the other rows.
        Raises BackendError for logits that are no numbers.
        """
        logits = self._penalized(logits, rows, texts)
        for index, (row, text) in enumerate(zip(rows, texts, strict=True)):
            if len(text) < (self._parameters.min_new_tokens or 0):
                logits[index, row.ends] = -torch.inf
        chosen = logits.argmax(-1)
        # argmax counts nan as the largest; fetched together with the tokens, in one wait for the device
        likeliest = logits.gather(1, chosen[:, None])[:, 0]
        draws = {index: row.draw for index, row in enumerate(rows) if row.draw is not None}
        if draws:
            places = torch.tensor(list(draws), device=logits.device)
            numbers = torch.tensor([draw.random() for draw in draws.values()], dtype=torch.float64)
            parts = zip(torch.split(places, _ROWS_DRAWN_AT_ONCE), torch.split(numbers, _ROWS_DRAWN_AT_ONCE), strict=True)
            chosen[places] = torch.cat([self._drawn(logits[rows], drawn) for rows, drawn in parts])
        tokens, wrong = torch.stack([chosen, likeliest.isnan()]).tolist()
        if any(wrong):
            raise BackendError("the model's logits are not numbers (nan); try dtype=bfloat16 or float32")
        return list(tokens)

    def _penalized(self, logits: torch.Tensor, rows: Sequence[SamplerState], texts: Sequence[Sequence[int]]) -> torch.Tensor:
        parameters = self._parameters
        for row, text, scores in zip(rows, texts, logits, strict=True):
            if self._repetition_penalty != 1.0:
                if row.seen is None:
                    row.seen = torch.zeros_like(scores, dtype=torch.bool)
                    row.seen[list(row.prompt)] = True
                row.seen[list(text[-1:])] = True
            if parameters.frequency_penalty or parameters.presence_penalty:
                if row.counts is None:
                    row.counts = torch.zeros_like(scores)
                row.counts[list(text[-1:])] += 1
        if self._repetition_penalty != 1.0:
            punished = torch.where(logits < 0, logits * self._repetition_penalty, logits / self._repetition_penalty)
            logits = torch.where(torch.stack([row.seen for row in rows if row.seen is not None]), punished, logits)
        if parameters.frequency_penalty or parameters.presence_penalty:
            counts = torch.stack([row.counts for row in rows if row.counts is not None])
            logits = logits - parameters.frequency_penalty * counts - parameters.presence_penalty * (counts > 0)
        return logits

    def _drawn(self, scores: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """One token a row: the place of the row's random number (`[rows]`, on the CPU) in its cumulated probabilities."""
        parameters = self._parameters
        # float64, so that rounding does not decide which token a number selects; Apple's GPUs have no float64
        scores = scores.to(torch.float32 if scores.device.type == "mps" else torch.float64)
        scores = scores / (1.0 if parameters.temperature is None else parameters.temperature)
        if parameters.top_k is not None and parameters.top_k < scores.shape[1]:
            scores = scores.masked_fill(scores < scores.topk(parameters.top_k).values[:, -1:], -torch.inf)
        if parameters.top_p is not None and parameters.top_p < 1:
            ordered, places = scores.sort(descending=True, stable=True)
            before = ordered.softmax(-1).cumsum(-1).roll(1, -1)
            hidden = before >= parameters.top_p
            # the likeliest token always stays
            hidden[:, 0] = False
            scores = scores.masked_fill(hidden.scatter(1, places, hidden), -torch.inf)
        probabilities = scores.softmax(-1)
        if parameters.min_p is not None:
            probabilities = probabilities.masked_fill(probabilities < parameters.min_p * probabilities.amax(-1, keepdim=True), 0.0)
        reached = probabilities.cumsum(-1)
        sought = numbers.to(reached)[:, None] * reached[:, -1:]
        return torch.searchsorted(reached, sought, right=True)[:, 0].clamp(max=scores.shape[1] - 1)


def _private_random(row: PromptRow, seed: int) -> random.Random:
    return random.Random(private_seed(seed, row.sample, row.prompt))
