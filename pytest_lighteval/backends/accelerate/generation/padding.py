"""Find out whether what a row generates depends on the rows that `generate` of transformers continues with it."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence

import torch

from pytest_lighteval.backends.accelerate.generation.padded import PaddedGenerator
from pytest_lighteval.backends.accelerate.generation.rows import PromptRow
from pytest_lighteval.backends.accelerate.generation.sampler import Sampler, SamplerState
from pytest_lighteval.backends.accelerate.loading import LoadedModel
from pytest_lighteval.backends.accelerate.model_calls import ModelCalls
from pytest_lighteval.backends.accelerate.row_groups import LONGEST_PROBE, RowGroups, probe_lengths, sight_limits
from pytest_lighteval.backends.common.generation_parameters import GenerationParameters
from pytest_lighteval.errors import BackendError

_NEW = 5
"""Tokens that a row of the probe generates."""


class RecordingSampler(Sampler):
    """A greedy sampler that records the logits."""

    def __init__(self) -> None:
        super().__init__(GenerationParameters(), 1.0)
        self.logits: defaultdict[tuple[int, ...], list[torch.Tensor]] = defaultdict(list)
        """By prompt, in the order of the tokens."""

    def sample(self, logits: torch.Tensor, rows: Sequence[SamplerState], texts: Sequence[Sequence[int]]) -> list[int]:
        """See `Sampler.sample`."""
        for row, scores in zip(rows, logits, strict=True):
            self.logits[row.prompt].append(scores)
        return super().sample(logits, rows, texts)


class PaddedProbe:
    """Compares what a prompt generates alone with what it generates beside a longer and a shorter one."""

    def __init__(self, loaded: LoadedModel, generator: Callable[[Sampler], PaddedGenerator], calls: ModelCalls, *, max_length: int) -> None:
        self._generator, self._calls, self._exact, self._max_length = generator, calls, loaded.is_exact, max_length
        self._config = loaded.model.config.get_text_config()
        self._draw = random.Random(0)

    def extend(self, groups: RowGroups) -> RowGroups:
        """These rules, and those that the probe shows."""
        if groups.padded == 0 or groups.one_by_one:
            return self._of_equal_length(groups)
        lengths = probe_lengths(groups, self._max_length, new=_NEW)
        if lengths is None:
            return groups
        reason = self._why_not_together(lengths)
        if reason is not None:
            return self._of_equal_length(groups.equal(reason))
        limits = [limit for limit in sight_limits(self._config) if limit < self._max_length]
        longer = probe_lengths(groups, self._max_length, new=_NEW, beyond=[limit for limit in limits if limit < LONGEST_PROBE - 30])
        if longer is not None:
            reason = self._why_not_together(longer)
            if reason is not None:
                return groups.equal(reason, beyond=lengths[0] + _NEW)
        covered = max(LONGEST_PROBE - 30, longer[0] if longer is not None else 0)
        unseen = [limit for limit in limits if limit >= covered]
        return groups.equal(f"padding is not probed beyond {unseen[0]} tokens", beyond=unseen[0]) if unseen else groups

    def _of_equal_length(self, groups: RowGroups) -> RowGroups:
        """These rules, if rows of equal length may share a batch; else each row alone."""
        length = min(12, self._max_length - _NEW)
        reason = self._why_not_together((length, length)) if length > 1 and not groups.one_by_one else None
        return groups if reason is None else groups.alone(f"{reason}, even of equal length")

    def _why_not_together(self, lengths: Sequence[int]) -> str | None:
        """Why rows of these lengths cannot share a batch. None: they can."""
        rows = [PromptRow(owner=owner, prompt=self._tokens(length), max_new_tokens=_NEW) for owner, length in enumerate(lengths)]
        try:
            together = self._logits(rows)
            alone = [self._logits([row])[0] for row in rows]
        except BackendError as error:
            return str(error).removeprefix(f"{self._calls.name}: ")
        for found, expected in zip(together, alone, strict=True):
            for one, other in zip(found, expected, strict=False):
                difference = torch.where(one == other, 0.0, (one.float().log_softmax(-1) - other.float().log_softmax(-1)).abs())
                agrees = (
                    bool((difference <= 1e-3 + 1e-4 * other.nan_to_num(neginf=0.0).abs()).all())
                    if self._exact
                    else float(difference.mean()) <= 0.25
                )
                if not agrees:
                    return f"a row's log-probabilities change by {float(difference.max()):.2g} with the rows beside it"
                if int(one.argmax()) != int(other.argmax()):
                    break  # two tokens are equally likely
        return None

    def _logits(self, rows: Sequence[PromptRow]) -> list[list[torch.Tensor]]:
        """The logits of each new token of each row that run together."""
        recording = RecordingSampler()
        generated = self._calls.attempt(self._generator(recording).generate, rows)
        if generated is None:
            raise BackendError("memory ran out on a probe")
        return [recording.logits[row.prompt][: len(one.token_ids)] for row, one in zip(rows, generated, strict=True)]

    def _tokens(self, count: int) -> tuple[int, ...]:
        return tuple(self._draw.randrange(self._config.vocab_size) for _ in range(count))
