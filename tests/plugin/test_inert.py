"""In a project that evaluates nothing the plugin does nothing, and it never fights over a name."""

from __future__ import annotations

import sys

import pytest


def test_an_unrelated_session_prints_makes_and_imports_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_plain():
            core = sorted(name for name in sys.modules if name.startswith("pytest_lighteval") and ".plugin" not in name)
            assert core == ["pytest_lighteval", "pytest_lighteval.tasks"]
            assert not {"numpy", "msgspec", "yaml", "jinja2"} & set(sys.modules)
        """
    )
    pytester.mkdir("suites").joinpath("compose.yaml").write_text("services: {}\n")
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--strict-markers", "--strict-config", "-p", "no:xdist")

    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*lighteval:*")
    assert not (pytester.path / "reports").exists()


@pytest.mark.parametrize("workers", [pytest.param([], id="one-process"), pytest.param(["-n", "2"], id="xdist")])
def test_a_conftest_keeps_its_own_backend_option(pytester: pytest.Pytester, workers: list[str]) -> None:
    pytester.makeconftest(
        """
        def pytest_addoption(parser):
            parser.addoption("--backend", choices=["sqlite", "postgres"], default="sqlite")
            parser.addoption("--tasks", action="store_true")
        """
    )
    pytester.makepyfile(
        """
        def test_theirs(pytestconfig):
            assert pytestconfig.getoption("--backend") == "postgres"
            assert pytestconfig.getoption("tasks") is True
            assert pytestconfig.getoption("lighteval_backend") is None
        """
    )

    result = pytester.runpytest_subprocess("--backend", "postgres", "--tasks", *workers)

    result.assert_outcomes(passed=1)


def test_the_prefixed_options_work_beside_a_conftest_that_owns_the_short_ones(project: pytest.Pytester) -> None:
    project.makeconftest("def pytest_addoption(parser): parser.addoption('--backend')")

    result = project.runpytest("suites", "--backend", "theirs", "--lighteval-backend", "fake", "-k", "prose")

    result.assert_outcomes(passed=1)


def test_the_plugin_is_cheap_to_have() -> None:
    """What every pytest run imports is pytest's own plus this package's table of options."""
    import subprocess

    code = (
        "import pytest, sys; before = set(sys.modules); import pytest_lighteval.plugin; "
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)))"
    )

    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert output.split() == ["pytest_lighteval"]
