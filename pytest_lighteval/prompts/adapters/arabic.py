"""Rows of the Open Arabic LLM Leaderboard's data sets (https://huggingface.co/blog/leaderboard-arabic)."""

from __future__ import annotations

import ast
import hashlib
import re
from typing import Any

LETTERS = ("أ", "ب", "ج", "د", "هـ")


def letter_options(row: dict[str, Any]) -> dict[str, Any]:
    """`options`, each after its Arabic letter, and the `option_letters`; a question has up to five."""
    texts = [row[f"Option {number}"] for number in range(1, 6)]
    lettered = [(letter, text) for letter, text in zip(LETTERS, texts, strict=True) if text]
    return {**row, "options": [f"{letter}. {text}" for letter, text in lettered], "option_letters": [letter for letter, _ in lettered]}


def list_solutions(row: dict[str, Any]) -> dict[str, Any]:
    """`solutions`, the columns sol1, sol2 and so on."""
    return {**row, "solutions": [text for column, text in row.items() if column.startswith("sol")]}


def clean_endings(row: dict[str, Any]) -> dict[str, Any]:
    """`ctx` and `endings`, which are stored as a Python literal, without marks such as "[step]"."""
    endings = [_without_marks(ending) for ending in ast.literal_eval(row["endings"])]
    return {**row, "ctx": _without_marks(row["ctx"]), "endings": endings}


def place_sciq_answer(row: dict[str, Any]) -> dict[str, Any]:
    """The four `answers` in the order to be shown, and the index of the `right` one, drawn by a digest of the question."""
    answers = [row["distractor1"], row["distractor2"], row["distractor3"]]
    right = hashlib.sha256(row["question"].encode()).digest()[0] % 4
    answers.insert(right, row["correct_answer"])
    return {**row, "answers": answers, "right": right}


def _without_marks(text: str) -> str:
    return re.sub(r"\[.*?\]", "", text)
