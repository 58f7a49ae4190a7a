"""Sessions with a judge: the model answers first, the judge reads last, and what a judge cannot say is never a score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

SUITE = """
suite: talks
defaults: {data_files: {test: rows.jsonl}, evaluation_splits: [test]}
tasks:
  - name: plain
    prompt: {query: "Say {{ a }}:", choices: ["{{ a }}"]}
    metrics: [exact_match]
  - name: polite
    prompt: {query: "{{ q }}", choices: ["{{ a }}"]}
    metrics:
      - exact_match
      - judge: {name: polite, prompt: "Is this answer polite?\\n{{ question }}\\n{{ answer }}", scale: [1, 5]}
  - name: talk
    prompt: {query: "{{ q }}", turns: ["{{ a }}"], choices: ["{{ a }}"]}
    metrics:
      - judge: {name: rating, prompt: "Rate turn {{ turn }} of {{ questions | join(' / ') }}:\\n{{ answer }}", scale: [1, 5]}
"""
CONFTEST = """
import pytest
from pytest_lighteval.backends.fake import FakeBackend
from tests.judges import Judge, knows

EVENTS = []

class Model(FakeBackend):
    cacheable = False

    def generate(self, requests):
        EVENTS.append("model asked")
        return super().generate(requests)

    def close(self):
        EVENTS.append("model closed")
        super().close()

class Noted(Judge):
    def generate(self, requests):
        EVENTS.append("judge asked")
        return super().generate(requests)

@pytest.fixture(scope="session")
def lighteval_backend():
    yield (backend := Model(accuracy=ACCURACY))
    backend.close()

@pytest.fixture(scope="session")
def lighteval_judge():
    yield (judge := Noted(JUDGE))
    judge.close()
    with open("events.txt", "a") as file:
        file.write("\\n".join(EVENTS) + "\\n")
"""


def write_talks(project: pytest.Pytester, *, judge: str = "knows", accuracy: float = 0.5, documents: int = 20, suite: str = SUITE) -> None:
    folder = project.path / "suites" / "talks"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "talks.yaml").write_text(suite)
    rows = [{"q": f"Question {number}?", "a": f"a good answer {number}"} for number in range(documents)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if judge:
        project.makeconftest(CONFTEST.replace("JUDGE", judge).replace("ACCURACY", str(accuracy)))


def details(project: pytest.Pytester, task: str) -> list[dict[str, Any]]:
    path = max(project.path.glob(f"reports/*/details/talks/{task}.0-shot.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    return [json.loads(line) for line in Path(path).read_text("utf-8").splitlines()]


def test_the_model_answers_first_and_is_gone_before_a_judge_reads(project: pytest.Pytester) -> None:
    write_talks(project)

    result = project.runpytest("suites/talks", "-v", "--junitxml=j.xml")

    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(
        [
            "*plain[[]0-shot] PASSED*",
            "*polite[[]0-shot-answers] PASSED*",
            "*talk[[]0-shot-answers] PASSED*",
            "*polite[[]0-shot] PASSED*",
            "*talk[[]0-shot] PASSED*",
        ]
    )
    events = (project.path / "events.txt").read_text().split("\n")
    assert events.index("model closed") < events.index("judge asked")
    assert "model asked" not in events[events.index("model closed") :]
