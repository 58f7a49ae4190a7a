"""What another harness left behind is a gate here: its runs as a baseline, its thresholds as floors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_lighteval.commands.main import main

GSM8K = """
suite: leaderboard
tasks:
  - name: gsm8k
    data_files: {test: test.jsonl, train: test.jsonl}
    evaluation_splits: [test]
    few_shots_split: train
    few_shots_select: sequential
    few_shots: [5]
    prompt: {query: "Question: {{ question }}\\nAnswer:", choices: [" {{ answer }}"]}
    metrics: [quasi_exact_match_gsm8k]
    generation_size: 8
"""
RUN = ("suites", "--backend", "fake", "--model-args")


@pytest.fixture
def gsm8k(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A task of the name that the table maps `gsm8k` to, with 60 documents of which the harness found 45 right."""
    monkeypatch.setenv("COLUMNS", "400")
    folder = pytester.path / "suites" / "leaderboard"
    folder.mkdir(parents=True)
    (folder / "gsm8k.yaml").write_text(GSM8K)
    rows = [{"question": f"what is {row}?", "answer": f"It is #### {row}"} for row in range(60)]
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    results = {
        "results": {"gsm8k": {"exact_match,strict-match": 0.75, "exact_match_stderr,strict-match": 0.05}, "chartqa": {"acc,none": 0.5}},
        "n-shot": {"gsm8k": 5},
        "config": {"model": "vllm"},
    }
    samples = [{"doc_id": row, "filter": "strict-match", "exact_match": float(row % 4 > 0)} for row in range(60)]
    (pytester.path / "results_2026.json").write_text(json.dumps(results))
    (pytester.path / "samples_gsm8k_2026.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    return pytester


def test_a_run_of_the_harness_is_a_baseline_once_its_prompts_are_allowed(
    gsm8k: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", "lm-eval", str(gsm8k.path / "results_2026.json"), "--output", str(gsm8k.path / "imported.json")]) == 0
    assert "not imported: chartqa: no task here is the same" in capsys.readouterr().err

    refused = gsm8k.runpytest(*RUN, "accuracy=0.2", "--baseline", "imported.json")
    allowed = gsm8k.runpytest(*RUN, "accuracy=0.2", "--baseline", "imported.json", "--gate-allow", "unknown-prompts")

    refused.assert_outcomes(errors=1)
    refused.stdout.fnmatch_lines(["ERROR *qem: the baseline does not fit: the baseline was imported *"])
    allowed.assert_outcomes(failed=1)
    allowed.stdout.fnmatch_lines(["leaderboard|gsm8k|5: qem 0.750 -> 0.* n = 60 * REGRESSED (allowed 2.0)*allowed (unknown-prompts)*"])


def test_thresholds_of_vllm_are_floors(gsm8k: pytest.Pytester, capsys: pytest.CaptureFixture[str]) -> None:
    model: Path = gsm8k.path / "model.yaml"
    model.write_text(
        'model_name: "m"\ntasks:\n- name: "gsm8k"\n  metrics:\n  - name: "exact_match,strict-match"\n    value: 0.8\nnum_fewshot: 5\n'
    )
    assert main(["import", "vllm", str(model)]) == 0
    gsm8k.makefile(".yaml", gates=capsys.readouterr().out)

    gsm8k.runpytest(*RUN, "accuracy=1.0", "--gates", "gates.yaml").assert_outcomes(passed=1)
    below = gsm8k.runpytest(*RUN, "accuracy=0.5", "--gates", "gates.yaml")

    below.assert_outcomes(failed=1)
    below.stdout.fnmatch_lines(["FAILED *qem 0.* is below the floor 0.736* (n = 60)"])
