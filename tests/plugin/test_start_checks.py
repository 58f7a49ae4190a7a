"""What no task can survive ends the session once, before anything is read or asked: one mistake, one error."""

from __future__ import annotations

import importlib.util
import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from pytest_lighteval.plugin.start_checks import _check_writable


def only_error(result: pytest.RunResult) -> str:
    """The one line that the session said, which ran nothing."""
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["*no tests ran in *"])
    (line,) = [line for line in result.errlines if line]
    return line


@pytest.mark.parametrize("workers", [[], ["-n1"]], ids=["alone", "xdist"])
def test_a_wrong_model_is_one_error_however_many_tasks_there_are(project: pytest.Pytester, workers: list[str]) -> None:
    (project.path / "suites" / "mini" / "short.jsonl").unlink()  # no data are read

    result = project.runpytest_subprocess("suites", "--backend", "accelerate", "--model-args", "pretrained=./my-modle", *workers)

    assert only_error(result) == "ERROR: pretrained: there is no file or folder './my-modle'"
    assert not (project.path / "reports").exists()


def test_no_backend_is_one_error(project: pytest.Pytester) -> None:
    project.makeini("[pytest]\nlighteval_suites = suites")

    error = only_error(project.runpytest("suites"))

    assert error.startswith("ERROR: no backend was chosen: --backend NAME (")
    assert error.endswith("), or a lighteval_backend fixture of your own")


@pytest.mark.parametrize(
    ("backend", "arguments", "package", "extra"),
    [
        ("accelerate", "pretrained=nobody/nothing", "torch", "accelerate"),
        ("vllm", "pretrained=nobody/nothing", "vllm", "vllm"),
        ("openai", "base_url=http://127.0.0.1:9/v1,model=x", "httpx", "openai"),
        ("openai", "base_url=http://127.0.0.1:9/v1,model=x,tokenizer=nobody/nothing", "transformers", "openai"),
        ("accelerate", "pretrained=nobody/nothing,dtype=4bit", "bitsandbytes", "quantized"),
    ],
)
def test_a_missing_package_is_told_before_the_hub_is_asked(
    project: pytest.Pytester, backend: str, arguments: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, package_=None: None if name == package else find(name, package_))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there

    error = only_error(project.runpytest("suites", "--backend", backend, "--model-args", arguments))

    assert error == f"ERROR: {package} is not installed: pip install 'pytest-lighteval[{extra}]'"


@pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")
def test_a_device_that_is_not_there_is_told_before_the_model_is_read(project: pytest.Pytester) -> None:
    folder = project.mkdir("model")  # of which reading would say that it has no config.json
    arguments = f"pretrained={folder},device=cuda:77"

    error = only_error(project.runpytest_subprocess("suites", "--backend", "accelerate", "--model-args", arguments))

    assert error.startswith("ERROR: device=cuda:77: there is no such device: ")


@pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")
def test_a_wrong_reference_is_told_before_it_is_measured(project: pytest.Pytester) -> None:
    arguments = ["--against-backend", "accelerate", "--against-model-args", "pretrained=./nowhere"]

    error = only_error(project.runpytest("suites", "--backend", "fake", *arguments))

    assert error == "ERROR: reference: pretrained: there is no file or folder './nowhere'"


@pytest.mark.parametrize(("option", "name"), [("--report-dir", "file/runs"), ("--save-baseline", "file/base.json")])
def test_a_folder_that_cannot_be_written_is_told_before_anything_is_measured(project: pytest.Pytester, option: str, name: str) -> None:
    project.makefile("", file="a file, no folder")

    error = only_error(project.runpytest("suites", "--backend", "fake", f"{option}={name}"))

    assert error == f"ERROR: {option} {project.path / name}: no file can be made in {project.path / 'file'}: Not a directory"


def test_a_folder_that_is_still_to_be_made_is_none(tmp_path: Path) -> None:
    _check_writable(tmp_path / "a" / "b", "--report-dir")

    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [["--collect-only"], ["--setup-plan"], ["-k", "nothing"]])
def test_a_session_that_asks_no_model_needs_none(project: pytest.Pytester, arguments: list[str]) -> None:
    result = project.runpytest("suites", "--backend", "accelerate", "--model-args", "pretrained=./my-modle", *arguments)

    assert result.ret in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)


@pytest.mark.parametrize("workers", [[], ["-n1"]], ids=["alone", "xdist"])
def test_an_engine_of_a_conftest_below_replaces_what_the_options_say(project: pytest.Pytester, workers: list[str]) -> None:
    (project.path / "suites" / "mini" / "conftest.py").write_text(
        """
import pytest
from pytest_lighteval.backends.fake import FakeBackend

@pytest.fixture(scope="session")
def lighteval_backend():
    return FakeBackend(accuracy=1.0)
"""
    )

    result = project.runpytest_subprocess("--lighteval-report-dir=reports", *workers)

    result.assert_outcomes(passed=5)


def test_other_tests_of_the_project_run_without_the_model(project: pytest.Pytester) -> None:
    project.makepyfile("def test_plain(): pass\n\ndef test_asks(lighteval): lighteval.run('mini|prose|0')")

    result = project.runpytest("test_other_tests_of_the_project_run_without_the_model.py", "--backend=vllm", "--model-args=pretrained=./x")

    result.assert_outcomes(passed=1, failed=1)


@pytest.mark.skipif(find_spec("torch") is None or find_spec("transformers") is None, reason="the accelerate backend is not installed")
def test_a_model_that_cannot_be_loaded_ends_the_session_after_one_task(project: pytest.Pytester) -> None:
    import tests.backends.tiny as tiny

    folder = project.mkdir("model")
    tiny.tiny_model().save_pretrained(folder)
    tiny.tiny_tokenizer().save_pretrained(folder)
    (folder / "model.safetensors").write_bytes(b"no weights")

    result = project.runpytest_subprocess("suites", "--backend", "accelerate", "--model-args", f"pretrained={folder},device=cpu")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*cannot load it*"])
    (path,) = project.path.glob("reports/*/results.json")
    assert list(json.loads(path.read_text("utf-8"))["errors"]) == ["mini|choice|0"]
