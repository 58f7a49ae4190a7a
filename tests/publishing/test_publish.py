"""`publish` makes the files that the hub, Every Eval Ever and trackers read; private, and without texts unless they are asked for."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_lighteval.baselines.hub_file import hub_file
from pytest_lighteval.commands.main import main
from pytest_lighteval.errors import UserInputError
from tests.publishing.finished import make_run
from tests.publishing.hub_server import COMMIT, serving

pyarrow = pytest.importorskip("pyarrow", reason="the details are parquet")
KEY = "community|quiz:easy|1"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("published"), "--save-baseline", "base.json")


def dry(run: Path, tmp_path: Path, *options: str) -> dict[str, bytes]:
    assert main(["publish", str(run), "--dry-run", "-o", str(tmp_path / "out"), *options]) == 0
    return {str(path.relative_to(tmp_path / "out")): path.read_bytes() for path in sorted((tmp_path / "out").rglob("*")) if path.is_file()}


def rows(content: bytes) -> list[dict[str, Any]]:
    from pyarrow import parquet

    found: list[dict[str, Any]] = parquet.read_table(io.BytesIO(content)).to_pylist()
    return found


def test_the_details_data_set_is_lightevals_and_has_no_texts(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = dry(run, tmp_path, "--to", "hub:me")
    (date,) = {name.partition("/")[0] for name in files if "/" in name}
    results = json.loads((run / "results.json").read_text())

    assert set(files) == {
        "README.md",
        f"results_{date}.json",
        f"results_{date}.parquet",
        f"{date}/details_{KEY}_{date}.parquet",
        f"{date}/details_community|quiz:hard_mode|1_{date}.parquet",
    }
    assert json.loads(files[f"results_{date}.json"]) == results
    (row,) = rows(files[f"results_{date}.parquet"])
    assert {name: json.loads(value) for name, value in row.items()} == results
    details = rows(files[f"{date}/details_{KEY}_{date}.parquet"])
    assert [set(line) for line in details] == [{"id", "few_shot_seed", "prompt_digest", "truncated", "metrics"}] * 12
    header = yaml.safe_load(files["README.md"].decode().split("---\n")[1])
    assert [config["config_name"] for config in header["configs"]] == ["community_quiz_easy_1", "community_quiz_hard_mode_1", "results"]
    assert [split["split"] for split in header["configs"][0]["data_files"]] == [date.replace("-", "_"), "latest"]
    assert b"Which of" not in b"".join(files.values())
    assert capsys.readouterr().out.endswith("dry run: 5 files for hub me/details_fake-0_private; nothing was sent\n")


def test_texts_are_published_only_when_asked(run: Path, tmp_path: Path) -> None:
    files = dry(run, tmp_path, "--to", "hub:me", "--with-texts")
    name = next(name for name in files if f"details_{KEY}" in name)

    lines = rows(files[name])

    scores = [json.loads(line)["scores"] for line in (run / "details/community/quiz.easy.1-shot.jsonl").read_text().splitlines()]
    assert [line["metrics"] for line in lines] == scores
    assert all("Which of" in line["example"] and line["full_prompt"].endswith(line["example"].partition("\n")[2]) for line in lines)
    assert {tuple(line["choices"]) for line in lines} == {(" A", " B")}
    assert all(len(line["pred_logits"]) == 2 and line["gold"] == [line["choices"][line["gold_index"][0]]] for line in lines)


def test_a_model_gets_one_file_for_each_task(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    files = dry(
        run, tmp_path, "--to", "eval-results:org/model", "--task-id", "community|quiz:easy=quiz_easy", "--source-url", "https://x.org/run"
    )
    results = json.loads((run / "results.json").read_text())

    (entry,) = yaml.safe_load(files[".eval_results/community_quiz-easy_1.yaml"])

    assert entry["dataset"] == {"id": "owner/quiz", "task_id": "quiz_easy"}
    assert entry["value"] == results["results"][KEY]["acc_norm"]
    assert entry["source"] == {"url": "https://x.org/run", "name": "pytest-lighteval"}
    assert entry["notes"].startswith("acc_norm, 1-shot, n = 12, standard error 0.")
    (other,) = yaml.safe_load(files[".eval_results/community_quiz-hard_mode_1.yaml"])
    assert other["dataset"]["task_id"] == "hard mode"


def changed(run: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of the run whose scores.json was changed."""
    shutil.copytree(run, folder)
    content = json.loads((run / "scores.json").read_text())
    change(content)
    (folder / "scores.json").write_text(json.dumps(content, sort_keys=True))
    return folder


