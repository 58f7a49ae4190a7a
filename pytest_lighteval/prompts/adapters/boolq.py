"""Rows of BoolQ's contrast set (https://arxiv.org/abs/2004.02709): questions that differ a little from one of BoolQ, with their answers."""

from __future__ import annotations

from typing import Any

_ANSWERS = {"TRUE": "Yes", "FALSE": "No"}


def perturbed_questions(row: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each perturbed question that has an answer, with `question`, `passage` and `answer` (Yes or No)."""
    return [
        {"passage": row["paragraph"], "question": f"{question}?", "answer": _ANSWERS[asked["answer"]]}
        for asked in row["perturbed_questions"]
        if asked["answer"] in _ANSWERS and (question := asked["perturbed_q"].strip().rstrip("?"))
    ]
