"""Rows of CoQA (https://arxiv.org/abs/1808.07042)."""

from __future__ import annotations

from typing import Any


def split_turns(row: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each `question` and `answer` of the conversation, with the turns `before` it.

    All carry the `story_number` of the row.
    """
    pairs = zip(row["questions"], row["answers"]["input_text"], strict=True)
    turns = [{"question": question, "answer": answer} for question, answer in pairs]
    source = {"story": row["story"], "story_number": row["__index"]}
    return [{**source, **turn, "before": turns[:place]} for place, turn in enumerate(turns)]
