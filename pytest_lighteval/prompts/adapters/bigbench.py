"""Rows of BIG-bench (https://arxiv.org/abs/2206.04615) made ready for its prompts."""

from __future__ import annotations

import ast
from typing import Any

import numpy as np


def permute_choices(row: dict[str, Any]) -> dict[str, Any]:
    """The row with its choices in the order that the harness asks them: sorted, then one fixed permutation for each number of choices.

    `target_idx` goes along.
    """
    right = row["choices"][row["target_idx"]]
    choices = [str(choice) for choice in np.random.RandomState(42).permutation(sorted(row["choices"]))]
    return {**row, "choices": choices, "target_idx": choices.index(right)}


def parse_targets(row: dict[str, Any]) -> dict[str, Any]:
    """The row with `choices` and `answers`, the indices of the right ones, of HELM's copy of the tasks.

    Choices and their scores are stored as the text of a Python mapping; the best ones are right. Without it there is one `target`.
    """
    if not row.get("target_scores"):
        targets = row["target"] if isinstance(row["target"], list) else [row["target"]]
        return {**row, "choices": targets, "answers": list(range(len(targets)))}
    scores = ast.literal_eval(row["target_scores"]) if isinstance(row["target_scores"], str) else row["target_scores"]
    best = max(scores.values())
    return {**row, "choices": list(scores), "answers": [index for index, score in enumerate(scores.values()) if score == best]}
