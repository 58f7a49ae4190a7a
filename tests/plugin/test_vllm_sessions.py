"""Sessions on vLLM, for which a package with its names and a random model stands in: a user's own engine, and one that dies."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.backends.tiny import tiny_model, tiny_tokenizer
from tests.plugin.conftest import Results, write_mini
from tests.plugin.vllm_package import write_vllm

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytestmark = pytest.mark.skipif(find_spec("vllm") is not None, reason="the real vLLM would be taken")

VLLM_OPTIONS = ("--backend", "vllm", "--model-args", "pretrained=model")


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The random model with its tokenizer, once loaded and asked here.

    That imports what sessions inside of this process would import first and then forget: parts of torch cannot be imported twice.
    """
    import torch
    import transformers

    from pytest_lighteval.backends.common.prompt_tokenizer import load_tokenizer

    folder = tmp_path_factory.mktemp("model")
    tiny_model(max_length=512).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    transformers.AutoModelForCausalLM.from_pretrained(folder)(input_ids=torch.tensor([[1]]))
    load_tokenizer(folder, "tiny")
    return folder


@pytest.fixture
def vllm_project(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, model_folder: Path) -> pytest.Pytester:
    """The suite `mini` with six documents a task, a model folder `model`, and a package `vllm`."""
    write_mini(project.path / "suites" / "mini", documents=6)
    write_vllm(project.path, monkeypatch)
    shutil.copytree(model_folder, project.path / "model")
    monkeypatch.setenv("ANSWERED", str(project.path / "answered.txt"))
    project.syspathinsert()
    return project


def run(project: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return project.runpytest("suites", "--lighteval-report-dir", "reports", "--cache-dir", "cache", *arguments)


def take_answered(project: pytest.Pytester) -> int:
    """How many prompts the engine has answered since this was last called."""
    file = project.path / "answered.txt"
    count = len(file.read_text().splitlines()) if file.exists() else 0
    file.unlink(missing_ok=True)
    return count


def test_a_conftest_brings_an_engine_that_runs(vllm_project: pytest.Pytester, results: Results) -> None:
    vllm_project.makeconftest(
        """
        import pytest
        import vllm
        from pytest_lighteval.backends.vllm import VllmBackend

        @pytest.fixture(scope="session")
        def lighteval_backend():
            llm = vllm.LLM("model")
            backend = VllmBackend.from_engine(llm)
            yield backend
            backend.close()
            assert llm.get_tokenizer() and not llm.waiting
        """
    )

    result = run(vllm_project)

    result.assert_outcomes(passed=5)
    backend = results()["backend"]
    assert (backend["name"], backend["model"], backend["engine"]) == ("vllm", "model", "vLLM, prefix cache")
    assert len(backend["fingerprint"]) == 64
    assert take_answered(vllm_project) > 0
    # of an engine in memory nothing is kept
    run(vllm_project).assert_outcomes(passed=5)
    assert take_answered(vllm_project) > 0


def test_an_engine_that_dies_of_its_first_prompt_is_one_line(
    vllm_project: pytest.Pytester, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIES_AFTER", "0")

    result = run(vllm_project, *VLLM_OPTIONS, "-k", "prose")

    result.assert_outcomes(errors=1)
    (reason,) = results()["errors"].values()
    assert reason.endswith("model: vLLM cannot answer: EngineDeadError: EngineCore encountered an issue.")
    assert "Traceback" not in result.stdout.str()


def test_an_engine_that_dies_in_mid_run_gives_errors_and_never_a_score(
    vllm_project: pytest.Pytester, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the choices of the first item are answered, those of the second not all
    monkeypatch.setenv("DIES_AFTER", "40")

    result = run(vllm_project, *VLLM_OPTIONS)

    result.assert_outcomes(passed=1, errors=4)
    report = results()
    assert len(report["errors"]) == 4
    assert not set(report["metrics"]) & set(report["errors"])
    assert {reason.partition(": ")[2] for reason in report["errors"].values()} == {
        "vLLM failed: EngineDeadError: EngineCore encountered an issue."
    }
    assert list(vllm_project.path.glob("reports/*/details/mini/choice.0-shot.jsonl"))
    assert not list(vllm_project.path.glob("reports/*/details/mini/choice.2-shot.jsonl"))


def test_a_run_after_an_engines_death_asks_only_what_was_not_answered(
    vllm_project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    def metrics(folder: str) -> Any:
        (path,) = (vllm_project.path / folder).glob("*/results.json")
        return json.loads(path.read_text("utf-8"))["metrics"]

    monkeypatch.setenv("DIES_AFTER", "40")
    killed = run(vllm_project, *VLLM_OPTIONS)
    assert take_answered(vllm_project) == 40
    monkeypatch.delenv("DIES_AFTER")

    resumed = run(vllm_project, *VLLM_OPTIONS, "--lighteval-report-dir", "resumed")
    asked = take_answered(vllm_project)
    whole = run(vllm_project, *VLLM_OPTIONS, "--lighteval-report-dir", "whole", "--cache-dir", "other")

    killed.assert_outcomes(passed=1, errors=4)
    resumed.assert_outcomes(passed=5)
    whole.assert_outcomes(passed=5)
    assert metrics("resumed") == metrics("whole")
    # the first item is complete; an answer of the second that lacks one of its choices is asked as a whole
    saved = take_answered(vllm_project) - asked
    assert saved == 30


def test_copies_are_a_pool_that_answers_as_one_engine(vllm_project: pytest.Pytester) -> None:
    def scores(*arguments: str) -> str:
        vllm_project.runpytest("suites", "--report-dir=reports", "--no-cache", "--backend", "vllm", *arguments).assert_outcomes(passed=5)
        (path,) = vllm_project.path.glob("reports/*/results.json")
        content = json.loads(path.read_text("utf-8"))
        path.parent.rename(vllm_project.path / f"read-{path.parent.name}")
        copies.append(len(content["run"].get("use", {}).get("members", ())))
        return json.dumps(content["metrics"], sort_keys=True)

    copies: list[int] = []
    one = scores("--model-args", "pretrained=model")

    assert scores("--model-args", "pretrained=model,data_parallel_size=2") == one
    assert scores("--model-args", "pretrained=model", "--replicas", "2") == one
    assert copies == [0, 2, 2]
