"""Rows of Qasper (https://arxiv.org/abs/2105.03011)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def split_questions(row: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each `answer`, true or false, to a `question` of the paper; answers of other kinds are left out."""
    return [
        {
            "title": row["title"],
            "abstract": row["abstract"],
            "paper_number": row["__index"],
            "question": question,
            "answer": answer["yes_no"],
        }
        for question, annotated in zip(row["qas"]["question"], row["qas"]["answers"], strict=True)
        for answer in annotated["answer"]
        if _is_yes_or_no(answer)
    ]


def _is_yes_or_no(answer: Mapping[str, Any]) -> bool:
    """An answer in words counts more than a no, which is also stored where nothing was chosen."""
    if answer["unanswerable"] or answer["yes_no"] is None:
        return False
    return bool(answer["yes_no"]) or not (answer["free_form_answer"] or answer["extractive_spans"])
