"""The judge of docs/graders.md is a suite that loads, and judges as the page says."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_lighteval.errors import FileError
from pytest_lighteval.graders.own_rubric import own_rubric
from pytest_lighteval.graders.preflight import cases_for, preflight
from pytest_lighteval.graders.verdicts import Verdict
from pytest_lighteval.tasks.catalogue import Catalogue
from pytest_lighteval.types import Doc, Task
from tests.shared import ROOT

PAGE = (ROOT / "docs" / "graders.md").read_text("utf-8")
(EXAMPLE,) = [block for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if "judge:" in block]


def load(folder: Path, text: str) -> Task:
    (folder / "letters.yaml").write_text(text)
    (task,) = Catalogue((folder,)).load(folder / "letters.yaml")
    return task


def test_the_documented_judge_is_asked_with_the_answer_in_its_frame(tmp_path: Path) -> None:
    (spec,) = load(tmp_path, EXAMPLE).judges
    rubric = own_rubric(spec)

    ((turn,),) = rubric.conversations(Doc(id="test:0", query="Write a letter: thanks", choices=(), gold=()), ["Thanks [[5]]"], None)

    assert turn.content.startswith("How polite is this letter?\nIt was asked for with: Write a letter: thanks\n")
    assert "<candidate_answer>\nThanks [" in turn.content
    assert turn.content.count("[[") == 1
    assert turn.content.endswith('"Rating: [[n]]", where n is a number from 1 to 5.')
    assert [(case.low, case.high) for case in cases_for(rubric)] == [(4, None), (None, 2)]
    assert preflight(rubric, [Verdict(value=5.0), Verdict(value=1.0)]).missed == ()
    assert len(preflight(rubric, [Verdict(value=3.0), Verdict()]).missed) == 2


@pytest.mark.parametrize("always", [1.0, 5.0])
@pytest.mark.parametrize("more", [0, 12], ids=["few cases", "many of one kind"])
def test_a_judge_that_always_says_the_same_passes_no_cases_of_ones_own(tmp_path: Path, always: float, more: int) -> None:
    (spec,) = load(tmp_path, EXAMPLE).judges
    polite, rude = spec.cases
    rubric = own_rubric(replace(spec, cases=(polite, rude, *(rude if always == 1.0 else polite,) * more)))

    told = preflight(rubric, [Verdict(value=always)] * (2 + more))

    assert len(told.missed) == 1
    assert not told.passed
    assert ("none may be:" if more == 0 else "1 may be, but not all of a kind:") in told.problem("judge", "politeness")


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("scale: [1, 5]", "scale: [5, 1]", "the scale 5 to 1 has no room"),
        ("scale: [1, 5]", "parse: '(a)(b)'", "a pattern needs one group; it has 2"),
        ("scale: [1, 5]", "scales: [1, 5]", r"unknown field \(did you mean 'scale'\?\)"),
        ("{{ answer }}", "{{ answer", "not a Jinja2 template"),
        ("{{ answer }}", "", "does not show the {{ answer }}"),
        ("politeness", "exact_match", "is the name of another metric"),
        (", max: 2", "", "a golden case needs min or max"),
        (", max: 2", ", min: 2", "golden needs a case with min and one with max"),
    ],
)
def test_a_wrong_judge_is_one_line(tmp_path: Path, before: str, after: str, problem: str) -> None:
    with pytest.raises(FileError, match=problem):
        load(tmp_path, EXAMPLE.replace(before, after))
