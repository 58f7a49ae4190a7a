"""Sessions with a judge: the model answers first, the judge reads last, and what a judge cannot say is never a score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.plugin.gated import properties_of, results_of

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
    def generate(self, requests):
        EVENTS.append("model asked")
        return super().generate(requests)

    def close(self):
        EVENTS.append("model closed")
        super().close()

@pytest.fixture(autouse=True, scope="session")
def noted():
    before, FakeBackend.from_arguments = FakeBackend.from_arguments, lambda arguments: Model(accuracy=arguments.accuracy)
    yield
    FakeBackend.from_arguments = before
    with open("events.txt", "a") as file:
        file.write("\\n".join(EVENTS) + "\\n")

class Noted(Judge):
    def generate(self, requests):
        EVENTS.append("judge asked")
        return super().generate(requests)

def mute(prompt, text):
    return "I like it." if "Question" in prompt else None

@pytest.fixture(scope="session")
def lighteval_judge():
    yield (judge := JUDGE)
    judge.close()
"""
FAKE = ("suites/talks", "--backend", "fake", "--model-args", "accuracy=0.5")


def write_talks(project: pytest.Pytester, *, judge: str = "Noted()", documents: int = 20, suite: str = SUITE) -> None:
    """The suite `talks`, and a conftest with this judge, or without one."""
    folder = project.path / "suites" / "talks"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "talks.yaml").write_text(suite)
    rows = [{"q": f"Question {number}?", "a": f"a good answer {number}"} for number in range(documents)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    project.makeconftest(CONFTEST.replace("JUDGE", judge) if judge else "")


def runs(project: pytest.Pytester) -> list[Path]:
    """The run folders, oldest first."""
    return sorted(project.path.glob("reports/*/results.json"), key=lambda path: path.stat().st_mtime_ns)


def details(run: Path, task: str) -> list[dict[str, Any]]:
    lines = (run.parent / "details" / "talks" / f"{task}.0-shot.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_the_model_answers_first_and_is_gone_before_a_judge_reads(project: pytest.Pytester) -> None:
    write_talks(project)

    result = project.runpytest(*FAKE, "-v", "--junitxml=j.xml")

    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(
        [
            "*plain[[]0-shot] PASSED*",
            "*polite[[]0-shot-answers] PASSED*",
            "*talk[[]0-shot-answers] PASSED*",
            "*polite[[]0-shot] PASSED*",
            "*talk[[]0-shot] PASSED*",
            "judge: scripted, 88 calls, 880 tokens of prompts and 264 of replies, preflight passed for 2 of 2 metrics",
        ]
    )
    events = (project.path / "events.txt").read_text().split("\n")
    before, after = events[: events.index("judge asked")], events[events.index("judge asked") :]
    assert before[-2:] == ["model asked", "model closed"]
    assert "model asked" not in after

    content = results_of(project)
    assert content["backend"]["name"] == "fake"
    assert content["graders"]["judge"]["judges"]["judge"]["preflight"]["polite"] == {"cases": 14, "missed": 0, "passed": True}
    assert '"use"' not in json.dumps(content["graders"])
    assert content["run"]["graders_use"] == {"judge": {"calls": 88, "prompt_tokens": 880, "completion_tokens": 264}}
    assert content["summary_tasks"]["talks|talk|0"]["grader"]["judge judge"] == "scripted-knows"
    assert content["summary_tasks"]["talks|talk|0"]["outcomes"] == {"rating: judged": 40}
    properties = properties_of(project, "talk[0-shot]")
    assert (properties["lighteval.judge.judge.calls"], properties["lighteval.judge.judge.prompt_tokens"]) == ("54", "540")
    first = details(runs(project)[0], "talk")[0]
    assert [turn["request"]["prompt"][-1]["content"] for turn in first["turns"]] == [first["doc"]["query"], first["doc"]["turns"][0]]
    verdicts = [(grade["mark"], grade["replies"][0]["judge"]) for grade in first["grades"]["rating"]]
    assert [judge for _, judge in verdicts] == ["judge"] * 2
    assert first["scores"]["rating"] == sum(mark for mark, _ in verdicts) / 2


def test_a_judge_without_verdicts_is_an_error_and_another_one_reads_the_kept_answers(project: pytest.Pytester) -> None:
    write_talks(project, judge="Noted(reply=mute)")

    mute = project.runpytest(*FAKE)

    mute.assert_outcomes(passed=3, errors=2)
    mute.stdout.fnmatch_lines(
        ["*judge 'judge' gave no verdict on 20 of 20 documents (20 unparsed replies); at most 0.01 of them*'I like it.'*"]
    )
    (run,) = runs(project)
    write_talks(project)

    again = project.runpytest("suites/talks", "--judge-answers", str(run.parent), "-k", "polite or talk and not plain")

    again.assert_outcomes(passed=2)
    content = results_of(project)
    assert content["backend"]["fingerprint"] == json.loads(run.read_text())["backend"]["fingerprint"]
    assert content["backend"]["answers_of"] == run.parent.name
    assert content["results"]["talks|polite|0"]["polite"] > 1
    assert "model asked" not in (project.path / "events.txt").read_text().rpartition("model closed")[2]
    other = project.runpytest("suites/talks", "--judge-answers", str(run.parent), "-k", "polite", "--system-prompt", "Be kind.")
    other.assert_outcomes(errors=1)
    other.stdout.fnmatch_lines(["*has no answer to this request: another prompt, system prompt*"])


def test_another_judge_is_a_mismatch_with_the_baseline_and_no_lost_score(project: pytest.Pytester) -> None:
    write_talks(project, documents=60)
    project.runpytest(*FAKE, "-k", "polite", "--save-baseline", "base.json").assert_outcomes(passed=2)
    same = project.runpytest(*FAKE, "-k", "polite", "--baseline", "base.json", "--gate-allow", "blind")
    write_talks(project, judge="Noted(lambda answer: 'right' if 'fake' in answer else knows(answer))", documents=60)

    other = project.runpytest(*FAKE, "-k", "polite", "--baseline", "base.json")
    allowed = project.runpytest(*FAKE, "-k", "polite", "--baseline", "base.json", "--gate-allow", "judge,blind")

    same.assert_outcomes(passed=2)
    other.assert_outcomes(passed=1, errors=1)
    other.stdout.fnmatch_lines(["*answers are graded otherwise than in the baseline: judge judge scripted-knows -> scripted-<lambda>*"])
    allowed.assert_outcomes(passed=2)


def test_without_a_judge_other_metrics_are_measured_and_a_task_that_has_none_is_skipped(project: pytest.Pytester) -> None:
    write_talks(project, judge="")

    alone = project.runpytest(*FAKE, "-rs")
    gated = SUITE.replace("  - name: talk\n", "  - name: talk\n    gates: {rating: {min: 1}}\n")
    write_talks(project, judge="", suite=gated.replace("  - name: polite\n", "  - name: polite\n    gates: {polite: {min: 1}}\n"))
    red = project.runpytest(*FAKE, "-k", "polite or talk and not plain")

    alone.assert_outcomes(passed=2, skipped=1)
    alone.stdout.fnmatch_lines(["*SKIPPED*its answers are judged by another model: --judge-backend*"])
    red.assert_outcomes(errors=2)
    red.stdout.fnmatch_lines(["*gate on 'polite': no such metric is reported, only em*", "*and the task is gated*"])


def test_workers_judge_as_one_process_does(project: pytest.Pytester) -> None:
    write_talks(project)

    alone = project.runpytest(*FAKE)
    together = project.runpytest_subprocess(*FAKE, "-n", "2")

    alone.assert_outcomes(passed=5)
    together.assert_outcomes(passed=5)
    first, second = (json.loads(path.read_text("utf-8")) for path in runs(project))
    assert {name: first[name] for name in ("results", "summary_tasks", "graders", "backend")} == {
        name: second[name] for name in ("results", "summary_tasks", "graders", "backend")
    }


def test_a_reference_is_judged_by_the_same_judge_and_so_is_what_a_test_measures(project: pytest.Pytester) -> None:
    only = SUITE.replace("      - exact_match\n", "")
    write_talks(project, documents=150, suite=only)
    project.makepyfile(test_own="def test_own(lighteval):\n    assert lighteval.run('talks|talk|0|0')['rating'] > 2\n")

    result = project.runpytest(*FAKE, "test_own.py", "-k", "own or polite", "--against-model-args", "accuracy=0.9")

    # the reference's answers, the model's, and the test pass; the task has lost
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["*polite 4.600 -> 2.973*REGRESSED*"])
    content = results_of(project)
    assert content["reference"]["results"]["talks|polite|0"]["polite"] > content["results"]["talks|polite|0"]["polite"]
