"""Sampling a token from logits: likely tokens stay, nan is an error, and only a few rows take memory at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pytest_lighteval.backends.accelerate.generation.rows import PromptRow
from pytest_lighteval.backends.accelerate.generation.sampler import Sampler, SamplerState
from pytest_lighteval.backends.common.generation_parameters import GenerationParameters
from pytest_lighteval.errors import BackendError


def states_of(count: int, *, sampled: bool = True) -> list[SamplerState]:
    """So many rows of one prompt, each with random numbers of its own."""
    prompt = (1, 2, 3)
    rows = [PromptRow(owner=0, prompt=prompt, max_new_tokens=5, sample=number if sampled else None) for number in range(count)]
    return [SamplerState(row, 0, ()) for row in rows]


def sample(logits: torch.Tensor, *, sampled: bool = True, **parameters: Any) -> list[int]:
    """The first token of each row."""
    rows = states_of(len(logits), sampled=sampled)
    return Sampler(GenerationParameters(**parameters), 1.0).sample(logits, rows, [[] for _ in rows])


@pytest.mark.parametrize("top_p", [0.0, 1e-9])
def test_the_smallest_top_p_leaves_the_likeliest_token(top_p: float) -> None:
    logits = torch.randn(40, 50, generator=torch.Generator().manual_seed(0))

    assert sample(logits, top_p=top_p) == logits.argmax(-1).tolist()


@pytest.mark.parametrize("sampled", [False, True], ids=["greedy", "drawn"])
def test_logits_that_are_no_numbers_are_an_error_that_says_what_helps(sampled: bool) -> None:
    logits = torch.zeros(3, 50)
    logits[1] = torch.nan

    with pytest.raises(BackendError, match=r"^the model's logits are not numbers \(nan\); try dtype=bfloat16 or float32$"):
        sample(logits, sampled=sampled)


def test_tokens_that_a_model_rules_out_are_no_error() -> None:
    logits = torch.full((2, 50), -torch.inf)
    logits[:, 7] = -3.0

    assert sample(logits) == [7, 7]


def test_many_rows_are_drawn_a_few_at_a_time_and_each_as_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(50, 30, generator=torch.Generator().manual_seed(1))
    whole = Sampler._drawn
    sizes: list[int] = []

    def watched(self: Sampler, scores: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        sizes.append(len(scores))
        return whole(self, scores, numbers)

    monkeypatch.setattr(Sampler, "_drawn", watched)
    found = sample(logits, top_p=0.9, top_k=20)

    assert sum(sizes) == 50
    assert max(sizes) == 16
    alone = Sampler(GenerationParameters(top_p=0.9, top_k=20), 1.0)
    assert found == [alone.sample(logits[index : index + 1], [row], [[]])[0] for index, row in enumerate(states_of(50))]
