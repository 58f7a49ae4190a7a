"""Answers that people reported as scored wrong: the corrected metric of each gives the score that is right."""

from __future__ import annotations

import ast
import json
import re

import pytest

from pytest_lighteval.metrics import metric_names
from tests.metrics.corrected.scoring import values
from tests.shared import SHARED

REPORTS = SHARED / "cases" / "public_reports.jsonl"
_ANSWER = re.compile(r"(?P<metric>\w+): gold=(?P<golds>\[.*?\]) text=(?P<text>['\"].*)", re.DOTALL)
_LETTER = re.compile(r"(?P<metric>\w+), 4 choices, right letter (?P<letter>\w), text=(?P<text>['\"].*)", re.DOTALL)


def cases() -> list[tuple[str, str, list[str], list[int], str, float]]:
    """Id, metric, choices, right ones, text, the right score."""
    found = []
    for line in REPORTS.read_text("utf-8").splitlines() if REPORTS.is_file() else ():
        report = json.loads(line)
        if match := _LETTER.fullmatch(report["input"]):
            choices, gold = list("ABCD"), ["ABCD".index(match["letter"])]
        elif match := _ANSWER.fullmatch(report["input"]):
            choices = ast.literal_eval(match["golds"])
            gold = list(range(len(choices)))
        else:
            continue
        name = f"{match['metric']}_corrected"
        if name in metric_names() and name != "drop_corrected":  # two of DROP's are about what a stop sequence leaves
            found.append((report["id"], name, choices, gold, ast.literal_eval(match["text"]), report["right"]))
    return found


@pytest.mark.skipif(not REPORTS.is_file(), reason="the reports are not at hand (LIGHTEVAL_SHARED names their place)")
@pytest.mark.parametrize(("name", "choices", "gold", "text", "right"), [pytest.param(*case[1:], id=case[0]) for case in cases()])
def test_a_reported_answer_has_the_right_score(name: str, choices: list[str], gold: list[int], text: str, right: float) -> None:
    assert list(values(name, text, choices=choices, gold=gold).values()) == [right]
