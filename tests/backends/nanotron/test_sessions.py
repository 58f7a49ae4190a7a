"""Sessions with `--backend nanotron`: Lighteval's YAML instead of options, usage errors, and the processes of torchrun."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import yaml

import pytest_lighteval.backends.accelerate.engine
import pytest_lighteval.backends.nanotron.conversion
import pytest_lighteval.evaluate
import pytest_lighteval.plugin.active
from tests.backends.nanotron.nanotron_layout import Layout, write_checkpoint
from tests.backends.tiny import tiny_model, tiny_tokenizer
from tests.plugin.conftest import write_mini
from tests.shared import ROOT

# what sessions inside of this process import themselves, pytester throws away; torch does not survive that
LIVE_ON = (
    torch,
    transformers,
    pytest_lighteval.backends.accelerate.engine,
    pytest_lighteval.backends.nanotron.conversion,
    pytest_lighteval.evaluate,
    pytest_lighteval.plugin.active,
)


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """The suite `mini`, a checkpoint of a tiny llama in two parts, and Lighteval's YAML for two tasks."""
    monkeypatch.setenv("COLUMNS", "400")
    for name in ("RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    write_mini(pytester.path / "suites" / "mini")
    tiny_tokenizer().save_pretrained(pytester.path / "tokenizer")
    write_checkpoint(pytester.path / "run" / "10", tiny_model(), tokenizer="tokenizer", layout=Layout(tensor=2))
    write_config(pytester.path)
    return pytester


def write_config(folder: Path, **changes: Any) -> None:
    content = {
        "logging": {"output_dir": "out", "push_to_hub": True},
        "tasks": {"tasks": "mini|choice|0|0,mini|words:short|0|0", "max_samples": 6, "dataset_loading_processes": 8},
        "parallelism": {"dp": 1, "pp": 1, "tp": 2},
        "batch_size": 3,
    }
    (folder / "eval.yaml").write_text(yaml.safe_dump(content | changes))


CHECKPOINT = "checkpoint_config_path=run/10/config.yaml"
BOTH = ["--backend", "nanotron", "--model-args", f"{CHECKPOINT},lighteval_config_path=eval.yaml"]
COLLECT = [*BOTH, "--collect-only", "-q"]


def test_lightevals_yaml_says_all_that_a_run_needs(project: pytest.Pytester) -> None:
    result = project.runpytest(*BOTH)

    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        [
            "lighteval: backend nanotron, 6 documents a task",
            "lighteval: eval.yaml: without effect here: logging.push_to_hub, parallelism, tasks.dataset_loading_processes",
        ]
    )
    (path,) = project.path.glob("out/*/results.json")
    content = json.loads(path.read_text("utf-8"))
    assert sorted(content["results"]) == ["all", "mini|choice|0", "mini|words:short|0"]
    assert content["settings"]["max_samples"] == 6
    backend = content["backend"]
    assert backend["arguments"]["batch_size"] == 3
    assert (backend["name"], backend["model"], backend["runs_on"]) == ("nanotron", "run/10", "transformers")
    assert not (project.path / "reports").exists()


def selected(project: pytest.Pytester, *arguments: str) -> list[str]:
    result = project.runpytest(*COLLECT, *arguments)
    assert result.ret == 0
    return [line.partition("::")[2] for line in result.outlines if "::" in line]


def test_the_command_line_wins_over_the_yaml(project: pytest.Pytester) -> None:
    assert selected(project) == ["choice[0-shot]", "words:short[0-shot]"]
    assert len(selected(project, "suites")) == 5

    given = project.runpytest(*COLLECT, "-v", "--max-samples", "2", "--tasks", "mini|prose|0|0")
    given.stdout.fnmatch_lines(["lighteval: backend nanotron, 2 documents a task", "*<TaskItem prose[[]0-shot]>"])
    given.stdout.no_fnmatch_line("*<TaskItem choice*")


def test_the_ini_file_wins_over_the_yaml(project: pytest.Pytester) -> None:
    project.makeini("[pytest]\nlighteval_tasks = mini|prose|0|0")

    assert selected(project) == ["prose[0-shot]"]


