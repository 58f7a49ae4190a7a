"""How far a session is, in a line that pytest's own output survives."""

from __future__ import annotations

import logging
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_lighteval.asking import Progress
from pytest_lighteval.plugin.pace import Running
from pytest_lighteval.plugin.progress import ItemProgress, shown_records

ENGINE = """
import logging, time
import pytest
from pytest_lighteval.backends.fake import FakeBackend
from pytest_lighteval.plugin import status_line, worker_progress

status_line.TERMINAL_SECONDS = worker_progress.TERMINAL_SECONDS = status_line.PLAIN_SECONDS = 0.0

class Slow(FakeBackend):
    def generate(self, requests):
        logging.getLogger("pytest_lighteval.progress").info("tiny: loading the model")
        for answer in super().generate(requests):
            time.sleep({delay})
            yield answer

@pytest.fixture(scope="session")
def lighteval_backend():
    return Slow(accuracy=1.0)
"""
"""A conftest whose engine says that it loads, and whose progress is shown at once."""


class Shown:
    """A display that remembers."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.evaluations: list[Running] = []
        self.is_due = True

    def running(self, evaluation: Running, position: str) -> None:
        self.evaluations.append(evaluation)

    def doing(self, text: str) -> None:
        self.texts.append(text)

    def end(self, nodeid: str) -> None:
        pass


def test_the_time_that_the_model_took_to_load_is_no_part_of_the_rate() -> None:
    now, shown = [0.0], Shown()
    progress = ItemProgress(shown, "a|b|0", clock=lambda: now[0])
    for done, time in [(0, 0.0), (1, 1000.0), (2, 1040.0), (11, 1100.0), (12, 1110.0)]:
        now[0] = time
        progress(Progress(done=done, total=21, documents=21))

    assert [evaluation.rate for evaluation in shown.evaluations] == [None, None, None, None, 0.1]


def test_backends_say_through_logging_what_takes_long() -> None:
    shown, logger = Shown(), logging.getLogger("pytest_lighteval.progress")
    with shown_records(shown, mask=lambda text: text.replace("secret", "[secret]")):
        logger.info("%s: loading", "secret")
        logger.debug("details")
    logger.info("nobody is there")

    assert shown.texts == ["[secret]: loading"]
    assert not logger.isEnabledFor(logging.INFO)


def test_a_log_gets_plain_lines_and_pytest_goes_on_behind_the_name_of_the_file(project: pytest.Pytester) -> None:
    project.makeconftest(ENGINE.format(delay=0))

    result = project.runpytest_subprocess("suites", "--lighteval-report-dir", "reports", "-k", "words")

    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["[[]1/2] mini|words:short|0: 40/40 documents", "", "suites/mini/mini.yaml .", "tiny: loading the model"])


@pytest.mark.parametrize("arguments", [["-q"], ["-p", "no:capture"], ["-v"], ["-p", "no:terminal", "-n1"]])
def test_quiet_sessions_and_sessions_without_a_terminal_or_capture_run_as_well(project: pytest.Pytester, arguments: list[str]) -> None:
    project.makeconftest(ENGINE.format(delay=0))

    result = project.runpytest_subprocess("suites", "--lighteval-report-dir", "reports", "-k", "words:short", *arguments)

    assert result.ret == pytest.ExitCode.OK
    assert ("loading" in result.stdout.str()) == ("-q" not in arguments and "no:terminal" not in arguments)


def test_several_workers_have_one_line(project: pytest.Pytester) -> None:
    project.makeconftest(ENGINE.format(delay=0.02))

    result = project.runpytest_subprocess("suites", "--lighteval-report-dir", "reports", "-k", "words", "-n2")

    result.assert_outcomes(passed=2)
    lines = [line for line in result.outlines if re.fullmatch(r"\d/2 items, .*", line)]
    assert any("running: " in line for line in lines)
    assert any("tiny: loading the model" in line for line in lines)
    # pytest's own lines are whole
    assert [line for line in result.outlines if "%]" in line]


def on_a_terminal(folder: Path, *arguments: str) -> str:
    """What a session writes to a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"COLUMNS": "80", "TERM": "xterm"}
    command = [sys.executable, "-m", "pytest", "suites", "--lighteval-report-dir=reports", *arguments]
    with subprocess.Popen(command, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        written = b""
        while True:
            try:
                written += os.read(ours, 65536)
            except OSError:  # Linux says so at the end of a terminal
                break
            if not written and process.poll() is not None:
                break
    os.close(ours)
    return written.decode()


@pytest.mark.parametrize("arguments", [[], ["-n1"]], ids=["alone", "xdist"])
def test_on_a_terminal_pytests_own_lines_are_as_without_the_progress(project: pytest.Pytester, arguments: list[str]) -> None:
    project.makeconftest(ENGINE.format(delay=0.02))

    text = on_a_terminal(project.path, "-k", "words", *arguments)

    drawn = r"\x1bD\x1b\[A\x1b7\r\x1b\[B\x1b\[2K([^\x1b]*)\x1b8|\x1b7\r\x1b\[B\x1b\[2K\x1b8"
    shown = [match[1] for match in re.finditer(drawn, text) if match[1]]
    own = re.sub(r"\x1b\[[\d;]*m", "", re.sub(drawn, "", text))
    assert any("documents" in line for line in shown)
    assert any("tiny: loading the model" in line for line in shown)
    assert all(len(line) < 80 for line in shown)
    assert "\x1b" not in own.replace("\x1b[?", "")
    (percent,) = (line.rstrip("\r") for line in own.split("\n") if "[100%]" in line)
    assert len(percent) == 79
