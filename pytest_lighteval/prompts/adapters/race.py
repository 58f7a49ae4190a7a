"""Rows of RACE (https://arxiv.org/abs/1704.04683) as EleutherAI/race stores them."""

from __future__ import annotations

import ast
from typing import Any


def parse_problems(row: dict[str, Any]) -> dict[str, Any]:
    """`problems`, which is stored as a Python literal, each with its `right` option."""
    problems = ast.literal_eval(row["problems"])
    return {**row, "problems": [{**problem, "right": problem["options"]["ABCD".index(problem["answer"])]} for problem in problems]}
