"""Rows of OlympiadBench (https://arxiv.org/abs/2402.14008), whose prompts say what kind of answer is required."""

from __future__ import annotations

from typing import Any

_KINDS = {
    "Numerical": ("a numerical value", "数值"),
    "Expression": ("an expression", "表达式"),
    "Equation": ("an equation", "方程"),
    "Interval": ("an interval", "区间"),
}


def name_answer_kinds(row: dict[str, Any]) -> dict[str, Any]:
    """The row with `kinds`, the kind of each answer in the row's language: one where all are the same.

    None at all where the benchmark leaves the kind unsaid, because a tuple can mean several things.
    """
    answer_type = row["answer_type"]
    if "Tuple" in answer_type or "Need_human_evaluate" in answer_type:
        return {**row, "kinds": []}
    language = 1 if row["language"] == "Chinese" else 0
    kinds = [next(texts[language] for name, texts in _KINDS.items() if name in one) for one in answer_type.split(",")]
    return {**row, "kinds": kinds[:1] if len(set(kinds)) == 1 else kinds}
