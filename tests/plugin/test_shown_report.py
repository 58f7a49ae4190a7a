"""What a server, a model or an engine wrote reaches the terminal as text, whichever way it takes."""

from __future__ import annotations

import re

import pytest

from tests.plugin.conftest import Results

HOSTILE = "\x1b]0;title\x07\x9b2J\r\n::set-output name=a::b"

ENGINE = f"""
import sys
import warnings
import pytest
from pytest_lighteval.backends.fake import FakeBackend
from pytest_lighteval.errors import BackendError, UnsupportedRequestError

HOSTILE = {HOSTILE!r}

class Hostile(FakeBackend):
    def describe(self):
        return {{**super().describe(), "name": "::" + HOSTILE, "notes": ["a note " + HOSTILE]}}

    def loglikelihood(self, requests):
        if "few" in "MODE":
            raise UnsupportedRequestError("skipped " + HOSTILE)
        print("printed " + HOSTILE)
        sys.stderr.write("logged " + HOSTILE)
        warnings.warn("warned " + HOSTILE)
        raise BackendError("refused " + HOSTILE)
        yield

    def generate(self, requests):
        value = "a local " + HOSTILE
        raise ValueError("raised " + HOSTILE)
        yield

@pytest.fixture(scope="session")
def lighteval_backend():
    return Hostile(accuracy=1.0)
"""


def controls(text: str) -> list[str]:
    """What no line of a log may have: control characters, and commands of GitHub."""
    return re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]|^\s*::.*", text, re.MULTILINE)


def test_errors_output_warnings_and_notes_are_shown_without_control_characters(project: pytest.Pytester, results: Results) -> None:
    project.makeconftest(ENGINE)
    project.makepyfile(test_own="def test_own(lighteval): lighteval.run('mini|choice|0')")

    result = project.runpytest("suites", "test_own.py", "--lighteval-report-dir", "reports", "-rA", "--showlocals", "-Wdefault")

    result.assert_outcomes(passed=1, errors=4, failed=1, warnings=3)
    shown = result.stdout.str()
    assert controls(shown) == []
    for word in ("refused", "raised", "printed", "logged", "warned", "a local"):
        assert rf"{word} \x1b]0;title\x07\x9b2J" in shown
    assert r"\::set-output name=a::b" in shown
    # the file has what came
    assert results()["errors"]["mini|choice|0"] == f"refused {HOSTILE}"


def test_reasons_of_skipped_tasks_are_shown_without_control_characters(project: pytest.Pytester) -> None:
    project.makeconftest(ENGINE.replace("MODE", "few"))

    result = project.runpytest("suites", "-k", "choice", "-rs")

    result.assert_outcomes(skipped=2)
    assert controls(result.stdout.str()) == []
    assert r"skipped \x1b]0;title\x07\x9b2J" in result.stdout.str()


def test_a_test_that_asks_no_model_is_shown_as_pytest_shows_it(project: pytest.Pytester) -> None:
    project.makepyfile(test_other=r"def test_other(): print('\x1b[31mred')")

    result = project.runpytest("test_other.py", "suites", "--backend", "fake", "-k", "other", "-rP")

    assert "\x1b[31mred" in result.stdout.str()


def test_a_suite_file_whose_name_cannot_be_shown_is_one_line(project: pytest.Pytester) -> None:
    suite = project.path / "suites" / "mini" / "mini.yaml"
    suite.rename(suite.with_name("mi\x1bni.yaml"))

    result = project.runpytest("suites", "--backend", "fake")

    result.assert_outcomes(errors=1)
    assert controls(result.stdout.str()) == []
    result.stdout.fnmatch_lines([r"suites/mini/mi\x1bni.yaml: the file's name has characters that cannot be shown: rename it"])


def test_an_error_of_the_options_is_no_command(project: pytest.Pytester) -> None:
    result = project.runpytest("suites", "--backend", "fake", "--model-args", "x\n::set-output name=a::b\x1b=1")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert controls(result.stderr.str()) == []