def test_a_given_argument_wins_over_the_yaml(project: pytest.Pytester) -> None:
    arguments = f"{BOTH[-1]},batch_size=5"
    project.runpytest(*BOTH[:-1], arguments, "--tasks", "mini|choice|0|0", "--report-dir=mine").assert_outcomes(passed=1)

    (path,) = project.path.glob("mine/*/results.json")
    assert json.loads(path.read_text("utf-8"))["backend"]["arguments"]["batch_size"] == 5


def test_no_yaml_is_needed(project: pytest.Pytester) -> None:
    project.runpytest(*BOTH[:-1], CHECKPOINT, "--tasks", "mini|prose|0|0").assert_outcomes(passed=1)


def test_several_engines_answer_as_one(project: pytest.Pytester) -> None:
    def scores(name: str, *arguments: str) -> str:
        project.runpytest(*BOTH, f"--report-dir={name}", "--no-cache", "--threads=1", *arguments).assert_outcomes(passed=2)
        (path,) = project.path.glob(f"{name}/*/results.json")
        return json.dumps(json.loads(path.read_text("utf-8"))["metrics"], sort_keys=True)

    assert scores("two", "--replicas", "2") == scores("one")


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        pytest.param({"task": {}}, "", "eval.yaml: task: no such key (did you mean 'tasks'?)", id="key"),
        pytest.param({"tasks": {"tasks": "mini|choise|0|0"}}, "", "eval.yaml: tasks: suite 'mini' has no task 'choise'*", id="task"),
        pytest.param({"tasks": {"tasks": "mini|choice"}}, "", "eval.yaml: tasks: 'mini|choice': the few-shot count is missing*", id="spec"),
        pytest.param(
            {}, "lighteval_config=eval.yaml", "*no argument 'lighteval_config' (did you mean 'lighteval_config_path'?)", id="name"
        ),
        pytest.param({}, "engine=nanotron", "engine=nanotron runs under torchrun, as dp 1 x tp 2 x pp 1 = 2 *", id="alone"),
    ],
)
def test_wrong_settings_are_a_usage_error_of_one_line(
    project: pytest.Pytester, changes: dict[str, Any], arguments: str, message: str
) -> None:
    write_config(project.path, **changes)

    result = project.runpytest(*BOTH[:-1], ",".join(filter(None, [BOTH[-1], arguments])))

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {message.replace('[', '[[]')}"])
    result.stderr.no_fnmatch_line("*Traceback*")


def test_a_checkpoint_that_cannot_be_loaded_ends_the_session_as_any_backends(project: pytest.Pytester) -> None:
    path = project.path / "run" / "10" / "config.yaml"
    content = yaml.safe_load(path.read_text())
    content["model"]["init_method"] = {"use_mup": True}
    path.write_text(yaml.safe_dump(content))

    result = project.runpytest(*BOTH, "--tasks", "mini|prose|0|0")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    said = "ERROR: *run/10/config.yaml: model.init_method.use_mup: models scaled by muP are not mapped to transformers"
    result.stderr.fnmatch_lines([said])


def test_model_args_help_lists_the_checkpoint_first(project: pytest.Pytester) -> None:
    result = project.runpytest("--backend", "nanotron", "--model-args", "help")

    assert result.ret == 0
    result.stdout.fnmatch_lines(["--model-args of backend nanotron: *", "", "  checkpoint_config_path (str | None, default None)"])


def pretend_torchrun(monkeypatch: pytest.MonkeyPatch, *, rank: int, processes: int = 2) -> None:
    for name, value in (("RANK", str(rank)), ("WORLD_SIZE", str(processes)), ("TORCHELASTIC_RUN_ID", "none")):
        monkeypatch.setenv(name, value)


