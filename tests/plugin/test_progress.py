"""How far an item is, in a line that pytest's own output survives."""

from __future__ import annotations

import pytest

from pytest_lighteval.evaluate import Progress
from pytest_lighteval.plugin.progress import progress_text

SLOW = """
import time
import pytest
from pytest_lighteval.backends.fake import FakeBackend
from pytest_lighteval.plugin import progress

progress.TERMINAL_SECONDS = progress.PLAIN_SECONDS = 0.0

@pytest.fixture(scope="session")
def lighteval_backend():
    return FakeBackend(accuracy=1.0)
"""


@pytest.mark.parametrize(
    ("done", "seconds", "expected"),
    [
        pytest.param(0, 0.0, "a|b|0: 0/1319 requests", id="nothing-yet"),
        pytest.param(120, 30.0, "a|b|0: 120/1319 requests, 4/s, 5:00 left", id="minutes"),
        pytest.param(1, 100.0, "a|b|0: 1/1319 requests, 0.01/s, 36:36:40 left", id="hours"),
        pytest.param(1319, 60.0, "a|b|0: 1319/1319 requests, 22/s, 0:00 left", id="done"),
    ],
)
def test_the_line_says_how_many_how_fast_and_how_long(done: int, seconds: float, expected: str) -> None:
    assert progress_text("a|b|0", Progress(done=done, total=1319), seconds) == expected


def test_a_log_gets_plain_lines(project: pytest.Pytester) -> None:
    project.makeconftest(SLOW)

    result = project.runpytest_subprocess("suites", "--lighteval-report-dir", "reports", "-k", "words:short")

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["mini|words:short|0: 40/40 requests, */s, 0:00 left"])


def test_quiet_sessions_and_sessions_without_a_terminal_or_capture_run_as_well(project: pytest.Pytester) -> None:
    project.makeconftest(SLOW)

    for arguments in (["-q"], ["-p", "no:terminal"], ["-p", "no:capture"], ["-s"]):
        result = project.runpytest_subprocess("suites", "--lighteval-report-dir", "reports", "-k", "words:short", *arguments)
        assert result.ret == pytest.ExitCode.OK
