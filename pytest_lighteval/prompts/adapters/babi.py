"""Rows of bAbI (https://arxiv.org/abs/1502.05698): stories with questions between their lines."""

from __future__ import annotations

from typing import Any


def split_questions(row: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each question of the story: `passage`, all that was told before it, `question` and `answer`."""
    story = row["story"]
    told: list[str] = []
    questions = []
    for text, answer in zip(story["text"], story["answer"], strict=True):
        if answer:
            questions.append({"passage": " ".join(told), "question": text, "answer": answer})
        else:
            told.append(text)
    return questions
