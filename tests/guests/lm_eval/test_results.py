"""Runs of the harness as baselines of its own tasks, from files as it writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.baselines.importers.gates import vllm_gates
from pytest_lighteval.baselines.read import read_baseline
from pytest_lighteval.commands.main import main
from pytest_lighteval.errors import UserInputError
from pytest_lighteval.guests.lm_eval.results import harness_baseline
from pytest_lighteval.prompts.requests import digest_requests
from pytest_lighteval.types import GateSpec, GenerateRequest, LoglikelihoodRequest, TaskKey

CONFIGS: dict[str, dict[str, Any]] = {
    "mmlu_anatomy": {"output_type": "multiple_choice", "test_split": "test", "metric_list": [{"metric": "acc", "aggregation": "mean"}]},
    "mmlu_virology": {"output_type": "multiple_choice", "test_split": "test", "metric_list": [{"metric": "acc", "aggregation": "mean"}]},
    "gsm8k": {
        "output_type": "generate_until", "validation_split": "dev", "repeats": 1, "metadata": {"version": 3.0},
        "metric_list": [{"metric": "exact_match"}], "filter_list": [{"name": "strict"}, {"name": "loose"}],
    },
}  # fmt: skip
GENERATION = {"until": ["\n"], "do_sample": False, "temperature": 0.0}


def choice_sample(document: int, acc: float) -> dict[str, Any]:
    arguments = {f"gen_args_{place}": {"arg_0": f"Q{document}:", "arg_1": f" {letter}"} for place, letter in enumerate("AB")}
    return {"doc_id": document, "arguments": arguments, "filter": "none", "metrics": ["acc"], "acc": acc}


def text_sample(document: int, chosen: str, match: float) -> dict[str, Any]:
    arguments = {"gen_args_0": {"arg_0": f"Q{document}:", "arg_1": GENERATION}}
    return {"doc_id": document, "arguments": arguments, "filter": chosen, "metrics": ["exact_match"], "exact_match": match}


SAMPLES = {
    "mmlu_anatomy": [choice_sample(1, 0.0), choice_sample(0, 1.0)],
    "mmlu_virology": [choice_sample(0, 1.0)],
    "gsm8k": [text_sample(document, chosen, float(chosen == "loose")) for chosen in ("strict", "loose") for document in (0, 1)],
}


def harness_run(folder: Path, **changes: Any) -> Path:
    """Files of a run of `mmlu` and `gsm8k`."""
    content = {
        "results": {
            "mmlu": {"acc,none": 0.75}, "mmlu_stem": {"acc,none": 0.75},
            "mmlu_anatomy": {"acc,none": 0.5, "acc_stderr,none": 0.5}, "mmlu_virology": {"acc,none": 1.0, "acc_stderr,none": "N/A"},
            "gsm8k": {"exact_match,strict": 0.0, "exact_match,loose": 1.0, "exact_match_stderr,loose": 0.0},
        },
        "groups": {"mmlu": {"acc,none": 0.75}, "mmlu_stem": {"acc,none": 0.75}},
        "group_subtasks": {"mmlu": ["mmlu_stem", "mmlu_virology"], "mmlu_stem": ["mmlu_anatomy"]},
        "configs": CONFIGS,
        "n-shot": {"mmlu_anatomy": 5, "mmlu_virology": 5, "gsm8k": 5},
        "higher_is_better": {"gsm8k": {"exact_match": True}},
        "n-samples": {"gsm8k": {"original": 1319, "effective": 2}},
        "config": {"model": "hf", "model_dtype": "torch.float32"},
        "lm_eval_version": "0.4.13",
        **changes,
    }  # fmt: skip
    for name, samples in SAMPLES.items():
        (folder / f"samples_{name}_2026.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in samples), "utf-8")
    (folder / "results_2026.json").write_text(json.dumps(content), "utf-8")
    return folder / "results_2026.json"


def test_tasks_of_a_group_with_a_row_are_parts_of_the_outermost_one(tmp_path: Path) -> None:
    imported = harness_baseline(harness_run(tmp_path))

    assert [str(key) for key in imported.baseline.tasks] == [
        "lm_eval|mmlu:mmlu_anatomy|5", "lm_eval|mmlu:mmlu_virology|5", "lm_eval|gsm8k|5"
    ]  # fmt: skip
    assert imported.unmapped == ()


def test_a_document_has_the_prompt_that_was_logged_as_a_run_here_digests_it(tmp_path: Path) -> None:
    tasks = harness_baseline(harness_run(tmp_path)).baseline.tasks
    anatomy = tasks[TaskKey(suite="lm_eval", task="mmlu:mmlu_anatomy", few_shots=5)]
    gsm8k = tasks[TaskKey(suite="lm_eval", task="gsm8k", few_shots=5)]

    assert anatomy.prompt_digests is not None
    assert anatomy.prompt_digests[1] == digest_requests(
        {"choices": LoglikelihoodRequest(prompt="Q1:", choices=(" A", " B"), tokenization="lm_eval")}
    )
    assert gsm8k.prompt_digests is not None
    assert gsm8k.prompt_digests[0] == digest_requests(
        {"generation": GenerateRequest(prompt="Q0:", stop_sequence=("\n",), max_new_tokens=256, tokenization="lm_eval")}
    )
    chat = harness_baseline(harness_run(tmp_path, chat_template="{{ messages }}")).baseline.tasks
    assert chat[gsm8k.key].prompt_digests is None


def test_documents_numbers_and_limits_are_those_of_the_run(tmp_path: Path) -> None:
    tasks = harness_baseline(harness_run(tmp_path)).baseline.tasks
    gsm8k = tasks[TaskKey(suite="lm_eval", task="gsm8k", few_shots=5)]
    anatomy = tasks[TaskKey(suite="lm_eval", task="mmlu:mmlu_anatomy", few_shots=5)]

    assert (gsm8k.ids, gsm8k.version, gsm8k.max_samples) == (("dev:0", "dev:1"), 3, 2)
    assert gsm8k.scores == {"exact_match,strict": ((0.0,), (0.0,)), "exact_match,loose": ((1.0,), (1.0,))}
    assert (gsm8k.metrics["exact_match,loose"].value, gsm8k.metrics["exact_match,loose"].n) == (1.0, 2)
    assert anatomy.scores == {"acc": ((1.0,), (0.0,))}
    assert (anatomy.metrics["acc"].stderr, anatomy.max_samples) == (0.5, None)


def test_the_command_writes_the_file_that_a_gate_reads(tmp_path: Path) -> None:
    results, output = harness_run(tmp_path), tmp_path / "baseline.json"

    assert main(["import", "lm-eval", str(results), "--suite", "lm_eval", "--output", str(output)]) == 0
    assert set(read_baseline(output).tasks) == set(harness_baseline(results).baseline.tasks)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"n-shot": {}}, r"n-shot\.mmlu_anatomy: a whole number is needed, not None"),
        ({"results": {"gsm8k": {}}, "groups": {}, "group_subtasks": {}}, r"is of no task of the results file"),
    ],
)
def test_a_run_that_lacks_a_fact_is_refused(changes: dict[str, Any], problem: str, tmp_path: Path) -> None:
    with pytest.raises(UserInputError, match=problem):
        harness_baseline(harness_run(tmp_path, **changes))


def test_values_that_the_harness_wrote_as_text_are_left_out_and_answers_in_brackets_are_not(tmp_path: Path) -> None:
    numbers = {"exact_match,loose": 0.0, "bleu,loose": 0.0, "brier_score,loose": 0.1}
    results = harness_run(tmp_path, results={"gsm8k": numbers}, groups={}, group_subtasks={})
    for name in ("mmlu_anatomy", "mmlu_virology"):
        (tmp_path / f"samples_{name}_2026.jsonl").unlink()
    own = {"metrics": ["exact_match", "bleu", "brier_score"], "bleu": ["6", "[invalid]"], "brier_score": [1, "[0.25 7.5e-01]"]}
    sample = text_sample(0, "loose", 0.0) | own
    (tmp_path / "samples_gsm8k_2026.jsonl").write_text(json.dumps(sample) + "\n", "utf-8")

    imported = harness_baseline(results)
    (task,) = imported.baseline.tasks.values()

    assert task.scores == {"exact_match,loose": ((0.0,),), "bleu,loose": ((("6", "[invalid]"),),)}
    assert imported.unmapped == ("gsm8k brier_score,loose: the harness writes its values as text",)


VLLM = """\
model_name: meta-llama/Meta-Llama-3-8B-Instruct
tasks:
- name: gsm8k
  metrics:
  - {name: "exact_match,strict-match", value: 0.756}
