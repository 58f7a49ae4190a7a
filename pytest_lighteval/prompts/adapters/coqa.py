"""Rows of CoQA (https://arxiv.org/abs/1808.07042)."""

from __future__ import annotations

from typing import Any


def split_turns(row: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each `question` and `answer` of the conversation; all carry the `story_number` of the row."""
    turns = zip(row["questions"], row["answers"]["input_text"], strict=True)
    return [{"story": row["story"], "story_number": row["__index"], "question": question, "answer": answer} for question, answer in turns]
