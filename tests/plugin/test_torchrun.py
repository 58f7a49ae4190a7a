"""Processes of torchrun beside the first say nothing where this plugin evaluates something, and speak in everybody else's projects."""

from __future__ import annotations

import json

import pytest


@pytest.fixture(autouse=True)
def beside_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of two processes that torchrun started."""
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "2"), ("TORCHELASTIC_RUN_ID", "none")):
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("--backend", "nccl"), id="another value"),
        pytest.param(("--backend=nccl",), id="joined"),
        pytest.param(("--backend-options", "fake"), id="an option that begins like ours"),
    ],
)
def test_a_project_with_options_of_its_own_prints_under_torchrun(pytester: pytest.Pytester, arguments: tuple[str, ...]) -> None:
    pytester.makeconftest(
        """
        def pytest_addoption(parser):
            parser.addoption("--backend", default="gloo")
            parser.addoption("--backend-options")
        """
    )
    pytester.makepyfile("def test_theirs(pytestconfig): assert pytestconfig.getoption('lighteval_backend') is None")

    result = pytester.runpytest_subprocess(*arguments)

    result.assert_outcomes(passed=1)


@pytest.mark.parametrize("arguments", [("--backend", "fake"), ("--backend=fake",), ("--lighteval-backend", "fake")])
def test_an_evaluation_beside_the_first_process_prints_and_writes_nothing(project: pytest.Pytester, arguments: tuple[str, ...]) -> None:
    result = project.runpytest_subprocess("suites", *arguments, "-k", "prose")

    assert result.ret == 0
    assert result.outlines + result.errlines == []
    assert not (project.path / "reports").exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        pytest.param(("--model-args", "fail=[test:0]"), "documents have no answer", id="an item"),
        pytest.param(("--model-args", "accurate=1"), "no argument 'accurate'", id="usage"),
    ],
)
def test_torchrun_is_left_the_first_reason_why_a_silent_process_failed(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], reason: str
) -> None:
    path = project.path / "error.json"
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(path))

    result = project.runpytest_subprocess("suites", "--backend", "fake", *arguments)

    assert (result.ret != 0, result.outlines + result.errlines) == (True, [])
    told = json.loads(path.read_text("utf-8"))["message"]
    assert reason in told["message"]
    assert "\n" not in told["message"]
    assert int(told["extraInfo"]["timestamp"]) > 0


def test_a_silent_process_that_passes_leaves_no_word(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    path = project.path / "error.json"
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(path))

    project.runpytest_subprocess("suites", "--backend", "fake", "-k", "prose")

    assert not path.exists()


def test_what_ends_a_silent_session_is_told_before_what_came_first(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    path = project.path / "error.json"
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(path))
    project.makepyfile(
        """
        from pytest_lighteval.errors import BackendLostError

        def test_red(): assert False, "one\\ntwo"
        def test_lost(): raise BackendLostError("CUDA error: the reason")
        def test_later(): assert False
        """
    )

    project.runpytest_subprocess("--backend", "fake")

    told = json.loads(path.read_text("utf-8"))["message"]["message"]
    assert told == "test_what_ends_a_silent_session_is_told_before_what_came_first.py::test_lost: CUDA error: the reason"