- name: mmlu_pro
  metrics: [{name: "exact_match,custom-extract", value: 0.8}]
- name: wikitext
  metrics: [{name: "word_perplexity,none", value: 10}]
limit: 250
num_fewshot: 5
tensor_parallel_size: 2
"""


def test_vllms_file_becomes_floors_of_the_harnesss_tasks_and_the_command_that_runs_them(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(VLLM, "utf-8")
    imported = vllm_gates(tmp_path / "m.yaml", of_harness=True)

    assert imported.gates == {
        "lm_eval|gsm8k|5": {"exact_match,strict-match": GateSpec(min=0.69552)},
        "lm_eval|mmlu_pro|5": {"exact_match,custom-extract": GateSpec(min=0.736)},
        "lm_eval|wikitext|5": {"word_perplexity": GateSpec(max=10.8)},
    }
    assert imported.unmapped == ()
    assert imported.notes[1] == (
        'pytest --tasks "lm_eval|gsm8k|5,lm_eval|mmlu_pro|5,lm_eval|wikitext|5" --backend vllm --model-args '
        '"pretrained=meta-llama/Meta-Llama-3-8B-Instruct,tensor_parallel_size=2" --max-samples 250 --gates FILE'
    )


def test_without_a_count_the_gate_is_for_any(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("tasks: [{name: gsm8k, metrics: [{name: 'exact_match,strict-match', value: 0.5}]}]\n", "utf-8")

    assert list(vllm_gates(tmp_path / "m.yaml", of_harness=True).gates) == ["lm_eval|gsm8k"]
