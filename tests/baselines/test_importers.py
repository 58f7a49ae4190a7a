"""Files of other harnesses become gates and baselines; what has no counterpart is listed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pytest

from pytest_lighteval.baselines.align import AlignedScores, Mismatch, MismatchKind, align
from pytest_lighteval.baselines.importers.gates import ImportedGates, render_gates, tensorrt_gates, vllm_gates
from pytest_lighteval.baselines.importers.lm_eval import lm_eval_baseline
from pytest_lighteval.baselines.importers.names import LOWER_IS_BETTER, TASKS, LmEvalTask, find_task
from pytest_lighteval.baselines.model import BaselineMetric
from pytest_lighteval.baselines.read import read_baseline
from pytest_lighteval.commands.main import main
from pytest_lighteval.errors import UserInputError
from pytest_lighteval.gates.gate_file import load_gates
from pytest_lighteval.metrics import metric
from pytest_lighteval.tasks.suite_file import load_suite
from pytest_lighteval.types import GateSpec, Task, TaskKey
from tests.baselines.samples import GSM8K, result
from tests.shared import ROOT

SUITES = ROOT / "suites"


def written(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


# ---------------------------------------------------------------------------------------------------------- names


@pytest.fixture(scope="module")
def shipped() -> dict[str, Task]:
    """The tasks of the suites that the table of names is about."""
    folders = ("leaderboard", "lighteval", "extended")
    return {task.id: task for folder in folders for path in sorted((SUITES / folder).glob("*.yaml")) for task in load_suite(path)}


NAMES = [*TASKS, "blimp_wh_island", "xcopa_it", "xwinograd_jp"]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_in_the_table_is_a_shipped_task_with_that_metric_and_split(name: str, shipped: dict[str, Task]) -> None:
    known = find_task(name)

    assert known is not None
    for target in known.metrics.values():
        task = shipped[target.task if not target.task.endswith(":_average") else "leaderboard|mmlu:anatomy"]
        reported = {name: corpus for entry in task.metrics for name, corpus in metric(entry).corpus.items()}
        assert target.metric in reported
        assert reported[target.metric].higher_is_better is (target.metric not in LOWER_IS_BETTER)
        if known.split is not None:
            assert task.evaluation_splits == (known.split,)


@pytest.mark.parametrize("name", ["mmlu_pro", "mmlu_stem", "chartqa", "blimp", "blimp_", "gsm8k_cot"])
def test_a_name_that_is_not_in_the_table_is_not_guessed(name: str) -> None:
    assert find_task(name) is None


def test_metrics_of_the_filter_none_need_no_filter() -> None:
    assert isinstance(TASKS["hellaswag"], LmEvalTask)
    assert set(TASKS["hellaswag"].metrics) == {"acc,none", "acc_norm,none"}


# ----------------------------------------------------------------------------------------------------------- vLLM

VLLM = """\
# a comment
model_name: "meta-llama/Meta-Llama-3-8B-Instruct"
tasks:
- name: "gsm8k"
  metrics:
  - name: "exact_match,strict-match"
    value: 0.756
  - name: "exact_match,flexible-extract"
    value: 0.752
- name: "mmlu_pro"
  metrics:
  - {name: "exact_match,custom-extract", value: 0.82}
- name: hellaswag
  metrics:
  - {name: acc_norm, value: 0.5}
  - {name: "f1,none", value: 0.25}
- name: lambada_openai
  metrics:
  - {name: "perplexity,none", value: 10}
