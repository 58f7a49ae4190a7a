"""results.json is the same for the same run, always valid JSON, and laid out as readers of Lighteval's results expect."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.errors import DataError
from pytest_lighteval.reports.json_report import read_results, results_json
from pytest_lighteval.types import RunReport
from tests.reports.samples import FULL, GSM8K, MMLU, WIKITEXT, number, result, run, verdict


def test_the_use_of_the_work_is_next_to_the_times() -> None:
    report = run(GSM8K)
    report = replace(report, backend={**report.backend, "use": {"peak_memory_bytes": 17}})

    content = json.loads(results_json(report))

    assert content["run"]["use"] == {"peak_memory_bytes": 17}
    assert "use" not in content["backend"]


def test_everything_of_a_run_is_in_it() -> None:
    report = run(GSM8K, verdicts={"leaderboard|gsm8k|5": (verdict("qem", "failed", 0.35, floor=0.42),)}, errors={"a|b|0": "no data"})

    assert json.loads(results_json(report)) == {
        "schema": 1,
        "run": {
            "id": "20260102-030405-fake",
            "started": "2026-01-02T03:04:05+00:00",
            "seconds": 61.5,
            "exit_status": "ok",
            "command": None,
            "cache": {},
            "use": {},
            "task_seconds": {"leaderboard|gsm8k|5": 12.5},
        },
        "config_general": {
            "lighteval_sha": "?",
            "model_name": "fake",
            "model_sha": None,
            "model_dtype": "float32",
            "model_size": None,
            "generation_parameters": None,
            "num_fewshot_seeds": 1,
            "max_samples": 100,
        },
        "results": {"leaderboard|gsm8k|5": {"qem": 0.35, "qem_stderr": 0.0479}, "all": {"qem": 0.35, "qem_stderr": 0.0479}},
        "versions": {"leaderboard|gsm8k|5": 1},
        "config_tasks": {
            "leaderboard|gsm8k|5": {
                "suite": "leaderboard",
                "name": "gsm8k",
                "num_fewshots": 5,
                "truncate_fewshots": False,
                "version": 1,
                "metrics": ["qem"],
                "effective_num_docs": 2,
                "max_samples": 100,
                "dataset_fingerprint": "d" * 64,
                "row_sources": {},
            }
        },
        "summary_tasks": {
            "leaderboard|gsm8k|5": {
                "hashes": {"hash_examples": "d" * 64, "hash_full_prompts": "e" * 64},
                "truncated": 0,
                "non_truncated": 2,
                "saved_documents": 0,
                "effective_few_shots": 5.0,
                "notes": [],
            }
        },
        "summary_general": {"truncated": 0, "non_truncated": 2, "saved_documents": 0},
        "metrics": {
            "leaderboard|gsm8k|5": {"qem": {"value": 0.35, "stderr": 0.0479, "n": 100, "higher_is_better": True}},
            "all": {"qem": {"value": 0.35, "stderr": 0.0479, "n": 100, "higher_is_better": True}},
        },
        "verdicts": {
            "leaderboard|gsm8k|5": [
                {
                    "metric": "qem",
                    "outcome": "failed",
                    "message": "qem 0.3500 is below the floor 0.4200 (n = 100)",
                    "value": 0.35,
                    "stderr": 0.05,
                    "n": 100,
                    "min": 0.42,
                    "max": None,
                    "paired": None,
                    "pinned": None,
                    "waiver": None,
                    "retried": None,
                }
            ]
        },
        "attempts": {},
        "errors": {"a|b|0": "no data"},
        "skipped": {},
        "own_runs": {},
        "settings": {"max_samples": 100, "few_shot_seeds": 1, "use_chat_template": False, "system_prompt": None},
        "backend": {"name": "fake", "fingerprint": "f" * 64, "arguments": {"accuracy": 0.5}, "model": "fake", "dtype": "float32"},
        "environment": {"python": "3.11.7", "packages": {"pytest-lighteval": "0.1.0"}},
        "baselines": [],
        "model_args": {},
    }


def test_a_number_has_the_name_that_readers_of_lighteval_look_for_too() -> None:
    report = run(result("leaderboard|truthfulqa:mc|0", mc1=number(0.3), mc2=number(0.5, None)))

    content = json.loads(results_json(report))

    row = {"mc1": 0.3, "mc1_stderr": 0.05, "mc2": 0.5, "truthfulqa_mc1": 0.3, "truthfulqa_mc1_stderr": 0.05, "truthfulqa_mc2": 0.5}
    assert content["results"] == {"leaderboard|truthfulqa:mc|0": row, "all": row}
    assert list(content["metrics"]["all"]) == ["mc1", "mc2"]


def test_of_two_f1_the_last_one_has_the_name_and_never_another_metrics() -> None:
    both = run(result("helm|x|0", f1_macro=number(0.3), f1_micro=number(0.5)))
    own = run(result("helm|x|0", f1=number(0.1), f1_macro=number(0.3)))

    assert json.loads(results_json(both))["results"]["helm|x|0"]["f1"] == 0.5
    assert json.loads(results_json(own))["results"]["helm|x|0"]["f1"] == 0.1


def test_a_passed_gate_leaves_score_and_threshold_too() -> None:
    (passed,) = json.loads(results_json(FULL))["verdicts"]["leaderboard|mmlu:_average|5"]

    assert (passed["outcome"], passed["value"], passed["min"]) == ("passed", 0.3, 0.3)


def test_rows_are_lightevals_with_supersets_and_all() -> None:
    assert json.loads(results_json(FULL))["results"] == {
        "leaderboard|gsm8k|5": {"qem": 0.35, "qem_stderr": 0.0479},
        "leaderboard|mmlu:anatomy|5": {"acc": 0.25, "acc_stderr": 0.03},
        "leaderboard|mmlu:virology|5": {"acc": 0.35, "acc_stderr": 0.04},
        "leaderboard|mmlu:_average|5": {"acc": 0.3, "acc_stderr": 0.025},
        "lighteval|wikitext:2|0": {"word_perplexity": 23.4512},
        "all": {"qem": 0.35, "qem_stderr": 0.0479, "acc": 0.3, "acc_stderr": 0.025, "word_perplexity": 23.4512},
    }


def test_variants_of_one_task_have_a_configuration_each() -> None:
    report = run(result("a|b|0", acc=number(0.1)), result("a|b|5", acc=number(0.2)), result("a|b|5|1", acc=number(0.3)))

    assert list(json.loads(results_json(report))["config_tasks"]) == ["a|b|0", "a|b|5", "a|b|5|1"]


def _reversed(value: Any) -> Any:
    """The same mapping, filled in the other order, all the way down."""
    if isinstance(value, Mapping):
        return {key: _reversed(value[key]) for key in reversed(list(value))}
    return value


def test_the_order_in_which_a_report_was_filled_leaves_no_trace() -> None:
    shuffled = replace(
        FULL,
        **{
            name: _reversed(getattr(FULL, name))
            for name in ("groups", "verdicts", "errors", "skipped", "settings", "backend", "environment")
        },
    )

    assert results_json(shuffled) == results_json(FULL)


def test_two_runs_that_measured_the_same_differ_under_run_alone() -> None:
    again = run(
        *(replace(task, seconds=99.0) for task in (*MMLU, GSM8K, WIKITEXT)),
        verdicts=FULL.verdicts,
        errors=FULL.errors,
        skipped=FULL.skipped,
        run_id="another",
        started="2027-01-01T00:00:00+00:00",
        seconds=1.0,
    )

    first, second = json.loads(results_json(FULL)), json.loads(results_json(again))

    assert first.pop("run") != second.pop("run")
    assert first == second


def test_numbers_that_are_not_finite_are_texts() -> None:
    report = run(result("a|b|0", nan=number(math.nan, math.nan), inf=number(math.inf, None)))

    content = json.loads(results_json(report), parse_constant=pytest.fail)

    assert content["results"]["a|b|0"] == {"nan": "nan", "nan_stderr": "nan", "inf": "inf"}
    assert math.isnan(float(content["metrics"]["a|b|0"]["nan"]["value"]))


def test_a_run_without_a_result_is_still_a_report() -> None:
    content = json.loads(results_json(replace(run(errors={"a|b|0": "no data"}), backend={})))

    assert (content["results"], content["errors"], content["config_general"]["model_name"]) == ({}, {"a|b|0": "no data"}, None)


@pytest.mark.parametrize(
    ("backend", "name"),
    [
        ({"model_name": "org/a", "model": "b", "arguments": {"pretrained": "c"}}, "org/a"),
        ({"model": "b", "arguments": {"pretrained": "c"}}, "b"),
        ({"name": "accelerate", "arguments": {"pretrained": "c"}}, "c"),
        ({"name": "own", "arguments": None}, None),
    ],
    ids=["model_name", "model", "pretrained", "unknown"],
)
def test_the_model_has_the_name_that_the_backend_gives_it(backend: dict[str, Any], name: str | None) -> None:
    assert json.loads(results_json(replace(FULL, backend=backend)))["config_general"]["model_name"] == name


def _written(folder: Path, report: RunReport) -> Path:
    path = folder / "results.json"
    path.write_text(results_json(report), "utf-8")
    return path


def test_it_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    assert read_results(_written(tmp_path, FULL)) == json.loads(results_json(FULL))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "not a results.json: "),
        ("[]", "its schema is None, and 1 can be read"),
        ('{"schema": 9}', "its schema is 9, and 1 can be read"),
    ],
    ids=["no JSON", "no mapping", "newer"],
)
def test_another_file_is_not_taken_for_results(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)

    with pytest.raises(DataError) as caught:
        read_results(path)

    assert str(caught.value).startswith(f"{path}: {problem}")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"results\.json: the results cannot be read: No such file or directory$"):
        read_results(tmp_path / "results.json")
