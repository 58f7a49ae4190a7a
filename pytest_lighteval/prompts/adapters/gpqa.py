"""Rows of GPQA (https://arxiv.org/abs/2311.12022), which name a right and three wrong answers, as multiple choice."""

from __future__ import annotations

import hashlib
from typing import Any


def place_answers(row: dict[str, Any]) -> dict[str, Any]:
    """`question`, its four `options` in the order to be shown, and the index `answer` of the right one.

    The place of the right answer is drawn by a digest of the question, so that it depends on no other row and no state.
    """
    question = row["Question"].strip()
    options = [row[f"Incorrect Answer {number}"].strip() for number in (1, 2, 3)]
    answer = hashlib.sha256(question.encode()).digest()[0] % 4
    options.insert(answer, row["Correct Answer"].strip())
    return {"question": question, "options": options, "answer": answer}