def test_processes_beside_the_first_print_and_write_nothing(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_torchrun(monkeypatch, rank=1)
    (project.path / "conftest.py").write_text("import sys\nprint('from a conftest')\nprint('aloud', file=sys.stderr)\n")
    command = ["--backend", "fake", "--tasks", "mini|prose|0|0", "--junitxml=junit.xml", "-p", "no:cacheprovider"]

    beside = project.runpytest_subprocess(*command, "-s")
    wrong = project.runpytest_subprocess("--lighteval-backend=fakee", "suites")

    assert (beside.ret, beside.outlines, beside.errlines) == (0, [], [])
    assert (wrong.ret, wrong.outlines, wrong.errlines) == (pytest.ExitCode.USAGE_ERROR, [], [])
    assert not (project.path / "reports").exists()
    assert not (project.path / "junit.xml").exists()


def test_the_first_process_and_a_session_of_other_tests_speak(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    project.makepyfile("def test_it(): pass")
    pretend_torchrun(monkeypatch, rank=1)
    project.runpytest_subprocess("test_the_first_process_and_a_session_of_other_tests_speak.py").assert_outcomes(passed=1)
    pretend_torchrun(monkeypatch, rank=0)

    project.runpytest_subprocess("--backend", "fake", "--tasks", "mini|prose|0|0").assert_outcomes(passed=1)
    assert len(list(project.path.glob("reports/*/results.json"))) == 1


@pytest.mark.parametrize(
    ("processes", "arguments", "message"),
    [
        pytest.param(3, "engine=nanotron", "engine=nanotron: torchrun started 3 processes, and eval.yaml asks *", id="number"),
        pytest.param(2, "engine=nanotron", "engine=nanotron: nanotron is not installed: install it from its source *", id="not-installed"),
    ],
)
def test_what_torchrun_started_is_checked_first(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, processes: int, arguments: str, message: str
) -> None:
    pretend_torchrun(monkeypatch, rank=0, processes=processes)

    result = project.runpytest(*BOTH[:-1], ",".join(filter(None, [BOTH[-1], arguments])))

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {message}"])


STAND_IN = """
import os

import torch
from pytest_lighteval.backends.nanotron import engine


def load_forward(checkpoint, parallelism, dtype):
    from tests.backends.tiny import tiny_model

    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    alone = [torch.distributed.new_group([one]) for one in range(2)][rank]
    model = tiny_model()

    class Part(torch.nn.Module):
        def forward(self, input_ids, input_mask):
            self.calls = getattr(self, "calls", 0) + 1
            if rank == 1 and str(self.calls) == os.environ.get("FAILS_AT"):
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
            return model(input_ids).logits.transpose(0, 1).chunk(2, dim=-1)[rank]

    return engine.SplitForward(Part(), tensor_group=torch.distributed.group.WORLD, data_group=alone)


engine.load_forward = load_forward


def pytest_unconfigure():
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
"""


@pytest.fixture
def launch(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command that runs the project's pytest in two processes, on a stand-in for nanotron."""
    package = project.path / "stubs" / "nanotron"
    package.mkdir(parents=True)
    for name in ("__init__", "models"):
        (package / f"{name}.py").touch()
    (project.path / "conftest.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", f"{package.parent}:{ROOT}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "pytest"]


def test_one_of_two_processes_that_fails_ends_both(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, launch: list[str]) -> None:
    monkeypatch.setenv("FAILS_AT", "3")

    both = project.run(*launch, *BOTH[:-1], f"{BOTH[-1]},engine=nanotron,dtype=float32", timeout=300)

    assert both.ret != 0
    # the failed process prints nothing itself: torchrun tells
    both.stderr.fnmatch_lines(["*traceback : *choice*nanotron failed on * rows of * tokens: CUDA error: an illegal memory access*"])
    assert not [line for line in both.outlines if "passed" in line]
    for path in project.path.glob("out/*/results.json"):
        assert not json.loads(path.read_text("utf-8"))["metrics"]


def test_a_session_of_two_processes_is_one_session(project: pytest.Pytester, launch: list[str]) -> None:
    both = project.run(*launch, *BOTH[:-1], f"{BOTH[-1]},engine=nanotron,dtype=float32")
    plain = project.runpytest(*BOTH, "--report-dir=plain")

    assert both.ret == plain.ret == 0
    assert len([line for line in both.outlines if "2 passed" in line]) == 1
    (path,) = project.path.glob("out/*/results.json")
    (other,) = project.path.glob("plain/*/results.json")
    ours, theirs = (json.loads(found.read_text("utf-8")) for found in (path, other))
    assert ours["results"] == theirs["results"]
    assert ours["backend"]["processes"] == 2


def test_workers_of_xdist_are_no_processes_of_torchrun(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    package = project.path / "stubs" / "nanotron"
    package.mkdir(parents=True)
    for name in ("__init__", "models"):
        (package / f"{name}.py").touch()
    monkeypatch.syspath_prepend(package.parent)
    pretend_torchrun(monkeypatch, rank=0)

    result = project.runpytest(*BOTH[:-1], f"{BOTH[-1]},engine=nanotron", "-n", "2")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: -n: the 2 processes of the launcher answer together, and cannot be workers: leave it out"])
