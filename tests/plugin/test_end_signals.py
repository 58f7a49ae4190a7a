"""A session that is ended by a signal keeps what was measured, and says by its exit status what ended it."""

from __future__ import annotations

import signal
import xml.etree.ElementTree as ElementTree

import pytest

from tests.plugin.conftest import Results

ENGINE = """
import os
import signal
import time
import pytest
from pytest_lighteval.backends.fake import FakeBackend

class Ended(FakeBackend):
    def generate(self, requests):
        os.kill(PROCESS, signal.SIGTERM)
        time.sleep(60)
        yield

@pytest.fixture(scope="session")
def lighteval_backend():
    yield Ended(accuracy=1.0)
    print("the engine is closed")
"""


def test_sigterm_keeps_what_was_measured_and_is_the_exit_status(project: pytest.Pytester, results: Results) -> None:
    project.makeconftest(ENGINE.replace("PROCESS", "os.getpid()"))

    result = project.runpytest_subprocess("suites", "--lighteval-report-dir", "reports", "--junitxml=j.xml", "-s")

    assert result.ret == 128 + signal.SIGTERM
    report = results()
    assert (report["run"]["exit_status"], report["errors"]) == ("interrupted", {})
    assert sorted(report["results"]) == ["all", "mini|choice|0", "mini|choice|2"]
    assert len(ElementTree.parse(project.path / "j.xml").findall(".//testcase")) >= 2
    result.stdout.fnmatch_lines(
        ["*the engine is closed*", "mini|choice|0 * acc *", "SIGTERM: the session has what was measured until then"]
    )
    assert "Traceback" not in result.stdout.str() + result.stderr.str()


def test_sigterm_of_the_controller_keeps_what_workers_measured(project: pytest.Pytester, results: Results) -> None:
    project.makeconftest(ENGINE.replace("PROCESS", "os.getppid()").replace("(accuracy=1.0)", "(accuracy=0.9)"))

    result = project.runpytest_subprocess("suites", "--lighteval-report-dir", "reports", "-n", "1", "-k", "choice or short")

    assert result.ret == 128 + signal.SIGTERM
    assert sorted(results()["results"]) == ["all", "mini|choice|0", "mini|choice|2"]
    assert "Traceback" not in result.stdout.str() + result.stderr.str()


def test_signals_wait_until_the_report_is_written(project: pytest.Pytester, results: Results) -> None:
    project.makeconftest(
        """
        import os
        import signal
        import pytest_lighteval.plugin.reporter as reporter

        write = reporter.write_run

        def interrupted(*arguments, **options):
            for _ in range(3):
                os.kill(os.getpid(), signal.SIGINT)
            write(*arguments, **options)
            os.kill(os.getpid(), signal.SIGTERM)

        reporter.write_run = interrupted
        """
    )

    result = project.runpytest_subprocess("suites", "--backend", "fake", "-k", "prose", "--junitxml=j.xml")

    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert results()["run"]["exit_status"] == "ok"
    assert (project.path / "j.xml").is_file()
    result.stdout.fnmatch_lines(["results: *", "*1 passed*"])
    assert "Traceback" not in result.stdout.str() + result.stderr.str()


def test_a_status_that_somebody_chose_is_in_the_report(project: pytest.Pytester, results: Results) -> None:
    project.makepyfile(test_end="import pytest\ndef test_end(): pytest.exit('enough', returncode=42)")

    result = project.runpytest("suites/mini/mini.yaml", "test_end.py", "--backend", "fake")

    assert (int(result.ret), results()["run"]["exit_status"]) == (42, "42")


def test_a_handler_of_somebody_else_stays_and_ours_goes_with_the_session(project: pytest.Pytester) -> None:
    def handler(number: int, frame: object) -> None:
        """Somebody's."""

    before = signal.signal(signal.SIGTERM, handler)
    try:
        project.runpytest_inprocess("suites", "--backend", "fake", "-k", "prose").assert_outcomes(passed=1)
        assert signal.getsignal(signal.SIGTERM) is handler
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        project.runpytest_inprocess("suites", "--backend", "fake", "-k", "prose").assert_outcomes(passed=1)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)
