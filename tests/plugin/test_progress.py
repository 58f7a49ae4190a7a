"""How far an item is, in a line that pytest's own output survives."""

from __future__ import annotations

import pytest

from pytest_lighteval.evaluate import Progress
from pytest_lighteval.plugin.progress import ProgressLine, progress_text

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
    ("done", "answered", "seconds", "expected"),
    [
        pytest.param(0, 0, 0.0, "a|b|0: 0/1319 requests", id="nothing-yet"),
        pytest.param(1, 0, 0.0, "a|b|0: 1/1319 requests", id="the first answer, however long the model took to load"),
        pytest.param(33, 32, 0.01, "a|b|0: 33/1319 requests", id="the rest of the first batch"),
        pytest.param(3, 2, 600.0, "a|b|0: 3/1319 requests", id="too few answers"),
        pytest.param(120, 119, 29.75, "a|b|0: 120/1319 requests, 4/s, 5:00 left", id="minutes"),
        pytest.param(4, 3, 300.0, "a|b|0: 4/1319 requests, 0.01/s, 36:31:40 left", id="hours"),
        pytest.param(1319, 1318, 59.9, "a|b|0: 1319/1319 requests, 22/s, 0:00 left", id="done"),
    ],
)
def test_the_line_estimates_only_where_there_is_enough_to_estimate_from(done: int, answered: int, seconds: float, expected: str) -> None:
    assert progress_text("a|b|0", Progress(done=done, total=1319), answered=answered, seconds=seconds) == expected


def test_the_rate_does_not_count_the_time_that_the_model_took_to_load(project: pytest.Pytester) -> None:
    now = [0.0]
    lines: list[str] = []

    class Terminal:
        isatty = False

        def ensure_newline(self) -> None:
            pass

        def write_line(self, line: str) -> None:
            lines.append(line)

    config = project.parseconfig("-p", "no:terminal", "-p", "no:capture")
    config.pluginmanager.register(Terminal(), "terminalreporter")
    line = ProgressLine(config, "a.yaml::b[0-shot]", "a|b|0", clock=lambda: now[0])
    for done, time in [(0, 0.0), (1, 1000.0), (2, 1040.0), (11, 1100.0)]:
        now[0] = time
        line(Progress(done=done, total=21))

    assert lines == ["a|b|0: 1/21 requests", "a|b|0: 2/21 requests", "a|b|0: 11/21 requests, 0.1/s, 1:40 left"]


def test_a_log_gets_plain_lines(project: pytest.Pytester) -> None:
    project.makeconftest(SLOW)

    result = project.runpytest_subprocess("suites", "--lighteval-report-dir", "reports", "-k", "words:short")

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["mini|words:short|0: 40/40 requests"])


def test_quiet_sessions_and_sessions_without_a_terminal_or_capture_run_as_well(project: pytest.Pytester) -> None:
    project.makeconftest(SLOW)

    for arguments in (["-q"], ["-p", "no:terminal"], ["-p", "no:capture"], ["-s"]):
        result = project.runpytest_subprocess("suites", "--lighteval-report-dir", "reports", "-k", "words:short", *arguments)
        assert result.ret == pytest.ExitCode.OK