limit: 250
num_fewshot: 5
"""


def test_vllms_values_become_floors_its_tolerance_below(tmp_path: Path) -> None:
    imported = vllm_gates(written(tmp_path / "model.yaml", VLLM))

    assert imported == ImportedGates(
        gates={
            "leaderboard|gsm8k|5": {"qem": GateSpec(min=0.69552)},
            "lighteval|gsm8k|5": {"extractive_match": GateSpec(min=0.69184)},
            "leaderboard|hellaswag|5": {"acc_norm": GateSpec(min=0.46)},
            "lighteval|lambada:openai|5": {"ppl": GateSpec(max=10.8)},
        },
        unmapped=("mmlu_pro exact_match,custom-extract 0.82", "hellaswag f1,none 0.25: no metric here is the same"),
        notes=(
            "from vLLM's lm-eval values, less 8%; a baseline of your own finds losses far smaller than that",
            "measured on the first 250 documents of each task, which are not the first 250 here",
        ),
    )


def test_vllms_own_tolerance_and_the_default_few_shots_hold(tmp_path: Path) -> None:
    text = "rtol: 0.05\napply_chat_template: true\ntasks: [{name: mmlu, metrics: [{name: 'acc,none', value: 0.6}]}]\n"
    imported = vllm_gates(written(tmp_path / "model.yaml", text))

    assert imported.gates == {"leaderboard|mmlu:_average|0": {"acc": GateSpec(min=0.57)}}
    assert imported.notes[1:] == (
        "mmlu was the mean over documents there, and is the mean over subjects here",
        "measured with the chat template: --use-chat-template",
    )


def test_vllms_gsm8k_files_become_floors_too(tmp_path: Path) -> None:
    text = "model_name: m\naccuracy_threshold: 0.54\nnum_questions: 1319\nnum_fewshot: 5\n"

    assert vllm_gates(written(tmp_path / "model.yaml", text)).gates == {"lighteval|gsm8k|5": {"extractive_match": GateSpec(min=0.46)}}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [", ":2: not valid YAML: "),
        ("- 1\n", ": a mapping is needed"),
        ("model_name: m\n", ": tasks: a list is needed: this is no file of vLLM's lm-eval-harness"),
        ("tasks: [{name: gsm8k}]\n", ": tasks[0]: a mapping with a name and a list of metrics is needed"),
        ("tasks: [{name: gsm8k, metrics: [{value: 1}]}]\n", ": tasks[0].metrics[0]: a mapping with a name and a value is needed"),
        (
            "tasks: [{name: gsm8k, metrics: [{name: a, value: high}]}]\n",
            ": tasks[0].metrics[0].value: a finite number is needed, not 'high'",
        ),
        ("tasks: []\nrtol: true\n", ": rtol: a finite number is needed, not True"),
        (VLLM.replace("num_fewshot: 5", "num_fewshot: many"), ": num_fewshot: a whole number is needed, not 'many'"),
        (VLLM.replace("flexible-extract", "strict-match"), ": tasks[0].metrics[1]: gsm8k exact_match,strict-match is given twice"),
    ],
    ids=["yaml", "list", "no tasks", "no metrics", "no name", "value", "rtol", "few-shots", "twice"],
)
def test_a_wrong_vllm_file_is_an_error_that_names_the_field(tmp_path: Path, text: str, problem: str) -> None:
    path = written(tmp_path / "model.yaml", text)

    with pytest.raises(UserInputError) as raised:
        vllm_gates(path)

    assert str(raised.value).startswith(f"{path}{problem}")


def test_rendered_gates_are_read_by_the_gates_file(tmp_path: Path) -> None:
    imported = vllm_gates(written(tmp_path / "model.yaml", VLLM))
    text = render_gates(imported)

    assert text.splitlines() == [
        "# from vLLM's lm-eval values, less 8%; a baseline of your own finds losses far smaller than that",
        "# measured on the first 250 documents of each task, which are not the first 250 here",
        "# not imported: mmlu_pro exact_match,custom-extract 0.82",
        "# not imported: hellaswag f1,none 0.25: no metric here is the same",
        "leaderboard|gsm8k|5:",
        "  qem: {min: 0.69552}",
        "leaderboard|hellaswag|5:",
        "  acc_norm: {min: 0.46}",
        "lighteval|gsm8k|5:",
        "  extractive_match: {min: 0.69184}",
        "lighteval|lambada:openai|5:",
        "  ppl: {max: 10.8}",
    ]
    gates = load_gates(written(tmp_path / "gates.yaml", text))
    assert {str(entry.pattern): entry.gates for entry in gates.entries} == imported.gates


# --------------------------------------------------------------------------------------------------- TensorRT-LLM

MMLU = """\
meta-llama/Llama-3.1-8B-Instruct:
  - accuracy: 68.17
  - spec_dec_algo: EAGLE3
    accuracy: 68.20
  - quant_algo: FP8
    kv_cache_quant_algo: FP8
    accuracy: 67.87
  - dtype: float16
    accuracy: 60
    num_samples: 100
    sigma: 40
    alpha: 0.002
