"""Run planned prompts through `generate` of transformers: every row draws, stops and is limited on its own."""

from __future__ import annotations

import copy
import hashlib
import random
from collections.abc import Sequence
from typing import Any

import torch
import transformers

from pytest_lighteval.backends.accelerate.arguments import GenerationParameters
from pytest_lighteval.backends.accelerate.loading import LoadedModel
from pytest_lighteval.backends.accelerate.plan import Generated, PromptRow
from pytest_lighteval.backends.accelerate.texts import Texts

__all__ = ["Generator"]

_LOOKBACK = 8
"""Tokens decoded beyond those that a stop sequence can span, since a token may decode to nothing by itself."""


class Generator:
    """A loaded causal model that continues prompts.

    Prompts are padded on the left under an attention mask, and positions count from each prompt's own first token, so that a row's answer
    is the one it has alone (up to rounding).
    """

    def __init__(self, loaded: LoadedModel, texts: Texts, parameters: GenerationParameters) -> None:
        self._model, self._device, self._texts, self._parameters = loaded.model, loaded.device, texts, parameters
        own = getattr(self._model, "generation_config", None) or transformers.GenerationConfig()
        # a chat model may declare more ends than its tokenizer's one
        declared = own.eos_token_id if isinstance(own.eos_token_id, list) else [own.eos_token_id]
        self._ends = sorted({end for end in (*declared, texts.special.end) if end is not None})
        self._settings = copy.deepcopy(own)
        self._settings.update(
            # drawing is done row by row in `_RowChoices`, which then leaves generate one token to choose
            do_sample=False,
            num_beams=1,
            num_return_sequences=1,
            temperature=1.0,
            top_k=50,
            top_p=1.0,
            min_p=None,
            # as generate has it, it would punish padding as well
            repetition_penalty=1.0,
            max_length=None,
            min_new_tokens=None,
            eos_token_id=self._ends or None,
            pad_token_id=texts.special.start,
            return_dict_in_generate=False,
        )
        self._repetition_penalty: float = parameters.repetition_penalty or own.repetition_penalty or 1.0

    def generate(self, rows: Sequence[PromptRow]) -> list[Generated]:
        """What each row generates, in order."""
        longest = max(len(row.prompt) for row in rows)
        inputs = torch.full((len(rows), longest), self._texts.special.start, dtype=torch.long)
        mask = torch.zeros_like(inputs)
        for index, row in enumerate(rows):
            inputs[index, longest - len(row.prompt) :] = torch.tensor(row.prompt)
            mask[index, longest - len(row.prompt) :] = 1
        settings = copy.deepcopy(self._settings)
        settings.max_new_tokens = max(row.max_new_tokens for row in rows)
        stops = _RowStops(rows, longest, self._texts, self._ends)
        choices = _RowChoices(rows, longest, self._parameters, self._repetition_penalty, self._ends)
        output = self._model.generate(
            inputs.to(self._device),
            attention_mask=mask.to(self._device),
            generation_config=settings,
            logits_processor=transformers.LogitsProcessorList([choices]),
            stopping_criteria=transformers.StoppingCriteriaList([stops]),
        )
        return [
            self._finish(row, tokens, stopped)
            for row, tokens, stopped in zip(rows, output[:, longest:].tolist(), stops.lengths, strict=True)
        ]

    def _finish(self, row: PromptRow, tokens: list[int], stopped: int | None) -> Generated:
        """The row's own tokens and text, without what ran on in the batch after it was done."""
        length = min(row.max_new_tokens, len(tokens) if stopped is None else stopped)
        ends = {*self._ends, *row.stop_ids}
        length = next((place + 1 for place, token in enumerate(tokens[:length]) if token in ends), length)
        tokens = tokens[:length]
        whole = self._texts.decode(tokens)
        text = whole
        for stop in row.stop_sequence:
            text = text.partition(stop)[0]
        ended = text != whole or (bool(tokens) and tokens[-1] in ends)
        return Generated(token_ids=tuple(tokens), text=text, finish_reason="stop" if ended else "length")


