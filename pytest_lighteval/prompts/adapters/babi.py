"""Rows of bAbI (https://arxiv.org/abs/1502.05698): stories with questions between their lines."""

from __future__ import annotations

from typing import Any


def split_questions(row: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each question: `passage` (the story up to it), `question`, `answer`, and `story`, all of its lines."""
    story = row["story"]
    passage: list[str] = []
    questions = []
    for text, answer in zip(story["text"], story["answer"], strict=True):
        if answer:
            questions.append({"passage": " ".join(passage), "question": text, "answer": answer, "story": " ".join(story["text"])})
        else:
            passage.append(text)
    return questions
