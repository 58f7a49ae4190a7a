"""`--save-baseline` writes what the next run is compared with: whole runs only, atomically, and nothing lower without a reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_lighteval.baselines.read import read_baseline
from pytest_lighteval.types import TaskKey
from tests.plugin.gated import FAKE, LOSING, measured

FIRST = TaskKey(suite="gated", task="many:first", few_shots=0)
ONE = ("-k", "first")


def test_what_is_saved_passes_its_own_gate_and_says_what_measured_it(pytester: pytest.Pytester, suite: Path) -> None:
    saved = pytester.runpytest(*FAKE, "--save-baseline", "new.json", *ONE)
    again = pytester.runpytest(*FAKE, "--save-baseline", "again.json", *ONE)
    held = pytester.runpytest(*FAKE, "--baseline", "new.json", *ONE)

    saved.assert_outcomes(passed=1)
    saved.stdout.fnmatch_lines(["baseline: *new.json (1 new)"])
    again.assert_outcomes(passed=1)
    held.assert_outcomes(passed=1)
    held.stdout.fnmatch_lines(["gated|many:first|0: acc * PASSED (allowed 2.0)"])
    text = (pytester.path / "new.json").read_text()
    assert text == (pytester.path / "again.json").read_text()
    assert str(pytester.path) not in text
    task = read_baseline(pytester.path / "new.json").tasks[FIRST]
    assert (task.documents, task.repeats, task.version) == (200, 1, 0)
    (source,) = task.provenance
    assert source.backend == "fake"
    assert source.model_fingerprint
    assert source.packages["pytest-lighteval"]
    assert source.hardware["platform"]
    assert source.settings["few_shot_seeds"] == 1


def test_a_lower_score_is_saved_only_with_a_reason_which_is_kept(pytester: pytest.Pytester, suite: Path) -> None:
    before = (pytester.path / "base.json").read_text()

    refused = pytester.runpytest(*LOSING, "--save-baseline", "base.json", *ONE)
    untouched = (pytester.path / "base.json").read_text()
    accepted = pytester.runpytest(*LOSING, "--save-baseline", "base.json", *ONE, "--baseline-reason", "int4 weights")

    refused.assert_outcomes(passed=1, failed=1)
    refused.stdout.fnmatch_lines(
        ["FAILED lighteval::save-baseline - *would change what the file demands: gated|many:first|0: acc 0.* -> 0.* (p = *, two-sided)*"]
    )
    assert untouched == before
    accepted.assert_outcomes(passed=1)
    accepted.stdout.fnmatch_lines(["baseline: *base.json (1 measured again, 3 kept)", "baseline: accepted: gated|many:first|0: acc 0.*"])
    (entry,) = json.loads((pytester.path / "base.json").read_text())["history"]
    assert entry["reason"] == "int4 weights"
    assert list(entry["changed"]["gated|many:first|0"]) == ["acc", "acc_norm"]


def test_a_higher_score_needs_a_reason_too_and_chance_needs_none(pytester: pytest.Pytester, suite: Path) -> None:
    pytester.runpytest(*LOSING, "--save-baseline", "low.json", *ONE).assert_outcomes(passed=1)
    noisy = ("suites", "--backend", "fake", "--model-args")

    better = pytester.runpytest(*FAKE, "--save-baseline", "low.json", *ONE)
    first = pytester.runpytest(*noisy, "accuracy=0.7,noise=0.1,run=1", "--save-baseline", "noisy.json", *ONE)
    again = pytester.runpytest(*noisy, "accuracy=0.7,noise=0.1,run=2", "--save-baseline", "noisy.json", *ONE)

    better.assert_outcomes(passed=1, failed=1)
    better.stdout.fnmatch_lines(["FAILED lighteval::save-baseline - *would change what the file demands: gated|many:first|0: acc *"])
    first.assert_outcomes(passed=1)
    again.assert_outcomes(passed=1)
    again.stdout.fnmatch_lines(["baseline: *noisy.json (1 measured again)"])
    assert read_baseline(pytester.path / "noisy.json").history == ()


KNOWING = """
import os
import pytest
from pytest_lighteval.backends.fake import FakeBackend

class Engine(FakeBackend):
    fingerprint = "one model"

