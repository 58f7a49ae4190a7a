"""Tasks of the installed lm-evaluation-harness in sessions, on the shared rows, with the fake backend (CONTRIBUTING.md)."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.backends.fake import FakeBackend
from pytest_lighteval.evaluate import EvaluationSettings, evaluate
from pytest_lighteval.guests.lm_eval.source import LmEvalTasks
from pytest_lighteval.types import Detail, LoglikelihoodRequest, TaskResult
from tests.shared import HUB, needs_shared

pytestmark = [
    pytest.mark.lm_eval,
    needs_shared,
    pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="lm-evaluation-harness is not installed (CONTRIBUTING.md)"),
]
TASKS = "lm_eval|arc_easy|0,lm_eval|gsm8k|2,lm_eval|winogrande,lm_eval|lambada_openai,lm_eval|mrpc,lm_eval|wikitext"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The index is read once for the module."""
    return tmp_path_factory.mktemp("cache")


def session(folder: Path, cache: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a pytest session."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--data-home={HUB}", f"--cache-dir={cache}", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def results(folder: Path) -> dict[str, Any]:
    """Of the newest run."""
    newest = max(folder.glob("reports/*/results.json"))
    content: dict[str, Any] = json.loads(newest.read_text("utf-8"))
    return content["results"]  # type: ignore[no-any-return]  # of JSON


def test_sessions_report_gate_and_divide_the_harnesss_tasks(tmp_path: Path, cache: Path) -> None:
    fake = ("--backend=fake", "--tasks", TASKS, "--max-samples=40")
    status, out, err = session(tmp_path, cache, *fake, "--model-args", "accuracy=0.9", "--save-baseline=b.json")
    assert (status, err) == (0, ""), out
    first = results(tmp_path)

    assert set(first) >= {"lm_eval|arc_easy|0", "lm_eval|gsm8k|2", "lm_eval|winogrande|0", "lm_eval|lambada_openai|0", "lm_eval|wikitext|0"}
    assert set(first["lm_eval|gsm8k|2"]) >= {"exact_match,strict-match", "exact_match,flexible-extract"}
    assert set(first["lm_eval|wikitext|0"]) >= {"word_perplexity", "byte_perplexity", "bits_per_byte"}

    status, out, err = session(tmp_path, cache, *fake, "--model-args", "accuracy=0.9,lose=0.6", "--baseline=b.json", "-n", "2")
    assert status == 1, out
    assert "lm_eval|arc_easy|0: acc" in out
    assert "REGRESSED" in out
    assert "lm_eval|lambada_openai|0: perplexity" in out

    status, out, err = session(tmp_path, cache, *fake, "--model-args", "accuracy=0.9", "-n", "2")
    assert (status, results(tmp_path)) == (0, first), out


def test_a_folder_of_the_users_runs_with_its_includes_functions_and_groups(tmp_path: Path, cache: Path) -> None:
    own = tmp_path / "mine"
    own.mkdir()
    (own / "utils.py").write_text(
        "def shout(rows):\n    return rows.map(lambda row: {'question': row['question'].upper()})\n\n"
        "def words(references, predictions):\n    return float(len(predictions[0].split()))\n",
        "utf-8",
    )
    (own / "_base").write_text(
        "dataset_path: allenai/ai2_arc\ndataset_name: ARC-Easy\ntest_split: test\nprocess_docs: !function utils.shout\n"
        'doc_to_text: "Q: {{question}}\\nA:"\n',
        "utf-8",
    )
    (own / "choose.yaml").write_text(
        "include: _base\ntask: loud_choose\noutput_type: multiple_choice\ndoc_to_choice: '{{choices.text}}'\n"
        "doc_to_target: '{{choices.label.index(answerKey)}}'\nmetric_list: [{metric: acc}]\n",
        "utf-8",
    )
    (own / "write.yaml").write_text(
        "include: _base\ntask: loud_write\noutput_type: generate_until\ndoc_to_target: '{{choices.text[0]}}'\n"
        "metric_list: [{metric: !function utils.words, aggregation: median, higher_is_better: false}]\n"
        "generation_kwargs: {until: ['\\n'], max_gen_toks: 8}\n",
        "utf-8",
    )
    (own / "group.yaml").write_text(
        "group: loud\ntask: [loud_choose, {task: loud_write, num_fewshot: 0}]\naggregate_metric_list: [{metric: acc}]\n", "utf-8"
    )
    fake = ("--backend=fake", f"--custom-tasks={own}", "--max-samples=5")

    status, out, err = session(tmp_path, cache, *fake, "-v")
    assert (status, err) == (0, ""), out
    assert "mine/choose.yaml::loud_choose[0-shot] PASSED" in out
    assert "words" in results(tmp_path)["lm_eval|loud_write|0"]

    status, out, _ = session(tmp_path, cache, *fake, "-v", "--tasks", "lm_eval|loud|0")
    assert status == 0, out
    assert "mine/write.yaml::loud:loud_write[0-shot] PASSED" in out
    (line, *_) = next(tmp_path.glob("reports/*/details/lm_eval/loud_choose.0-shot.jsonl")).read_text("utf-8").splitlines()
    assert json.loads(line)["prompt"].startswith("Q: WHICH STATEMENT BEST EXPLAINS")
    assert json.loads(line)["prompt"].endswith("\nA:")


def test_collection_of_named_tasks_imports_nothing_of_the_harness(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "conftest.py").write_text(
        "import sys\n\ndef pytest_sessionfinish():\n"
        "    heavy = {'lm_eval', 'datasets', 'torch', 'transformers', 'evaluate'} & set(sys.modules)\n"
        "    print('imported:', sorted(heavy))\n",
        "utf-8",
    )
    status, out, _ = session(tmp_path, cache, "--collect-only", "-q", "-s", "--backend=fake", "--tasks", "lm_eval|mmlu|5,lm_eval|arc_easy")

    assert status == 0
    assert "lm_eval::mmlu:mmlu_anatomy[5-shot]" in out
    assert "lm_eval::arc_easy[0-shot]" in out
    assert "imported: []" in out


def evaluated(cache: Path, name: str, **settings: Any) -> tuple[TaskResult, list[Detail]]:
    details: list[Detail] = []
    (task,) = LmEvalTasks(cache=cache, data_home=HUB).named(name)
    few_shots = settings.pop("few_shots", task.few_shots[0])
    result = evaluate(task, FakeBackend(), few_shots=few_shots, settings=EvaluationSettings(**settings), on_detail=details.append)
    return result, details


def test_prompts_do_not_depend_on_what_ran_before_and_a_part_has_the_prompts_of_the_whole(cache: Path) -> None:
    first, _ = evaluated(cache, "gsm8k", few_shots=3, max_samples=6)
    evaluated(cache, "mrpc", max_samples=3)
    again, _ = evaluated(cache, "gsm8k", few_shots=3, max_samples=4)

    assert [document.prompt_digest for document in again.documents] == [document.prompt_digest for document in first.documents][:4]
    assert [document.id for document in again.documents] == ["test:0", "test:1", "test:2", "test:3"]
    assert again.dataset_fingerprint == first.dataset_fingerprint


def test_a_chat_is_asked_in_turns_with_its_examples_and_the_system_prompt(cache: Path) -> None:
    _, details = evaluated(cache, "arc_easy", few_shots=2, max_samples=2, use_chat_template=True, system_prompt="Be brief.")

    (request,) = details[0].requests.values()
    assert isinstance(request, LoglikelihoodRequest)
    assert not isinstance(request.prompt, str)
    assert [turn.role for turn in request.prompt] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert not request.choices[0].startswith(" ")


def test_a_data_set_that_is_not_there_names_itself_and_the_folder(cache: Path) -> None:
    with pytest.raises(Exception, match=r"lm_eval\|cola: nyu-mll/glue has no subset 'cola'; there are"):
        evaluated(cache, "cola")
