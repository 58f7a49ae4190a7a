"""Rows of French data sets (https://huggingface.co/fr-gouv-coordination-ia)."""

from __future__ import annotations

import hashlib
from typing import Any


def place_gpqa_answers(row: dict[str, Any]) -> dict[str, Any]:
    """`question`, its `options` in the order to be shown, and the index `answer` of the right one, drawn by a digest of the question."""
    question = row["Question"]
    options = [row[f"Réponse incorrecte {number}"] for number in (1, 2, 3)]
    answer = hashlib.sha256(question.encode()).digest()[0] % 4
    options.insert(answer, row["Réponse correcte"])
    return {"question": question, "options": options, "answer": answer}