@pytest.fixture(scope="session")
def lighteval_backend():
    yield Engine(accuracy=0.7, lose=float(os.environ.get("LOSE", "0")))
"""
REMEMBERED = KNOWING.replace('"one model"', '"one model"\n    cacheable = True\n    learn = None')
"""What it is asked does not tell it the right answer, so its answers may be kept."""


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "two workers"])
def test_remembered_answers_are_not_merged(
    pytester: pytest.Pytester, suite: Path, monkeypatch: pytest.MonkeyPatch, workers: tuple[str, ...]
) -> None:
    monkeypatch.setenv("LIGHTEVAL_CACHE", str(pytester.path / "cache"))
    pytester.makeconftest(REMEMBERED)
    merging = ("suites", "--save-baseline", "merged.json", "--baseline-merge", "-k", "first or alone")

    pytester.runpytest(*merging).assert_outcomes(passed=2)
    remembered = pytester.runpytest(*merging, *workers)
    pytester.runpytest(*merging, "--no-cache").assert_outcomes(passed=2)

    remembered.assert_outcomes(passed=2, failed=1)
    remembered.stdout.fnmatch_lines(
        [
            "FAILED lighteval::save-baseline - *not merged: gated|alone|0: 400 answers came from the cache, and are no new measurement: "
            "--no-cache asks the model, and 1 more*"
        ]
    )
    assert read_baseline(pytester.path / "merged.json").tasks[FIRST].repeats == 2


def test_a_run_that_differs_beyond_chance_is_not_merged(pytester: pytest.Pytester, suite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytester.makeconftest(KNOWING)
    merging = ("suites", "--save-baseline", "merged.json", "--baseline-merge", *ONE)

    pytester.runpytest(*merging).assert_outcomes(passed=1)
    monkeypatch.setenv("LOSE", "0.1")
    worse = pytester.runpytest(*merging)

    worse.assert_outcomes(passed=1, failed=1)
    worse.stdout.fnmatch_lines(["FAILED lighteval::save-baseline - *not merged: gated|many:first|0: acc 0.7700 -> 0.6900 (p = *"])
    assert read_baseline(pytester.path / "merged.json").tasks[FIRST].repeats == 1


def test_a_run_that_is_not_complete_is_not_saved(pytester: pytest.Pytester, suite: Path) -> None:
    result = pytester.runpytest("suites", "--backend", "fake", "--model-args", "fail=[test:150]", "--save-baseline", "new.json")
    stopped = pytester.runpytest("suites", "--backend", "fake", "--model-args", "fail=[test:150]", "--save-baseline", "new.json", "-x")

    result.stdout.fnmatch_lines(["FAILED lighteval::save-baseline - *not written, as the run is not complete: no score of gated|alone|0*"])
    stopped.stdout.fnmatch_lines(["--save-baseline *new.json: nothing was written*"])
    assert not (pytester.path / "new.json").exists()


def test_a_folder_has_one_file_a_task_and_is_picked_from_by_task(pytester: pytest.Pytester, suite: Path) -> None:
    pytester.runpytest(*FAKE, "--save-baseline", "kept/", "-k", "first or alone").assert_outcomes(passed=2)
    files = sorted(path.name for path in (pytester.path / "kept").iterdir())

    held = pytester.runpytest(*LOSING, "--baseline", "kept", *ONE)

    assert files == ["gated.alone.0-shot.json", "gated.many.first.0-shot.json"]
    held.assert_outcomes(failed=1)


def test_a_folder_is_refreshed_in_the_file_that_holds_the_task(pytester: pytest.Pytester, suite: Path) -> None:
    (pytester.path / "kept").mkdir()
    (pytester.path / "base.json").rename(pytester.path / "kept" / "all.json")

    pytester.runpytest(*FAKE, "--save-baseline", "kept", *ONE).assert_outcomes(passed=1)

    assert [path.name for path in (pytester.path / "kept").iterdir()] == ["all.json"]


def test_the_first_baseline_that_holds_a_task_is_asked(pytester: pytest.Pytester, suite: Path) -> None:
    pytester.runpytest(*LOSING, "--save-baseline", "lower.json", *ONE).assert_outcomes(passed=1)

    lower_first = pytester.runpytest(*LOSING, "--baseline", "lower.json", "--baseline", "base.json", "-k", "first or alone")

    lower_first.assert_outcomes(passed=1, failed=2)  # `alone` is in the second only, and what it lost is too much for both together
    lower_first.stdout.fnmatch_lines(["gated|many:first|0: acc *PASSED*"])


def test_paths_of_the_ini_file_lie_beside_it(pytester: pytest.Pytester, suite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytester.makeini("[pytest]\nlighteval_baseline = base.json\nlighteval_save_baseline = kept/\n")
    (pytester.path / "below").mkdir()
    monkeypatch.chdir(pytester.path / "below")

    result = pytester.runpytest("../suites", *FAKE[1:], *ONE)

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["lighteval: backend fake, against ../base.json", "gated|many:first|0: acc *PASSED*"])
    assert (pytester.path / "kept" / "gated.many.first.0-shot.json").is_file()


def test_several_runs_are_merged_into_repeats(pytester: pytest.Pytester, suite: Path) -> None:
    for _ in range(2):
        pytester.runpytest(*FAKE, "--save-baseline", "twice.json", "--baseline-merge", *ONE).assert_outcomes(passed=1)
    other = pytester.runpytest(*LOSING, "--save-baseline", "twice.json", "--baseline-merge", *ONE)

    assert read_baseline(pytester.path / "twice.json").tasks[FIRST].repeats == 2
    other.stdout.fnmatch_lines(
        ["FAILED lighteval::save-baseline - *gated|many:first|0: run 2 is no repeat of run 1: it is of another model"]
    )


def test_a_task_in_two_files_of_a_folder_is_told_before_anything_is_evaluated(pytester: pytest.Pytester, suite: Path) -> None:
    (pytester.path / "kept").mkdir()
    for name in ("a", "b"):
        measured_file = pytester.path / "kept" / f"{name}.json"
        measured_file.write_text((pytester.path / "base.json").read_text())

    result = pytester.runpytest(*FAKE, "--baseline", "kept")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: --baseline *kept: gated|alone|0 is in *a.json and *b.json; name one of them instead of the folder"]
    )


def test_a_damaged_file_is_told_before_anything_is_evaluated(pytester: pytest.Pytester, suite: Path) -> None:
    (pytester.path / "base.json").write_text("{}")

    result = pytester.runpytest(*FAKE, "--save-baseline", "base.json")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *base.json: *"])


def test_the_helper_of_these_tests_measures_what_a_session_saves(pytester: pytest.Pytester, suite: Path) -> None:
    from pytest_lighteval.backends.fake import FakeBackend

    measured(suite, pytester.path / "helper.json", FakeBackend(accuracy=0.7), only=["many:first"])
    pytester.runpytest(*FAKE, "--save-baseline", "session.json", *ONE)

    (helper, session) = (read_baseline(pytester.path / name).tasks[FIRST] for name in ("helper.json", "session.json"))
    assert (helper.scores, helper.prompt_digests, helper.ids) == (session.scores, session.prompt_digests, session.ids)


def test_an_interrupted_session_says_why_nothing_was_written(pytester: pytest.Pytester, suite: Path) -> None:
    pytester.makeconftest(
        """
        import pytest

        def pytest_runtest_setup(item):
            if "many:second" in item.name:
                raise KeyboardInterrupt
        """
    )

    result = pytester.runpytest_subprocess(*FAKE, "--save-baseline", "new.json")

    assert result.ret == pytest.ExitCode.INTERRUPTED
    said = f"--save-baseline {pytester.path / 'new.json'}: nothing was written: the session ended early, and 2 of 4 tasks have no score"
    result.stdout.fnmatch_lines([said])
    assert not (pytester.path / "new.json").exists()


def test_a_session_that_is_interrupted_before_its_first_score_says_it_too(pytester: pytest.Pytester, suite: Path) -> None:
    pytester.makeconftest("def pytest_runtest_setup(item): raise KeyboardInterrupt")

    result = pytester.runpytest_subprocess(*FAKE, "--save-baseline", "new.json")

    result.stdout.fnmatch_lines(["--save-baseline *new.json: nothing was written: the session ended early, and 4 of 4 tasks have no score"])
