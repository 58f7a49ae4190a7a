"""Continue prompts through `generate` of transformers, in padded batches: what any causal model can do."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import torch
import transformers

from pytest_lighteval.backends.accelerate.generation.sampler import Choice, Choices
from pytest_lighteval.backends.accelerate.generation.stopping import StopRule
from pytest_lighteval.backends.accelerate.loading import LoadedModel
from pytest_lighteval.backends.accelerate.scoring.row_batches import Limits, PromptRow, TooBig, run_in_batches
from pytest_lighteval.backends.common.generation_requests import GeneratedText
from pytest_lighteval.backends.common.prompt_tokenizer import PromptTokenizer

_NEW_TOKENS_COUNTED = 1024
"""New tokens of a row that the budget reckons with; few rows use a larger limit up."""


class PlainGenerator:
    """A loaded causal model that continues padded prompts through `generate` of transformers.

    Prompts are padded on the left under an attention mask, and positions count from each prompt's own first token, so that a row's answer
    is the one it has alone (up to rounding).
    """

    def __init__(self, loaded: LoadedModel, texts: PromptTokenizer, ends: Collection[int], choices: Choices, seed: int) -> None:
        self._model, self._device, self._texts = loaded.model, loaded.device, texts
        self._ends, self._choices, self._seed = ends, choices, seed
        self._settings = copy.deepcopy(own_settings(loaded.model))
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
            eos_token_id=sorted(ends) or None,
            pad_token_id=texts.special.start,
            return_dict_in_generate=False,
        )
        self.tokens_computed = 0
        """Fed to the model so far, padding included."""

    def generate(self, rows: Sequence[PromptRow]) -> list[GeneratedText]:
        """What each row generates, in order."""
        longest = max(len(row.prompt) for row in rows)
        inputs = torch.full((len(rows), longest), self._texts.special.start, dtype=torch.long)
        mask = torch.zeros_like(inputs)
        for index, row in enumerate(rows):
            inputs[index, longest - len(row.prompt) :] = torch.tensor(row.prompt)
            mask[index, longest - len(row.prompt) :] = 1
        settings = copy.deepcopy(self._settings)
        settings.max_new_tokens = max(row.max_new_tokens for row in rows)
        rules = [StopRule(row, self._texts, self._ends) for row in rows]
        stops = _RowStops(rules, longest)
        choices = _RowChoices([Choice(row, self._seed, rule.ends) for row, rule in zip(rows, rules, strict=True)], longest, self._choices)
        output = self._model.generate(
            inputs.to(self._device),
            attention_mask=mask.to(self._device),
            generation_config=settings,
            logits_processor=transformers.LogitsProcessorList([choices]),
            stopping_criteria=transformers.StoppingCriteriaList([stops]),
        )
        self.tokens_computed += output.numel() - len(rows)
        return [
            # what ran on in the batch after a row was done is not its own
            rule.finish(tokens[:length])
            for rule, tokens, length in zip(rules, output[:, longest:].tolist(), stops.lengths, strict=True)
        ]


class InBatches:
    """Padded batches of `generate` of transformers, which any causal model can do."""

    name = "padded batches"

    def __init__(
        self,
        generator: PlainGenerator,
        limits: Limits,
        reason: str,
        attempt: Callable[[Callable[[Any], Any], Any], Any],
        on_shrink: Callable[[int], None],
    ) -> None:
        self.reason = reason
        self._generator, self._limits, self._attempt, self._on_shrink = generator, limits, attempt, on_shrink

    @property
    def tokens_computed(self) -> int:
        """See `Generation.tokens_computed`."""
        return self._generator.tokens_computed

    def generate(self, rows: Sequence[PromptRow]) -> Iterator[tuple[PromptRow, GeneratedText | None]]:
        """See `Generation.generate`."""
        rows = sorted(rows, key=lambda row: -len(row.prompt))

        def run(rows: Sequence[PromptRow]) -> Sequence[GeneratedText] | None:
            results: Sequence[GeneratedText] | None = self._attempt(self._generator.generate, rows)
            return results

        for batch in run_in_batches(rows, _prompt_size, self._limits, run, self._on_shrink):
            if isinstance(batch, TooBig):
                yield batch.item, None
            else:
                yield from zip(batch.items, batch.results, strict=True)


class _RowStops(transformers.StoppingCriteria):  # type: ignore[misc]  # a class without types
    """Which rows are done."""

    def __init__(self, rules: Sequence[StopRule], prompt_length: int) -> None:
        self._rules, self._prompt_length = rules, prompt_length
        self.lengths: list[int | None] = [None] * len(rules)
        """Tokens of each row when it was found to be done. None: it was not."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        texts = input_ids[:, self._prompt_length :].tolist()
        for index, (rule, text) in enumerate(zip(self._rules, texts, strict=True)):
            if self.lengths[index] is None and rule.is_done(text):
                self.lengths[index] = len(text)
        return torch.tensor([length is not None for length in self.lengths], device=input_ids.device)


class _RowChoices(transformers.LogitsProcessor):  # type: ignore[misc]  # likewise
    """Rules out all but the token that each row chooses."""

    def __init__(self, rows: Sequence[Choice], prompt_length: int, choices: Choices) -> None:
        self._rows, self._prompt_length, self._choices = rows, prompt_length, choices

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        chosen = self._choices.choose(scores, self._rows, input_ids[:, self._prompt_length :].tolist())
        only = torch.full_like(scores, -torch.inf)
        only[range(len(chosen)), chosen] = 0.0
        return only


def own_settings(model: Any) -> Any:
    """The model's generation_config."""
    return getattr(model, "generation_config", None) or transformers.GenerationConfig()


def _prompt_size(row: PromptRow) -> tuple[int, int]:
    return len(row.prompt) + min(row.max_new_tokens, _NEW_TOKENS_COUNTED), 0
