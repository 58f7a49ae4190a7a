"""Generate in padded batches with `generate` of transformers. Any causal model can do it."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
import transformers

from pytest_lighteval.backends.accelerate.batches import BatchLimits, TooBig, run_in_batches
from pytest_lighteval.backends.accelerate.generation.rows import PromptRow
from pytest_lighteval.backends.accelerate.generation.sampler import Sampler, SamplerState
from pytest_lighteval.backends.accelerate.generation.stopping import StopRule
from pytest_lighteval.backends.accelerate.loading import LoadedModel
from pytest_lighteval.backends.accelerate.memory import Attempt
from pytest_lighteval.backends.accelerate.row_groups import RowGroups
from pytest_lighteval.backends.common.generation_requests import GeneratedText
from pytest_lighteval.backends.common.prompt_tokenizer import PromptTokenizer

_NEW_TOKENS_COUNTED = 1024
"""New tokens of a row that count in the limits of a batch at most; few rows generate more."""


class PaddedGenerator:
    """A loaded causal model that continues one batch of padded prompts with `generate` of transformers.

    Prompts are padded on the left under an attention mask, and positions count from each prompt's own first token. So a row's answer is
    the same as alone, up to rounding, in most models: which rows may share a batch is found out by a probe.
    """

    def __init__(self, loaded: LoadedModel, tokenizer: PromptTokenizer, ends: Collection[int], sampler: Sampler, seed: int) -> None:
        self._model, self._device, self._tokenizer = loaded.model, loaded.device, tokenizer
        self._ends, self._sampler, self._seed = ends, sampler, seed
        self._settings = copy.deepcopy(own_settings(loaded.model))
        self._settings.update(
            # our sampler samples each row in `_OnlyTheSampled`, which leaves one token to `generate`
            do_sample=False,
            num_beams=1,
            num_beam_groups=None,
            constraints=None,
            force_words_ids=None,
            num_return_sequences=1,
            temperature=1.0,
            top_k=50,
            top_p=1.0,
            min_p=None,
            # `generate` would penalize the padding as well; our sampler also counts the new tokens
            repetition_penalty=1.0,
            min_new_tokens=None,
            max_length=None,
            eos_token_id=sorted(ends) or None,
            pad_token_id=tokenizer.special.start,
            return_dict_in_generate=False,
        )
        self.tokens_computed = 0
        """Passed to the model so far, padding included."""

    def generate(self, rows: Sequence[PromptRow]) -> list[GeneratedText]:
        """What each row generates, in order."""
        longest = max(len(row.prompt) for row in rows)
        inputs = torch.full((len(rows), longest), self._tokenizer.special.start, dtype=torch.long)
        mask = torch.zeros_like(inputs)
        for index, row in enumerate(rows):
            inputs[index, longest - len(row.prompt) :] = torch.tensor(row.prompt)
            mask[index, longest - len(row.prompt) :] = 1
        settings = copy.deepcopy(self._settings)
        settings.max_new_tokens = max(row.max_new_tokens for row in rows)
        rules = [StopRule(row, self._tokenizer, self._ends) for row in rows]
        done = _RowsDone(rules, longest)
        states = [SamplerState(row, self._seed, rule.ends) for row, rule in zip(rows, rules, strict=True)]
        sampled = _OnlyTheSampled(states, longest, self._sampler)
        output = self._model.generate(
            inputs.to(self._device),
            attention_mask=mask.to(self._device),
            generation_config=settings,
            logits_processor=transformers.LogitsProcessorList([sampled]),
            stopping_criteria=transformers.StoppingCriteriaList([done]),
        )
        self.tokens_computed += output.numel() - len(rows)
        return [
            # the batch runs on after a row is done: what comes then is not its answer
            rule.finish(tokens[:length])
            for rule, tokens, length in zip(rules, output[:, longest:].tolist(), done.lengths, strict=True)
        ]


class PaddedGeneration:
    """The `Generation` in padded batches."""

    name = "padded batches"

    def __init__(
        self,
        generator: PaddedGenerator,
        limits: BatchLimits,
        reason: str,
        attempt: Attempt,
        on_shrink: Callable[[int], None],
        groups: RowGroups,
    ) -> None:
        """`reason`: why not in slots. `on_shrink` gets the new number of rows when memory ran out. `groups`: which rows share a batch."""
        self.reason = groups.explained(reason, scored=False)
        self._generator, self._limits, self._attempt, self._on_shrink = generator, groups.limits(limits), attempt, on_shrink
        self._groups = groups

    @property
    def tokens_computed(self) -> int:
        """See `Generation.tokens_computed`."""
        return self._generator.tokens_computed

    def generate(self, rows: Sequence[PromptRow]) -> Iterator[tuple[PromptRow, GeneratedText | None]]:
        """See `Generation.generate`."""
        grouped: defaultdict[Hashable, list[PromptRow]] = defaultdict(list)
        for row in sorted(rows, key=lambda row: -len(row.prompt)):
            grouped[self._group(row)].append(row)
        rows = [row for group in grouped.values() for row in group]
        run = partial(self._attempt, self._generator.generate)
        for batch in run_in_batches(rows, _prompt_size, self._limits, run, self._on_shrink, group=self._group):
            if isinstance(batch, TooBig):
                yield batch.items[0], None
            else:
                yield from zip(batch.items, batch.result, strict=True)

    def _group(self, row: PromptRow) -> Hashable:
        return self._groups.generated(len(row.prompt), row.max_new_tokens)


class _RowsDone(transformers.StoppingCriteria):  # type: ignore[misc]  # a class without types
    """Which rows are done."""

    def __init__(self, rules: Sequence[StopRule], prompt_length: int) -> None:
        self._rules, self._prompt_length = rules, prompt_length
        self.lengths: list[int | None] = [None] * len(rules)
        """New tokens of each row when it was done. None: it is not."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        texts = input_ids[:, self._prompt_length :].tolist()
        for index, (rule, text) in enumerate(zip(self._rules, texts, strict=True)):
            if self.lengths[index] is None and rule.is_done(text):
                self.lengths[index] = len(text)
        return torch.tensor([length is not None for length in self.lengths], device=input_ids.device)


class _OnlyTheSampled(transformers.LogitsProcessor):  # type: ignore[misc]  # likewise
    """Excludes all tokens but the one that our sampler sampled for each row."""

    def __init__(self, rows: Sequence[SamplerState], prompt_length: int, sampler: Sampler) -> None:
        self._rows, self._prompt_length, self._sampler = rows, prompt_length, sampler

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        sampled = self._sampler.sample(scores, self._rows, input_ids[:, self._prompt_length :].tolist())
        only = torch.full_like(scores, -torch.inf)
        only[range(len(sampled)), sampled] = 0.0
        return only


def own_settings(model: Any) -> Any:
    """The model's generation_config."""
    return getattr(model, "generation_config", None) or transformers.GenerationConfig()


def _prompt_size(row: PromptRow) -> tuple[int, int]:
    return len(row.prompt) + min(row.max_new_tokens, _NEW_TOKENS_COUNTED), 0
