"""Rows of BIG-bench (https://arxiv.org/abs/2206.04615) made ready for its prompts."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["permute_choices"]


def permute_choices(row: dict[str, Any]) -> dict[str, Any]:
    """The row with its choices in the order that the harness asks them: sorted, then one fixed permutation for each number of choices.

    `target_idx` goes along.
    """
    right = row["choices"][row["target_idx"]]
    choices = [str(choice) for choice in np.random.RandomState(42).permutation(sorted(row["choices"]))]
    return {**row, "choices": choices, "target_idx": choices.index(right)}
