"""Verdicts, reports and exit status are the same for any number of workers."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.plugin.gated import FAKE, properties_of
from tests.plugin.test_gate_fails_closed import ALONE, MISMATCHES
from tests.plugin.test_xdist import without_times

SESSION = ("suites", "--backend", "fake", "--model-args", "accuracy=0.7,lose=0.05", "--baseline", "base.json", "--junitxml=j.xml")


def judged(pytester: pytest.Pytester, *options: str) -> tuple[object, ...]:
    """All that a session says: exit status, outcomes, results, verdict lines, JUnit, and the saved baseline."""
    number = len(list(pytester.path.glob("reports-*")))
    result = pytester.runpytest_subprocess(
        *SESSION, f"--report-dir=reports-{number}", "--waivers", "waivers.yaml", "--save-baseline", f"saved-{number}.json",
        "--baseline-reason", "a test", *options,
    )  # fmt: skip
    (path,) = pytester.path.glob(f"reports-{number}/*/results.json")
    report = json.loads(path.read_text("utf-8"))
    lines = [line for line in result.outlines if line.startswith(("gated|", "pooled: "))]
    cases = ("alone[0-shot]", "many:first[0-shot]", "gated|many:_average|0", "pooled")
    junit = [properties_of(pytester, case) for case in cases if f'name="{case}"' in (pytester.path / "j.xml").read_text()]
    saved = (pytester.path / f"saved-{number}.json").read_text()
    # xdist does not tell what was deselected
    outcomes = {name: count for name, count in result.parseoutcomes().items() if name != "deselected"}
    return result.ret, outcomes, without_times(report), sorted(lines), junit, saved


def test_two_workers_judge_as_one_process_does(pytester: pytest.Pytester, suite: Path) -> None:
    soon = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=30)
    (pytester.path / "waivers.yaml").write_text(f"- {{task: gated|alone, reason: a known bug, until: {soon}, floor: 0.1}}\n")

    alone = judged(pytester)
    together = judged(pytester, "-n", "2")

    assert together == alone
    assert alone[0] == pytest.ExitCode.TESTS_FAILED
    assert alone[1] == {"passed": 3, "failed": 1, "xfailed": 1}


def test_two_workers_share_alpha_among_what_is_selected(pytester: pytest.Pytester, suite: Path) -> None:
    (pytester.path / "waivers.yaml").write_text("")

    assert judged(pytester, "-k", "alone or first", "-n", "2") == judged(pytester, "-k", "alone or first")


def test_two_workers_fail_closed(pytester: pytest.Pytester, suite: Path) -> None:
    suite.write_text(suite.read_text().replace("{name: alone,", "{name: alone, skip: too slow,"))

    result = pytester.runpytest_subprocess(*SESSION, "-n", "2")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["FAILED lighteval::gated|alone|0 - *the baseline promises it, and it was skipped: too slow*"])


@pytest.mark.parametrize(("change", "options", "reason"), [mismatch[:3] for mismatch in MISMATCHES.values()], ids=MISMATCHES)
def test_two_workers_refuse_a_baseline_that_does_not_fit(
    pytester: pytest.Pytester, suite: Path, change: Callable[[Path], None], options: tuple[str, ...], reason: str
) -> None:
    change(suite)

    result = pytester.runpytest_subprocess(*FAKE, *options, *ALONE, "-n", "2")

    assert result.parseoutcomes() == {"errors": 1}
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([f"ERROR *alone[[]0-shot] - *acc: the baseline does not fit: *{reason}*(--gate-allow *"])


def test_two_workers_are_red_where_nothing_is_held_against_the_baseline(pytester: pytest.Pytester, suite: Path) -> None:
    suite.write_text(suite.read_text().replace("suite: gated", "suite: renamed"))

    result = pytester.runpytest_subprocess(*FAKE, *ALONE, "-n", "2")

    assert result.parseoutcomes() == {"passed": 1, "failed": 1}
    result.stdout.fnmatch_lines(["FAILED lighteval::baseline - *nothing in this session is compared with base.json*"])


def test_two_workers_are_red_where_nothing_is_held_to_a_gates_file(pytester: pytest.Pytester, suite: Path) -> None:
    pytester.makefile(".yaml", gates="gated|many: {acc: {min: 0.1}}\n")

    result = pytester.runpytest_subprocess(*FAKE, "-k", "alone", "--gates", "gates.yaml", "-n", "2")

    assert result.parseoutcomes() == {"passed": 1, "failed": 1}
    result.stdout.fnmatch_lines(["FAILED lighteval::gates - *no task of this session has any of its gates*"])


def test_two_workers_find_a_superset_red_whose_tasks_err(pytester: pytest.Pytester, suite: Path) -> None:
    failing = ("suites", "--backend", "fake", "--model-args", "accuracy=0.7,fail=[test:3]", "--baseline", "base.json", "-k", "many")

    result = pytester.runpytest_subprocess(*failing, "-n", "2")

    assert result.parseoutcomes() == {"errors": 3, "failed": 1}
    result.stdout.fnmatch_lines(
        ["FAILED *gated|many:_average|0 - acc: not compared: 3 of its 3 tasks have no score: gated|many:first|0, *"]
    )


def test_two_workers_do_not_start_without_their_baseline(pytester: pytest.Pytester, suite: Path) -> None:
    result = pytester.runpytest_subprocess(*SESSION, "--baseline", "new.json", "-n", "2")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --baseline *new.json: there is no such file; *"])


def test_last_failed_judges_what_failed_and_the_members_of_a_failed_pool(pytester: pytest.Pytester, suite: Path) -> None:
    pytester.makefile(".yaml", gates="gated|many:first: {acc: {max_drop: 0.5}}\n")
    both = (*SESSION, "--gates", "gates.yaml", "-k", "alone or first", "-n", "2")

    first = pytester.runpytest_subprocess(*both)
    again = pytester.runpytest_subprocess(*both, "--lf")

    first.assert_outcomes(passed=1, failed=2)  # one of them, and both together
    again.assert_outcomes(passed=1, failed=2)  # the pooled test needs both again


@pytest.mark.parametrize("named", ["gated.yaml", "--custom-tasks=../suites"], ids=["file", "folder"])
def test_two_workers_judge_suites_outside_the_rootdir(
    pytester: pytest.Pytester, suite: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    """The controller knows their tasks by what pytest calls them, and outside the rootdir that is not their path."""
    (pytester.path / "elsewhere").mkdir()
    (pytester.path / "elsewhere" / "pytest.ini").write_text("[pytest]\n")
    monkeypatch.chdir(suite.parent if named == "gated.yaml" else pytester.path / "elsewhere")

    result = pytester.runpytest_subprocess(
        named, "-c", str(pytester.path / "elsewhere" / "pytest.ini"), *SESSION[1:5], f"--baseline={pytester.path / 'base.json'}",
        "-k", "alone", "-n", "2",
    )  # fmt: skip

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["gated|alone|0: acc *REGRESSED (allowed 2.0)"])


def test_groups_of_xdist_do_not_hide_which_task_an_item_is(pytester: pytest.Pytester, suite: Path) -> None:
    pytester.makeconftest("""
import pytest

@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.xdist_group("one"))
""")

    result = pytester.runpytest(*FAKE, "--baseline", "base.json", "-n", "2", "--dist", "loadgroup")

    result.assert_outcomes(passed=6)
    result.stdout.no_fnmatch_line("*that were not collected when the gates were planned*")