def test_the_first_metric_of_the_task_stands_for_it_and_not_the_first_of_the_alphabet(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")

    def turn(content: dict[str, Any]) -> None:
        for item in content["items"]:
            item["task"]["metrics"].reverse()

    (entry,) = yaml.safe_load(
        dry(changed(run, tmp_path / "run", turn), tmp_path, "--to", "eval-results:org/model")[".eval_results/community_quiz-easy_1.yaml"]
    )

    assert entry["notes"].startswith("lead, 1-shot")
    assert entry["value"] == json.loads((run / "results.json").read_text())["results"][KEY]["lead"]


def test_a_task_that_stopped_early_is_no_result_of_a_benchmark(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("huggingface_hub")

    def stop(content: dict[str, Any]) -> None:
        content["report"]["results"][0]["num_saved"] = 3

    files = dry(changed(run, tmp_path / "run", stop), tmp_path, "--to", "eval-results:org/model")

    assert list(files) == [".eval_results/community_quiz-hard_mode_1.yaml"]
    assert f"note: {KEY}: left out: it stopped early" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["hub:me", "eee:records"])
def test_texts_that_utf_8_does_not_have_are_published_as_escapes(run: Path, tmp_path: Path, place: str) -> None:
    copy = changed(run, tmp_path / "run", lambda content: None)
    path = copy / "details/community/quiz.easy.1-shot.jsonl"
    path.write_text(path.read_text().replace("Which of 3", "Which of \\ud800"))

    published = b"".join(dry(copy, tmp_path, "--to", place, "--with-texts").values())

    assert rb"Which of \ud800" in published.replace(rb"\\", b"\\")


def test_a_model_card_gets_every_number(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    (index,) = yaml.safe_load(dry(run, tmp_path, "--to", "model-card:org/model")["model-index.yaml"])["model-index"]

    assert index["name"] == "model"
    assert [metric["type"] for result in index["results"] for metric in result["metrics"]] == ["acc_norm", "lead"] * 2
    assert index["results"][0]["dataset"] == {"name": "quiz:easy (1-shot)", "type": "owner/quiz", "config": "easy", "split": "test"}


RECORD = {
    "": ("schema_version", "evaluation_id", "retrieved_timestamp", "source_metadata", "model_info", "eval_library", "evaluation_results"),
    "source_metadata": ("source_type", "source_organization_name", "evaluator_relationship"),
    "model_info": ("name", "id", "additional_details"),
    "eval_library": ("name", "version"),
}
"""What the schema of Every Eval Ever requires (0.3.0)."""


def test_every_eval_ever_gets_the_uncertainty_and_the_same_files_each_time(run: Path, tmp_path: Path) -> None:
    files = dry(run, tmp_path, "--to", "eee:records", "--organization", "me", "--with-texts")
    again = dry(run, tmp_path, "--to", "eee:records", "--organization", "me", "--with-texts")
    name, samples = sorted(files)
    record = json.loads(files[name if name.endswith(".json") else samples])
    number = json.loads((run / "results.json").read_text())["metrics"][KEY]["acc_norm"]

    assert files == again
    for place, required in RECORD.items():
        assert set(required) <= (record[place] if place else record).keys()
    first = record["evaluation_results"][0]
    assert first["score_details"]["score"] == number["value"]
    assert first["score_details"]["uncertainty"]["standard_error"] == {"value": number["stderr"], "method": "analytic"}
    assert first["score_details"]["uncertainty"]["num_samples"] == 12
    interval = first["score_details"]["uncertainty"]["confidence_interval"]
    assert interval["lower"] == max(0.0, number["value"] - 1.96 * number["stderr"])
    assert interval["upper"] == min(1.0, number["value"] + 1.96 * number["stderr"])
    assert (first["metric_config"]["min_score"], first["metric_config"]["max_score"]) == (0.0, 1.0)
    assert first["metric_config"]["lower_is_better"] is False
    assert first["source_data"]["hf_repo"] == "owner/quiz"
    described = record["detailed_evaluation_results"]
    assert described["total_rows"] == 24
    lines = [json.loads(line) for line in files[described["file_path"]].splitlines()]
    assert {line["evaluation_result_id"] for line in lines} == {f"{KEY}|acc_norm", "community|quiz:hard_mode|1|acc_norm"}
    assert all(
        line["evaluation"]["is_correct"] == (line["answer_attribution"][0]["extracted_value"] in line["input"]["reference"])
        for line in lines
    )


def test_without_texts_a_record_has_no_samples(run: Path, tmp_path: Path) -> None:
    (content,) = dry(run, tmp_path, "--to", "eee:records").values()

    assert b"Which of" not in content
    assert "detailed_evaluation_results" not in json.loads(content)


@pytest.mark.parametrize("place", ["trackio:project", "wandb:project", "mlflow", "tensorboard:runs"])
def test_a_tracker_gets_numbers_by_name_at_a_step(run: Path, tmp_path: Path, place: str) -> None:
    (content,) = dry(run, tmp_path, "--to", place, "--step", "1000").values()
    tracked, number = json.loads(content), json.loads((run / "results.json").read_text())["metrics"][KEY]["acc_norm"]

    assert (tracked["run"], tracked["step"], tracked["tracker"]) == (run.name, 1000, place.partition(":")[0])
    shown = {name: value for name, value in tracked["numbers"].items() if name.startswith("community/quiz/easy/1-shot/acc_norm")}
    assert shown == pytest.approx(
        {
            "community/quiz/easy/1-shot/acc_norm": number["value"],
            "community/quiz/easy/1-shot/acc_norm_stderr": number["stderr"],
            "community/quiz/easy/1-shot/acc_norm_lower": number["value"] - 1.96 * number["stderr"],
            "community/quiz/easy/1-shot/acc_norm_upper": number["value"] + 1.96 * number["stderr"],
        }
    )
    assert "community/quiz/_average/1-shot/acc_norm" in tracked["numbers"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--to", "hubb:me"], "--to hubb:me: there are hub, eval-results, .*did you mean 'hub'"),
        (["--to", "eee"], "--to eee: write eee:DIR"),
        (["--to", "eval-results:a/b", "--task-id", "x=y"], "--task-id x=y: is written suite|task=ID"),
        (["--to", "eval-results:a/b", "--task-id", "a|b=y"], "--task-id a|b: the run has no such task; it has community|quiz:easy"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], problem: str
) -> None:
    import re

    assert main(["publish", str(run), "--dry-run", "-o", str(tmp_path), *options]) == 2
    told = capsys.readouterr().err
    assert re.match(problem.replace("|", r"\|"), told), told
    assert told.count("\n") == 1


def test_a_folder_that_is_no_whole_run_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    interrupted = tmp_path / "run"
    interrupted.mkdir()
    for name in ("scores.json", "results.json"):
        (interrupted / name).write_text((run / name).read_text().replace('"exit_status": "ok"', '"exit_status": "interrupted"'))

    assert main(["publish", str(tmp_path), "--to", "eee:x"]) == 2
    assert main(["publish", str(interrupted), "--to", "eee:x"]) == 2

    first, second = capsys.readouterr().err.splitlines()
    assert "is no run folder" in first
    assert "its session ended as interrupted: only a whole run can be published" in second


def environment(address: str, folder: Path) -> dict[str, str]:
    own = {
        "HF_ENDPOINT": address,
        "HF_HOME": str(folder / "hf"),
        "HF_TOKEN": "hf_test",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
    }
    return {name: value for name, value in os.environ.items() if not name.startswith("HF_")} | own


def test_the_hubs_client_makes_a_private_repository_and_proposes_to_a_model(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    script = (
        "import sys; from pytest_lighteval.commands.main import main; run = sys.argv[1]; "
        "sys.exit(max(main(['publish', run, '--to', to]) for to in ('hub:me', 'hub:me', 'eval-results:org/model')))"
    )
    with serving() as hub:
        hub.files["org/model"], hub.private["org/model"] = {}, False
        done = subprocess.run(
            [sys.executable, "-c", script, str(run)], env=environment(hub.address, tmp_path), capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    assert hub.private["me/details_fake-0_private"] is True
    kept = hub.files["me/details_fake-0_private"]
    assert len([name for name in kept if name.endswith(".parquet")]) == 3
    assert b"Which of" not in b"".join(kept.values())
    assert sorted(hub.proposed["org/model"]) == [
        ".eval_results/community_quiz-easy_1.yaml",
        ".eval_results/community_quiz-hard_mode_1.yaml",
    ]
    assert done.stdout.splitlines()[-1].endswith("/org/model/discussions/1")


FETCH = "import sys; from pytest_lighteval.baselines.hub_file import hub_file; print(hub_file(sys.argv[1]))"


def test_a_baseline_on_the_hub_is_fetched_once_and_checked(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    project = run.parents[1]
    url = f"hf://org/model/evals/base.json@{COMMIT}"
    session = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--custom-tasks",
        "my_tasks.py",
        "--backend",
        "fake",
        "--no-cache",
    ]
    session += [f"--data-home={project / 'hub'}", "--tasks", "community|quiz:easy|1|0", "--gate-allow", "blind", "--baseline", url]
    session += [f"--lighteval-report-dir={tmp_path / 'reports'}"]

    def started(command: list[str], address: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=project, env=environment(address, tmp_path), capture_output=True, text=True, check=False)

    with serving() as hub:
        hub.files["org/model"] = {"evals/base.json": (project / "base.json").read_bytes()}
        first = started(session, hub.address)
        fetched = [line for line in hub.asked if line.startswith("GET")]
    assert first.returncode == 0, first.stdout + first.stderr
    assert len(fetched) == 1
    assert "compared with the baseline" in first.stdout

    # as a worker finds it: without the hub, which is gone by now
    again = started([sys.executable, "-c", FETCH, url], "http://127.0.0.1:9")
    cached = Path(again.stdout.strip())
    assert cached.read_bytes() == (project / "base.json").read_bytes(), again.stderr
    blob = cached.resolve()
    blob.write_bytes(blob.read_bytes() + b" ")
    changed = started([sys.executable, "-c", FETCH, url], "http://127.0.0.1:9")
    assert f"--baseline {url}: {cached} was changed after it was fetched: remove it" in changed.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "url", ["hf://org/model/base.json@main", "hf://org/model/base.json@abc1234", "hf://org/base.json@" + COMMIT, "hf://a/b/c"]
)
def test_a_baseline_on_the_hub_is_named_by_its_whole_commit(url: str) -> None:
    with pytest.raises(UserInputError, match=r"is written hf://owner/repo/path.json@commit .* with all 40 digits of the commit"):
        hub_file(url)


def test_a_repository_that_cannot_be_is_told_in_one_line() -> None:
    pytest.importorskip("huggingface_hub")
    with pytest.raises(UserInputError, match=r"--baseline hf://a--b/c/base.json@\w+: Cannot have -- "):
        hub_file(f"hf://a--b/c/base.json@{COMMIT}")
