"""A gate whose task vanished from its suite: red, unless the session selects among the tasks or the user allows it by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.plugin.gated import FAKE

BASELINE = ("--baseline", "base.json")


def without_alone(suite: Path) -> None:
    lines = [line for line in suite.read_text().splitlines() if "name: alone" not in line]
    suite.write_text("\n".join(lines) + "\n")


def test_a_removed_task_is_red_and_can_be_allowed_by_name(pytester: pytest.Pytester, suite: Path) -> None:
    without_alone(suite)

    refused = pytester.runpytest(*FAKE, *BASELINE, "--junitxml=j.xml")
    allowed = pytester.runpytest(*FAKE, *BASELINE, "--gate-allow", "missing")

    problem = "the baseline holds it, and its suite does not declare it any more"
    why = f"gated|alone|0: {problem}"
    assert refused.ret == pytest.ExitCode.TESTS_FAILED
    refused.stdout.fnmatch_lines([f"FAILED lighteval::gated|alone|0 - *{problem} (--gate-allow missing)"])
    assert problem in (pytester.path / "j.xml").read_text()
    assert allowed.ret == pytest.ExitCode.OK
    allowed.stdout.fnmatch_lines([why])


def test_a_renamed_task_is_new_and_its_old_name_is_red(pytester: pytest.Pytester, suite: Path) -> None:
    suite.write_text(suite.read_text().replace("name: alone,", "name: lonely,"))

    result = pytester.runpytest_subprocess(*FAKE, *BASELINE, "-n", "2")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*gated|lonely|0*NEW*", "FAILED lighteval::gated|alone|0 - *does not declare it any more*"])


@pytest.mark.parametrize(
    "selection",
    [("-k", "many"), ("--max-samples", "100"), ("suites/gated/gated.yaml::many:first[0-shot]",)],
    ids=["keyword", "max-samples", "node-id"],
)
def test_a_selection_misses_no_task(pytester: pytest.Pytester, suite: Path, selection: tuple[str, ...]) -> None:
    without_alone(suite)
    paths = () if "::" in selection[0] else ("suites",)

    result = pytester.runpytest(*paths, *FAKE[1:], *selection, *BASELINE)

    assert result.ret == pytest.ExitCode.OK
    result.stdout.no_fnmatch_line("*does not declare it any more*")
    result.stdout.fnmatch_lines(["not judged whether they vanished from their suite (* select*): gated|alone|0"])


@pytest.mark.parametrize("option", ["-x", "--maxfail=50", "--lf", "--ff", "--sw"])
def test_an_option_that_left_nothing_out_is_no_selection(pytester: pytest.Pytester, suite: Path, option: str) -> None:
    without_alone(suite)

    results = [pytester.runpytest(*FAKE, *BASELINE, option) for _ in range(2)]

    for result in results:
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.stdout.fnmatch_lines(["FAILED lighteval::gated|alone|0 - *does not declare it any more*"])


def test_a_part_of_a_suites_files_is_a_selection_too(pytester: pytest.Pytester, suite: Path) -> None:
    tasks = suite.read_text().splitlines()
    (suite.parent / "other.yaml").write_text("\n".join(line for line in tasks if 'name: "many' not in line) + "\n")
    without_alone(suite)

    result = pytester.runpytest("suites/gated/gated.yaml", *FAKE[1:], *BASELINE)

    assert result.ret == pytest.ExitCode.OK


def test_an_open_missing_task_ends_when_its_suite_declares_it_again(pytester: pytest.Pytester, suite: Path) -> None:
    whole = suite.read_text()
    without_alone(suite)
    pytester.runpytest(*FAKE, *BASELINE)
    suite.write_text(whole)

    assert pytester.runpytest(*FAKE, *BASELINE, "--lf").ret == pytest.ExitCode.OK


def test_an_open_missing_task_of_another_path_is_not_judged_and_stays_open(pytester: pytest.Pytester, suite: Path) -> None:
    other = pytester.path / "suites" / "other"
    other.mkdir()
    for file in suite.parent.iterdir():
        (other / file.name).write_text(file.read_text().replace("suite: gated", "suite: other"))
    without_alone(suite)
    pytester.runpytest("suites", *FAKE[1:], *BASELINE)

    elsewhere = pytester.runpytest("suites/other", *FAKE[1:], *BASELINE, "--lf", "--gate-allow", "ungated")
    again = pytester.runpytest("suites", *FAKE[1:], *BASELINE, "--lf")

    assert elsewhere.ret == pytest.ExitCode.OK
    elsewhere.stdout.no_fnmatch_line("*does not declare it any more*")
    assert again.ret == pytest.ExitCode.TESTS_FAILED
    again.stdout.fnmatch_lines(["FAILED lighteval::gated|alone|0 - *does not declare it any more*"])


def test_a_suite_that_was_not_named_is_told_in_a_line(pytester: pytest.Pytester, suite: Path) -> None:
    base = json.loads((pytester.path / "base.json").read_text())
    base["tasks"]["other|task|0"] = base["tasks"]["gated|alone|0"]
    (pytester.path / "more.json").write_text(json.dumps(base))

    result = pytester.runpytest(*FAKE, "--baseline", "more.json")

    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["not compared, as this session did not name the suites that the baseline also holds: other (1 task)"])


def test_a_complete_baseline_makes_a_new_task_red_and_stays_complete(pytester: pytest.Pytester, suite: Path) -> None:
    base = json.loads((pytester.path / "base.json").read_text())
    del base["tasks"]["gated|alone|0"]
    (pytester.path / "base.json").write_text(json.dumps({**base, "complete": True}))

    result = pytester.runpytest(*FAKE, *BASELINE, "-k", "alone or first")
    saved = pytester.runpytest(*FAKE, "--save-baseline", "base.json", "-k", "alone")

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["FAILED *alone[[]0-shot] - *acc 0.*NEW (not in the baseline, which is complete: --save-baseline adds it)"])
    assert saved.ret == pytest.ExitCode.OK
    assert json.loads((pytester.path / "base.json").read_text())["complete"] is True


def test_a_task_of_the_pinned_baseline_alone_is_missed_too(pytester: pytest.Pytester, suite: Path) -> None:
    without_alone(suite)
    content = json.loads((pytester.path / "base.json").read_text())
    (pytester.path / "pinned.json").write_text(json.dumps(content))
    del content["tasks"]["gated|alone|0"]
    (pytester.path / "base.json").write_text(json.dumps(content))

    result = pytester.runpytest(*FAKE, *BASELINE, "--baseline-pinned", "pinned.json")

    result.stdout.fnmatch_lines(["FAILED lighteval::gated|alone|0 - *the baseline holds it, and its suite does not declare it any more*"])