"""


@pytest.mark.parametrize(
    ("spec", "reference", "margin"),
    [
        ({}, 68.17, 1.817),
        ({"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}, 67.87, 1.817),
        ({"dtype": "float16"}, 60, -NormalDist().inv_cdf(0.002) * math.sqrt(2 * 40**2 / 100)),
    ],
    ids=["plain", "fp8", "own numbers"],
)
def test_tensorrts_reference_becomes_its_own_threshold(tmp_path: Path, spec: dict[str, str], reference: float, margin: float) -> None:
    imported = tensorrt_gates(written(tmp_path / "mmlu.yaml", MMLU), model="meta-llama/Llama-3.1-8B-Instruct", spec=spec)
    gate = imported.gates["leaderboard|mmlu:_average|5"]["acc"]

    assert list(imported.gates) == ["leaderboard|mmlu:_average|5"]
    assert gate.min == pytest.approx((reference - margin) / 100, abs=1e-5)
    assert (
        f"of meta-llama/Llama-3.1-8B-Instruct ({', '.join(f'{n}={v}' for n, v in spec.items()) or 'the unquantized model'})"
        in imported.notes[0]
    )


def test_a_data_set_of_tensorrt_without_a_task_is_listed(tmp_path: Path) -> None:
    imported = tensorrt_gates(written(tmp_path / "cnn_dailymail.yaml", "gpt2:\n- accuracy: 18.4\n"), model="gpt2")

    assert imported == ImportedGates(
        gates={},
        unmapped=("cnn_dailymail gpt2 the unquantized model 18.4: no task here is the same (known: mmlu, gsm8k, gpqa_diamond)",),
    )


@pytest.mark.parametrize(
    ("model", "spec", "problem"),
    [
        ("meta-llama/Llama-3.1-8B", {}, "no model 'meta-llama/Llama-3.1-8B' (did you mean 'meta-llama/Llama-3.1-8B-Instruct'?)"),
        (
            "meta-llama/Llama-3.1-8B-Instruct",
            {"quant_algo": "NVFP4"},
            "no entry for quant_algo=NVFP4, only for the unquantized model; spec_dec_algo=EAGLE3; quant_algo=FP8, kv_cache_quant_algo=FP8;",
        ),
        ("meta-llama/Llama-3.1-8B-Instruct", {"quant": "FP8"}, "'quant' is no part of a TensorRT-LLM spec"),
    ],
    ids=["model", "spec", "name"],
)  # fmt: skip
def test_what_tensorrts_file_does_not_have_is_an_error(tmp_path: Path, model: str, spec: dict[str, str], problem: str) -> None:
    with pytest.raises(UserInputError) as raised:
        tensorrt_gates(written(tmp_path / "mmlu.yaml", MMLU), model=model, spec=spec)

    assert problem in str(raised.value)


# -------------------------------------------------------------------------------------------------------- lm-eval

DATE = "2026-11-01T10-00-00.123456"


def harness_run(folder: Path, **changes: Any) -> Path:
    """A results file with samples of four tasks, in the harness's layout."""
    samples: dict[str, list[dict[str, Any]]] = {
        "gsm8k": [
            {"doc_id": document, "filter": chosen, "exact_match": float(document != 1 or chosen == "flexible-extract")}
            for chosen in ("strict-match", "flexible-extract")
            for document in (2, 0, 1)
        ],
        "truthfulqa_mc1": [{"doc_id": document, "filter": "none", "acc": 0} for document in range(2)],
        "truthfulqa_mc2": [{"doc_id": document, "filter": "none", "acc": 0.25 * document} for document in range(2)],
        "ifeval": [
            {"doc_id": 0, "filter": "none", "prompt_level_strict_acc": False, "inst_level_strict_acc": [True, False, True]},
            {"doc_id": 1, "filter": "none", "prompt_level_strict_acc": True, "inst_level_strict_acc": [True]},
        ],
    }
    content: dict[str, Any] = {
        "results": {
            "gsm8k": {
                "alias": "gsm8k",
                "exact_match,strict-match": 2 / 3,
                "exact_match_stderr,strict-match": 0.3,
                "exact_match,flexible-extract": 1.0,
                "exact_match_stderr,flexible-extract": "N/A",
            },
            "truthfulqa_mc1": {"acc,none": 0.0, "acc_stderr,none": 0.1},
            "truthfulqa_mc2": {"acc,none": 0.125, "acc_stderr,none": 0.1},
            "ifeval": {"prompt_level_strict_acc,none": 0.5, "inst_level_strict_acc,none": 0.75},
            "chartqa": {"relaxed_accuracy,none": 0.8},
            "aime24": {"exact_match,none": 0.1},
            "piqa": {"acc,none": 0.8},
            "mmlu": {"acc,none": 0.6},
        },
        "groups": {"mmlu": {"acc,none": 0.6}},
        "versions": {"gsm8k": 3.0},
        "n-shot": {"gsm8k": 5, "truthfulqa_mc1": 0, "truthfulqa_mc2": 0, "ifeval": 0},
        "n-samples": {"gsm8k": {"original": 1319, "effective": 3}, "ifeval": {"original": 2, "effective": 2}},
        "config": {"model": "vllm", "model_args": "pretrained=/home/someone/model", "model_dtype": "torch.bfloat16", "limit": 3},
        "lm_eval_version": "0.4.12",
        "transformers_version": "5.0.0",
        "chat_template": None,
        "model_name": "/home/someone/model",
    }
    for name, lines in samples.items():
        written(folder / f"samples_{name}_{DATE}.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    return written(folder / f"results_{DATE}.json", json.dumps(content | changes))


def test_a_run_of_the_harness_becomes_a_baseline(tmp_path: Path) -> None:
    imported = lm_eval_baseline(harness_run(tmp_path))
    tasks = imported.baseline.tasks
    gsm8k = tasks[GSM8K]

    assert sorted(map(str, tasks)) == ["extended|ifeval|0", "leaderboard|gsm8k|5", "leaderboard|truthfulqa:mc|0", "lighteval|gsm8k|5"]
    assert gsm8k.ids == ("test:0", "test:1", "test:2")
    assert gsm8k.scores == {"qem": ((1.0,), (0.0,), (1.0,))}
    assert gsm8k.metrics == {"qem": BaselineMetric(value=2 / 3, stderr=0.3, n=3, higher_is_better=True)}
    assert (gsm8k.version, gsm8k.prompt_digests, gsm8k.dataset_fingerprint, gsm8k.max_samples) == (None, None, None, 3)
    assert gsm8k.provenance[0].packages == {"lm-eval": "0.4.12", "transformers": "5.0.0"}
    assert (gsm8k.provenance[0].backend, gsm8k.provenance[0].dtype, gsm8k.provenance[0].model_fingerprint) == ("vllm", "bfloat16", None)
    flexible = tasks[TaskKey(suite="lighteval", task="gsm8k", few_shots=5)]
    assert flexible.metrics["extractive_match"].stderr is None
    truthfulqa = tasks[TaskKey(suite="leaderboard", task="truthfulqa:mc", few_shots=0)]
    assert truthfulqa.scores == {"mc1": ((0.0,), (0.0,)), "mc2": ((0.0,), (0.25,))}
    ifeval = tasks[TaskKey(suite="extended", task="ifeval", few_shots=0)]
    assert ifeval.scores == {"prompt_level_strict_acc": ((0.0,), (1.0,)), "inst_level_strict_acc": (((2, 3),), ((1, 1),))}
    assert ifeval.max_samples is None


def test_what_of_a_run_is_left_out_is_listed(tmp_path: Path) -> None:
    assert lm_eval_baseline(harness_run(tmp_path)).unmapped == (
        "ifeval prompt_level_loose_acc,none: no sample has it",
        "ifeval inst_level_loose_acc,none: no sample has it",
        "chartqa: no task here is the same",
        "aime24: its documents cannot be matched with those here",
        "piqa: its samples file is missing",
    )


def test_an_imported_baseline_is_compared_by_ids_only_when_asked(tmp_path: Path) -> None:
    baseline = lm_eval_baseline(harness_run(tmp_path)).baseline.tasks[GSM8K]
    measured = result({"qem": [1.0, 1.0, 0.0, 0.0]}, ids=["test:3", "test:1", "test:0", "test:2"])

    assert isinstance(align(measured, baseline, "qem"), Mismatch)
    pairs = align(measured, baseline, "qem", allow=[MismatchKind.UNKNOWN_PROMPTS])
    assert isinstance(pairs, AlignedScores)
    assert (pairs.ids, pairs.baseline, pairs.candidate) == (
        ("test:0", "test:1", "test:2"),
        ((1.0,), (0.0,), (1.0,)),
        ((0.0,), (1.0,), (0.0,)),
    )


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", ":2: not JSON: "),
        ("[]", ":2: doc_id: a whole number is needed"),
        (
            '{"doc_id": 1, "filter": "strict-match", "exact_match": "yes"}',
            ":2: exact_match: a number or a list of numbers is needed, not 'yes'",
        ),
        ('{"doc_id": 0, "filter": "strict-match", "exact_match": 1}', ":2: doc_id: 0 is given twice with exact_match,strict-match"),
    ],
    ids=["json", "list", "value", "twice"],
)
def test_a_damaged_samples_file_is_an_error_that_names_the_line(tmp_path: Path, line: str, problem: str) -> None:
    results = harness_run(tmp_path)
    samples = written(tmp_path / f"samples_gsm8k_{DATE}.jsonl", '{"doc_id": 0, "filter": "strict-match", "exact_match": 1}\n' + line + "\n")

    with pytest.raises(UserInputError) as raised:
        lm_eval_baseline(results)

    assert str(raised.value).startswith(f"{samples}{problem}")


