"""Processes of torchrun beside the first say nothing where this plugin evaluates something, and speak in everybody else's projects."""

from __future__ import annotations

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
