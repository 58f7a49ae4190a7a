"""Rows of DROP (https://arxiv.org/abs/1903.00161)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def collect_answers(row: dict[str, Any]) -> dict[str, Any]:
    """`answers`, the different ones that the annotators gave, each a list of spans (one for a number or a date)."""
    validated = row["validated_answers"]
    candidates = [row["answer"]] + [
        {"number": number, "date": date, "spans": spans}
        for number, date, spans in zip(validated["number"], validated["date"], validated["spans"], strict=True)
    ]
    different = dict.fromkeys(_spans(candidate) for candidate in candidates)
    return {**row, "answers": [list(spans) for spans in different]}


def _spans(answer: Mapping[str, Any]) -> tuple[str, ...]:
    if answer["number"]:
        return (str(answer["number"]),)
    if answer["spans"]:
        return tuple(answer["spans"])
    date = answer["date"]
    return (" ".join([date["day"], date["month"], date["year"]]).strip(),)