def test_a_wrong_results_file_is_an_error(tmp_path: Path) -> None:
    results = written(tmp_path / "results_x.json", "{}")

    with pytest.raises(UserInputError, match="results: is missing: this is no results file of lm-evaluation-harness"):
        lm_eval_baseline(results)
    with pytest.raises(UserInputError, match="No such file or directory"):
        lm_eval_baseline(tmp_path / "results_y.json")
    with pytest.raises(UserInputError, match=r"there are no samples_<task>_x\.jsonl beside it; lm-eval writes them with --log_samples"):
        lm_eval_baseline(written(results, '{"results": {}}'))
    with pytest.raises(UserInputError, match="is of no task of the results file"):
        lm_eval_baseline(results, samples=[written(tmp_path / "samples_gsm8k_x.jsonl", "")])


# ---------------------------------------------------------------------------------------------------- the command


def test_the_command_writes_gates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "mmlu.yaml", MMLU)

    assert main(["import", "tensorrt-llm", str(path), "--model", "meta-llama/Llama-3.1-8B-Instruct", "--spec", "spec_dec_algo=EAGLE3"]) == 0
    assert capsys.readouterr().out.endswith("leaderboard|mmlu:_average|5:\n  acc: {min: 0.663827}\n")
    assert main(["import", "vllm", str(written(tmp_path / "model.yaml", VLLM))]) == 0
    assert "leaderboard|gsm8k|5:\n  qem: {min: 0.69552}\n" in capsys.readouterr().out


def test_the_command_writes_a_baseline_and_lists_what_it_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = harness_run(tmp_path)

    assert main(["import", "lm-eval", str(results), "--output", str(tmp_path / "b.json")]) == 0
    assert "not imported: chartqa: no task here is the same\n" in capsys.readouterr().err
    assert read_baseline(tmp_path / "b.json") == lm_eval_baseline(results).baseline
    assert "someone" not in (tmp_path / "b.json").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["vllm", "missing.yaml"], "missing.yaml: No such file or directory\n"),
        (["tensorrt-llm", "mmlu.yaml", "--model", "m", "--spec", "FP8"], "--spec FP8: is written name=value, such as quant_algo=FP8\n"),
    ],
    ids=["file", "spec"],
)
def test_the_command_says_in_one_line_what_is_wrong(arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", *arguments]) == 2
    assert capsys.readouterr().err == problem
