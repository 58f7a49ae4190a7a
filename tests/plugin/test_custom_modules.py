"""Tasks of a Python module are items like any other: selected, spread over workers, compared, stored and judged again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.guests.lighteval.samples import NEWER
from tests.plugin.test_xdist import without_times

ROWS = [{"question": f"What is {number} and {number}?", "answer": str(2 * number)} for number in range(60)]


@pytest.fixture
def module(pytester: pytest.Pytester) -> Path:
    path = pytester.path / "my_tasks.py"
    path.write_text(
        NEWER.replace(
            "TASKS_TABLE = [capitals]", 'TASKS_TABLE = [capitals]\nTASKS_GROUPS = {"all": "custom|capitals|0|0,custom|capitals|1|0"}'
        )
    )
    (pytester.path / "capitals.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def results(folder: Path) -> list[Any]:
    return [without_times(json.loads(path.read_text())) for path in sorted(folder.glob("reports/*/results.json"))]


def test_a_module_runs_in_a_worker_as_in_one_process_and_is_gated(pytester: pytest.Pytester, module: Path, tmp_path: Path) -> None:
    options = ("-p", "no:cacheprovider", "--backend", "fake", "--gate-allow", "blind", "--tasks", "all")
    outside = tmp_path / "elsewhere" / "my_tasks.py"  # of the rootdir: pytest has no path for its tasks
    outside.parent.mkdir()
    outside.write_text(module.read_text())

    alone = pytester.runpytest_inprocess(*options, "--custom-tasks", "my_tasks.py", "--save-baseline", "base.json")
    spread = pytester.runpytest_subprocess(*options, f"--custom-tasks={outside}", "--baseline", "base.json", "-n", "1", "-v")

    alone.assert_outcomes(passed=2)
    spread.assert_outcomes(passed=3)  # the pooled test is the third
    spread.stdout.fnmatch_lines_random(["*PASSED*::capitals[[]0-shot]*", "*PASSED*::capitals[[]1-shot]*"])
    one, two = results(pytester.path)
    assert one["results"] == two["results"]
    assert set(one["results"]["custom|capitals|1"]) >= {"em", "pass@k:k=1&n=2", "words", "right"}
    runs = [path.parent for path in sorted(pytester.path.glob("reports/*/results.json"))]
    details = [sorted(str(file.relative_to(run)) for file in run.glob("details/**/*.jsonl")) for run in runs]
    assert details[0] == details[1] == ["details/custom/capitals.0-shot.jsonl", "details/custom/capitals.1-shot.jsonl"]


def test_a_stored_run_is_compared_without_the_module(pytester: pytest.Pytester, module: Path) -> None:
    from pytest_lighteval.commands.main import main

    options = ("-p", "no:cacheprovider", "--custom-tasks", "my_tasks.py", "--backend", "fake", "-k", "1-shot")
    for _ in range(2):
        pytester.runpytest_inprocess(*options).assert_outcomes(passed=1)
    module.unlink()

    runs = sorted(str(path) for path in pytester.path.glob("reports/*") if path.is_dir())

    assert main(["compare", *runs]) == 0


def test_modules_are_told_apart_from_tests_and_wrong_ones_at_their_line(pytester: pytest.Pytester, module: Path) -> None:
    module.write_text(module.read_text().replace("Metrics.exact_match,", "Metrics.exact_mach,"))
    options = ("-p", "no:cacheprovider", "--backend", "fake")

    collected = pytester.runpytest_inprocess(*options, "--custom-tasks", "my_tasks.py")
    named = pytester.runpytest_inprocess(*options, "--custom-tasks", "my_tasks.py", "--tasks", "all")
    missing = pytester.runpytest_inprocess(*options, "--custom-tasks", "no_tasks.py")
    shipped = pytester.runpytest_inprocess(*options, "--custom-tasks", "lighteval.tasks.multilingual.tasks", "--tasks", "demo|x|0|0")

    collected.assert_outcomes(errors=1)
    collected.stdout.fnmatch_lines([f"{module}:*: AttributeError: Metrics has no 'exact_mach' (did you mean 'exact_match'*"])
    named.stderr.fnmatch_lines([f"ERROR: {module}:*: AttributeError: Metrics has no 'exact_mach' (did you mean 'exact_match'*"])
    missing.stderr.fnmatch_lines(["ERROR: --custom-tasks no_tasks.py: no such file"])
    shipped.stderr.fnmatch_lines(["ERROR: --tasks: suite 'demo' has no task 'x'*"])


def test_a_newer_spec_is_answered_with_the_modules_own(pytester: pytest.Pytester, module: Path) -> None:
    result = pytester.runpytest_inprocess("--backend", "fake", "--custom-tasks", "my_tasks.py", "--tasks", "capitals|3")

    result.stderr.fnmatch_lines(["ERROR: --tasks: 'capitals|3': the suite is missing (did you mean 'custom|capitals|3|0'?)"])


def test_the_linter_checks_a_modules_tasks(pytester: pytest.Pytester, module: Path) -> None:
    result = pytester.runpytest_inprocess("--custom-tasks", "my_tasks.py", "--check-tasks")

    result.assert_outcomes(passed=1)