class _RowStops(transformers.StoppingCriteria):  # type: ignore[misc]  # a class without types
    """Which rows are done: a stop sequence stands in the decoded text, or the row's own limit is reached."""

    def __init__(self, rows: Sequence[PromptRow], prompt_length: int, texts: Texts, ends: Sequence[int]) -> None:
        self._rows, self._prompt_length, self._texts = rows, prompt_length, texts
        self._ends = [{*ends, *row.stop_ids} for row in rows]
        # a token is at least one byte of text, so that a stop sequence spans no more tokens than it has bytes
        self._windows = [max((len(stop.encode()) for stop in row.stop_sequence), default=0) + _LOOKBACK for row in rows]
        self.lengths: list[int | None] = [None] * len(rows)
        """Tokens of each row when it was found to be done. None: it was not."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        length = input_ids.shape[1] - self._prompt_length
        recent = input_ids[:, -min(length, max(self._windows)) :].tolist()
        for index, row in enumerate(self._rows):
            if self.lengths[index] is not None:
                continue
            ended = length >= row.max_new_tokens or recent[index][-1] in self._ends[index]
            # the few last tokens tell nearly always; only a hit among them is worth the whole text
            if ended or (
                self._has_stop(row, recent[index][-self._windows[index] :])
                and self._has_stop(row, input_ids[index, self._prompt_length :].tolist())
            ):
                self.lengths[index] = length
        return torch.tensor([length is not None for length in self.lengths], device=input_ids.device)

    def _has_stop(self, row: PromptRow, tokens: list[int]) -> bool:
        if not row.stop_sequence:
            return False
        text = self._texts.decode(tokens)
        return any(stop in text for stop in row.stop_sequence)


class _RowChoices(transformers.LogitsProcessor):  # type: ignore[misc]  # likewise
    """Each row's logits under the penalties; for a sampled row, all but the token that was drawn are ruled out."""

    def __init__(
        self, rows: Sequence[PromptRow], prompt_length: int, parameters: GenerationParameters, repetition_penalty: float, ends: list[int]
    ) -> None:
        self._rows, self._prompt_length, self._parameters = rows, prompt_length, parameters
        self._repetition_penalty = repetition_penalty
        self._ends = [sorted({*ends, *row.stop_ids}) for row in rows]
        self._sampled = [index for index, row in enumerate(rows) if row.sample is not None]
        self._draws = [_private_random(rows[index], parameters.seed) for index in self._sampled]
        self._seen: torch.Tensor | None = None
        self._counts: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores = self._penalized(input_ids, scores)
        if input_ids.shape[1] - self._prompt_length < (self._parameters.min_new_tokens or 0):
            for index, ends in enumerate(self._ends):
                scores[index, ends] = -torch.inf
        if self._sampled:
            drawn = self._draw(scores[self._sampled])
            scores[self._sampled] = torch.full_like(drawn[:, None], -torch.inf, dtype=scores.dtype).expand(-1, scores.shape[1])
            scores[self._sampled, drawn] = 0.0
        return scores

    def _penalized(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        parameters = self._parameters
        if self._repetition_penalty != 1.0:
            if self._seen is None:
                self._seen = torch.zeros_like(scores, dtype=torch.bool)
                for index, row in enumerate(self._rows):
                    self._seen[index, list(row.prompt)] = True
            else:
                self._seen.scatter_(1, input_ids[:, -1:], value=True)
            punished = torch.where(scores < 0, scores * self._repetition_penalty, scores / self._repetition_penalty)
            scores = torch.where(self._seen, punished, scores)
        if parameters.frequency_penalty or parameters.presence_penalty:
            if self._counts is None:
                self._counts = torch.zeros_like(scores)
            else:
                self._counts.scatter_add_(1, input_ids[:, -1:], torch.ones_like(self._counts[:, :1]))
            scores = scores - parameters.frequency_penalty * self._counts - parameters.presence_penalty * (self._counts > 0)
        return scores

    def _draw(self, scores: torch.Tensor) -> torch.Tensor:
        """One token a row: the place of the row's next random number in its cumulated probabilities."""
        parameters = self._parameters
        # float64, so that where a number falls does not hang on how sums are rounded; Apple's GPUs have none
        scores = scores.to(torch.float32 if scores.device.type == "mps" else torch.float64)
        scores = scores / (1.0 if parameters.temperature is None else parameters.temperature)
        if parameters.top_k is not None and parameters.top_k < scores.shape[1]:
            scores = scores.masked_fill(scores < scores.topk(parameters.top_k).values[:, -1:], -torch.inf)
        if parameters.top_p is not None and parameters.top_p < 1:
            ordered, places = scores.sort(descending=True, stable=True)
            before = ordered.softmax(-1).cumsum(-1).roll(1, -1)
            before[:, 0] = 0.0
            scores = scores.masked_fill((before >= parameters.top_p).scatter(1, places, before >= parameters.top_p), -torch.inf)
        probabilities = scores.softmax(-1)
        if parameters.min_p is not None:
            probabilities = probabilities.masked_fill(probabilities < parameters.min_p * probabilities.amax(-1, keepdim=True), 0.0)
        reached = probabilities.cumsum(-1)
        numbers = torch.tensor([[draw.random()] for draw in self._draws], dtype=reached.dtype, device=reached.device) * reached[:, -1:]
        return torch.searchsorted(reached, numbers, right=True)[:, 0].clamp(max=scores.shape[1] - 1)


def _private_random(row: PromptRow, seed: int) -> random.Random:
    """Numbers that depend on the seed, the prompt and the sample's number alone: not on the batch, the order or other requests."""
    return random.Random(hashlib.sha256(repr((seed, row.sample, row.prompt)).encode()).digest())
