"""A lost score is a failure, a broken engine is an error, and what was measured is kept either way."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import pytest

from tests.plugin.conftest import Results
from tests.reports.page.pages import blocks


def with_gate(project: pytest.Pytester, gate: str) -> None:
    path = project.path / "suites" / "mini" / "mini.yaml"
    path.write_text(path.read_text().replace("few_shots: [0, 2]", f"few_shots: [0, 2]\n    gates: {gate}"))


def test_a_score_under_its_floor_fails_with_one_line(project: pytest.Pytester, results: Results) -> None:
    with_gate(project, "{acc: {min: 0.9}}")

    result = project.runpytest("suites", "--backend", "fake", "--model-args", "accuracy=0.5", "-k", "choice and 0-shot", "--no-html")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["FAILED suites/mini/mini.yaml::choice[[]0-shot] - *acc 0.* is below the floor 0.9* (n = 40)"])
    result.stdout.no_fnmatch_line("*Traceback*")
    assert not [*project.path.glob("reports/*/report.html")]
    result.stdout.no_fnmatch_line("page: *")
    (verdict,) = results()["verdicts"]["mini|choice|0"]
    assert (verdict["metric"], verdict["outcome"], verdict["min"]) == ("acc", "failed", 0.9)
    assert verdict["value"] == results()["results"]["mini|choice|0"]["acc"]


def test_a_score_over_its_floor_passes_and_the_threshold_is_reported(project: pytest.Pytester, results: Results) -> None:
    with_gate(project, "{acc: {min: 0.9}}")

    result = project.runpytest("suites", "--backend", "fake", "--model-args", "accuracy=1", "-k", "choice and 0-shot", "--junitxml=j.xml")

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["page: reports/*/report.html"])
    (page,) = project.path.glob("reports/*/report.html")
    head = blocks(page)["head"]
    assert head["runs"][0]["results"] == results()
    assert "suites --backend fake --model-args accuracy=1 -k 'choice and 0-shot' --junitxml=j.xml" in results()["run"]["command"]
    properties = {entry.attrib["name"]: entry.attrib["value"] for entry in ElementTree.parse(project.path / "j.xml").iter("property")}
    assert properties["lighteval.acc"] == "1.0"
    assert properties["lighteval.acc.min"] == "0.9"
    assert properties["lighteval.acc.n"] == "40"
    assert properties["lighteval.acc.verdict"] == "passed"
    assert results()["verdicts"]["mini|choice|0"][0]["outcome"] == "passed"


def test_a_gates_file_serves_tasks_and_groups(project: pytest.Pytester) -> None:
    project.makefile(
        ".yaml",
        gates="""
        mini|choice|0: {acc: {min: 0.0}}
        mini|words: {em: {min: 1.1}}
        mini|prose|5: {bits_per_byte: {max: 0.5}}
        """,
    )

    result = project.runpytest("suites", "--backend", "fake", "--gates", "gates.yaml", "--junitxml=j.xml")

    result.assert_outcomes(passed=5, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["*gates.yaml:3: mini|prose|5: no task of this run matches it*", "FAILED *mini|words:_average|0*em 0.* is below the floor 1.1*"]
    )
    failures = ElementTree.parse(project.path / "j.xml").findall(".//testcase/failure")
    assert len(failures) == 1


def test_a_failed_request_is_an_error_and_the_other_answers_are_kept(project: pytest.Pytester, results: Results) -> None:
    result = project.runpytest(
        "suites", "--backend", "fake", "--model-args", "fail=[test:3,test:5]", "-k", "words:short or prose", "--junitxml=j.xml"
    )

    result.assert_outcomes(errors=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["ERROR suites/mini/mini.yaml::words:short[[]0-shot] - *2 of 40 documents have no answer*planted failure"])
    result.stdout.no_fnmatch_line("*Traceback*")
    assert "mini|words:short|0" not in results()["results"]
    assert "2 of 40 documents have no answer" in results()["errors"]["mini|words:short|0"]
    (partial,) = project.path.glob("reports/*/details/mini/words.short.0-shot.partial.jsonl")
    errors = [json.loads(line)["error"] for line in partial.read_text().splitlines()]
    assert sorted(errors, key=str) == [None] * 38 + ["planted failure"] * 2
    assert len(ElementTree.parse(project.path / "j.xml").findall(".//testcase/error")) == 2


def test_last_failed_selects_the_failed_task(project: pytest.Pytester) -> None:
    with_gate(project, "{acc: {min: 1.1}}")
    first = project.runpytest("suites", "--backend", "fake")
    first.assert_outcomes(passed=3, failed=2)

    again = project.runpytest("suites", "--backend", "fake", "--lf")

    again.assert_outcomes(failed=2)


def test_exit_first_and_maxfail_stop_the_session_and_keep_the_results(project: pytest.Pytester, results: Results) -> None:
    with_gate(project, "{acc: {min: 1.1}}")

    result = project.runpytest("suites", "--backend", "fake", "-x", "--durations=3")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*slowest 3 durations*"])
    assert sorted(results()["results"]) == ["all", "mini|choice|0"]


def test_a_missing_data_file_is_an_error_that_names_it(project: pytest.Pytester) -> None:
    (project.path / "suites" / "mini" / "prose.jsonl").unlink()

    result = project.runpytest("suites", "--backend", "fake", "-k", "prose")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["ERROR *prose[[]0-shot] - *prose.jsonl*"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_a_prompt_that_names_no_column_is_an_error_that_lists_the_columns(project: pytest.Pytester) -> None:
    path = project.path / "suites" / "mini" / "mini.yaml"
    path.write_text(path.read_text().replace("{{ text }}", "{{ txt }}"))

    result = project.runpytest("suites", "--backend", "fake", "-k", "prose")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["ERROR *prose[[]0-shot] - test:0: *txt*text*"])


def test_a_backend_that_is_lost_ends_the_session_after_the_item_that_lost_it(project: pytest.Pytester, results: Results) -> None:
    project.makeconftest(
        """
        import pytest
        from pytest_lighteval.backends.fake import FakeBackend
        from pytest_lighteval.errors import BackendLostError

        class Lost(FakeBackend):
            def generate(self, requests):
                raise BackendLostError("the processes are out of step")
                yield

        @pytest.fixture(scope="session")
        def lighteval_backend():
            return Lost(accuracy=1.0)
        """
    )

    result = project.runpytest("suites", "--lighteval-report-dir", "reports")

    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*the processes are out of step*"])
    assert len(results()["errors"]) == 1


def test_a_backend_that_is_lost_in_every_worker_is_one_error(project: pytest.Pytester, results: Results) -> None:
    project.makeconftest(
        """
        import time
        import pytest
        from pytest_lighteval.backends.fake import FakeBackend
        from pytest_lighteval.errors import BackendLostError

        class Lost(FakeBackend):
            def generate(self, requests):
                time.sleep(1)  # long enough for the other worker to have begun
                raise BackendLostError("there are no weights")
                yield

        @pytest.fixture(scope="session")
        def lighteval_backend():
            return Lost()
        """
    )

    result = project.runpytest_subprocess("suites", "-n", "2", "-k", "words", "--lighteval-report-dir", "reports")

    result.assert_outcomes(errors=1, skipped=1)
    assert len(results()["errors"]) == 1
    assert list(results()["skipped"].values()) == ["not evaluated: another worker has the same error"]


def test_interrupting_keeps_what_was_measured(project: pytest.Pytester, results: Results) -> None:
    project.makeconftest(
        """
        import os, signal
        import pytest
        from pytest_lighteval.backends.fake import FakeBackend

        class Interrupted(FakeBackend):
            def generate(self, requests):
                # who starts the tests may have told their processes to ignore it
                signal.signal(signal.SIGINT, signal.default_int_handler)
                os.kill(os.getpid(), signal.SIGINT)
                yield from super().generate(requests)

        @pytest.fixture(scope="session")
        def lighteval_backend():
            return Interrupted(accuracy=1.0)
        """
    )

    result = project.runpytest_subprocess("suites", "--lighteval-report-dir", "reports")

    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert sorted(results()["results"]) == ["all", "mini|choice|0", "mini|choice|2"]


def test_reports_that_cannot_be_written_make_the_run_fail_in_one_line(project: pytest.Pytester) -> None:
    (project.path / "reports").mkdir()
    (project.path / "reports" / "index.json").mkdir()  # a folder stands where the file should be

    result = project.runpytest("suites", "--backend", "fake", "-k", "prose")

    assert result.ret != 0
    result.stdout.fnmatch_lines(["*reports*cannot be written*"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_a_gates_file_that_names_no_task_is_a_usage_error(project: pytest.Pytester) -> None:
    project.makefile(".yaml", gates="mini|chioce: {acc: {min: 0.5}}\n")

    result = project.runpytest("suites", "--backend", "fake", "--gates", "gates.yaml")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *gates.yaml:1: mini|chioce: suite 'mini' has no task 'chioce' (did you mean 'choice'?)"])


def test_a_floor_of_a_superset_holds_when_one_task_of_it_is_left(project: pytest.Pytester) -> None:
    project.makefile(".yaml", gates="mini|words: {em: {min: 1.1}}\n")

    result = project.runpytest("suites", "--backend", "fake", "--gates", "gates.yaml", "-k", "words:long")

    result.assert_outcomes(passed=1, failed=1)


def test_an_engine_that_cannot_be_made_is_an_error_of_every_item_and_in_the_results(project: pytest.Pytester, results: Results) -> None:
    project.makeconftest(
        """
        import pytest

        @pytest.fixture(scope="session")
        def lighteval_backend():
            raise RuntimeError("the port is taken")
        """
    )

    result = project.runpytest("suites", "--lighteval-report-dir", "reports", "-k", "choice")

    result.assert_outcomes(errors=2)
    assert results()["errors"] == {"mini|choice|0": "the port is taken", "mini|choice|2": "the port is taken"}


@pytest.mark.parametrize("last", ["errs", "is skipped"])
def test_the_verdict_of_a_first_try_does_not_outlive_a_rerun_without_a_score(project: pytest.Pytester, results: Results, last: str) -> None:
    """A plugin runs each item again, as those for flaky tests do."""
    first = ("--save-baseline", "b.json", "--lighteval-report-dir", "first")
    project.runpytest("suites", "--backend", "fake", "-k", "choice and 0-shot", *first).assert_outcomes(passed=1)
    project.makeconftest(
        f"""
        import pytest
        from _pytest.runner import runtestprotocol
        from pytest_lighteval.backends.fake import FakeBackend
        from pytest_lighteval.errors import BackendError, UnsupportedRequestError

        tries = []

        class Flaky(FakeBackend):
            def loglikelihood(self, requests):
                tries.append(1)
                if len(tries) > 1:
                    raise {"BackendError" if last == "errs" else "UnsupportedRequestError"}("the engine is gone")
                return super().loglikelihood(requests)

        @pytest.fixture(scope="session")
        def lighteval_backend():
            return Flaky()

        @pytest.hookimpl(tryfirst=True)
        def pytest_runtest_protocol(item, nextitem):
            for _ in range(2):
                item._initrequest()
                runtestprotocol(item, nextitem=nextitem)
            return True
        """
    )
    if last == "errs":
        project.makefile(".yaml", gates="mini|choice|0: {acc: {min: 0.0}}\n")

    given = ("--gates", "gates.yaml") if last == "errs" else ("--baseline", "b.json", "--gate-allow", "skipped")
    project.runpytest("suites", "--lighteval-report-dir", "reports", "--no-cache", "-k", "choice and 0-shot", *given)

    found = results()
    assert "mini|choice|0" not in found["results"]
    assert "mini|choice|0" not in found["verdicts"]
    assert "the engine is gone" in found["errors" if last == "errs" else "skipped"]["mini|choice|0"]


def test_a_skipped_task_says_why_in_the_terminal_and_in_the_results(project: pytest.Pytester, results: Results) -> None:
    path = project.path / "suites" / "mini" / "mini.yaml"
    path.write_text(path.read_text().replace("  - name: prose", "  - name: prose\n    skip: its judge is not free"))

    result = project.runpytest("suites", "--backend", "fake", "-k", "prose", "-rs")

    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*its judge is not free"])
    assert results()["skipped"] == {"mini|prose|0": "its judge is not free"}


def test_a_floor_of_a_superset_is_red_when_a_task_of_it_has_no_score(project: pytest.Pytester) -> None:
    project.makefile(".yaml", gates="mini|words: {em: {min: 0.0}}\n")
    path = project.path / "suites" / "mini" / "short.jsonl"
    path.write_text("not JSON\n")

    result = project.runpytest("suites", "--backend", "fake", "--gates", "gates.yaml", "-k", "words")

    result.assert_outcomes(passed=1, errors=1, failed=1)
    result.stdout.fnmatch_lines(["FAILED *mini|words:_average|0*1 of its tasks have no score: mini|words:short|0"])


def test_a_gated_task_that_the_backend_cannot_do_is_red(project: pytest.Pytester) -> None:
    project.makeconftest(
        """
        import pytest
        from pytest_lighteval.backends.fake import FakeBackend
        from pytest_lighteval.types import RequestKind

        class Writer(FakeBackend):
            supports = frozenset({RequestKind.GENERATE})

        @pytest.fixture(scope="session")
        def lighteval_backend():
            return Writer()
        """
    )
    project.makefile(".yaml", gates="mini|choice|0: {acc: {min: 0.0}}\n")

    result = project.runpytest("suites", "--lighteval-report-dir", "reports", "--gates", "gates.yaml", "-k", "choice")

    result.assert_outcomes(skipped=1, errors=1)
    result.stdout.fnmatch_lines(
        ["*1 task skipped: backend 'fake' cannot do loglikelihood", "ERROR *cannot do loglikelihood, and the task is gated"]
    )


def test_a_gate_on_a_metric_that_is_not_reported_is_told_before_the_model_runs(project: pytest.Pytester) -> None:
    project.makefile(".yaml", gates="mini|words: {acc: {min: 0.5}}\n")

    result = project.runpytest("suites", "--backend", "fake", "--gates", "gates.yaml")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *gates.yaml:1: mini|words: 'acc' is not reported; reported are em"])


def test_an_interrupted_run_says_so(project: pytest.Pytester, results: Results) -> None:
    project.makeconftest("def pytest_runtest_teardown(item): raise KeyboardInterrupt")

    project.runpytest_subprocess("suites", "--backend", "fake")

    assert results()["run"]["exit_status"] == "interrupted"


def test_a_gate_on_a_task_that_is_always_skipped_is_a_usage_error(project: pytest.Pytester) -> None:
    path = project.path / "suites" / "mini" / "mini.yaml"
    path.write_text(path.read_text().replace("  - name: prose", "  - name: prose\n    skip: its judge is not free"))
    project.makefile(".yaml", gates="mini|prose: {bits_per_byte: {max: 1.0}}\n")

    result = project.runpytest("suites", "--backend", "fake", "--gates", "gates.yaml")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *gates.yaml:1: mini|prose: the task is skipped, *: its judge is not free"])


def test_durations_tell_the_evaluation_from_the_set_up(project: pytest.Pytester) -> None:
    project.makeconftest(
        """
        import time
        import pytest
        from pytest_lighteval.backends.fake import FakeBackend

        class Slow(FakeBackend):
            def perplexity(self, requests):
                time.sleep(0.3)
                yield from super().perplexity(requests)

        @pytest.fixture(scope="session")
        def lighteval_backend():
            time.sleep(0.6)
            return Slow()
        """
    )

    result = project.runpytest("suites", "--lighteval-report-dir=reports", "-k", "prose", "--durations=2", "--junitxml=j.xml")

    result.stdout.fnmatch_lines(["0.[67]*s setup *prose[[]0-shot]", "0.[34]*s call  *prose[[]0-shot]"])
    assert 0.9 < float(ElementTree.parse(project.path / "j.xml").find(".//testcase").get("time")) < 60  # type: ignore[union-attr, arg-type]


@pytest.mark.parametrize("workers", [[], ["-n1"]], ids=["alone", "xdist"])
def test_setup_only_judges_nothing(project: pytest.Pytester, workers: list[str]) -> None:
    with_gate(project, "{acc: {min: 1.1}}")
    project.runpytest("suites", "--backend", "fake", "--save-baseline", "base.json", "-k", "not choice")

    result = project.runpytest_subprocess("suites", "--backend", "fake", "--setup-only", "--baseline", "base.json", *workers)

    assert result.ret == pytest.ExitCode.OK
    result.stdout.no_fnmatch_line("*lighteval::*")
