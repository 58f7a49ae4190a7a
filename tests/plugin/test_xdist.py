"""Several workers give the same bytes as one process; a worker that dies loses its own item and no other."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_lighteval import plugin
from tests.plugin.conftest import Results, write_mini

VARYING = {"run", "seconds", "time", "timing"}


def without_times(value: Any) -> Any:
    """The report without what may differ between two runs: times and ids."""
    if isinstance(value, dict):
        return {key: without_times(member) for key, member in value.items() if key not in VARYING}
    return [without_times(member) for member in value] if isinstance(value, list) else value


def run(project: pytest.Pytester, *arguments: str) -> bytes:
    folder = f"reports-{len(arguments)}"
    result = project.runpytest_subprocess(
        "suites", "--backend", "fake", "--max-samples", "20", "--lighteval-report-dir", folder, *arguments
    )
    result.assert_outcomes(passed=5)
    (path,) = project.path.glob(f"{folder}/*/results.json")
    details = sorted(str(file.relative_to(path.parent)) for file in path.parent.glob("details/**/*.jsonl"))
    return json.dumps([without_times(json.loads(path.read_text())), details]).encode()


def test_two_workers_write_the_same_results_as_one_process(project: pytest.Pytester) -> None:
    assert run(project, "-n", "2") == run(project)


def test_a_dead_worker_loses_only_its_item_as_an_error(project: pytest.Pytester) -> None:
    project.makeconftest(
        """
        import os
        import pytest
        from pytest_lighteval.backends.fake import FakeBackend

        class Dying(FakeBackend):
            def perplexity(self, requests):
                os._exit(1)

        @pytest.fixture(scope="session")
        def lighteval_backend():
            return Dying(accuracy=1.0)
        """
    )

    result = project.runpytest_subprocess("suites", "--lighteval-report-dir", "reports", "-n", "2")

    result.assert_outcomes(passed=4, errors=1)
    (path,) = project.path.glob("reports/*/results.json")
    report = json.loads(path.read_text())
    assert report["errors"] == {"mini|prose|0": "the worker process that ran it died"}
    assert "mini|choice|2" in report["results"]


def test_auto_means_one_worker_without_a_gpu(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    result = project.runpytest_subprocess("suites", "--backend", "fake", "-n", "auto")

    result.stdout.fnmatch_lines(["*1 worker*"])


def test_auto_means_one_worker_a_gpu_each_with_its_own(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    write_mini(pytester.path / "suites" / "mini")
    pytester.makeconftest(
        """
        import os
        import pytest
        from pytest_lighteval.backends.fake import FakeBackend

        class Pinned(FakeBackend):
            def describe(self):
                return {"gpu": os.environ["CUDA_VISIBLE_DEVICES"], "worker": os.environ["PYTEST_XDIST_WORKER"]}

        @pytest.fixture(scope="session")
        def lighteval_backend():
            backend = Pinned()
            assert backend.describe()["gpu"] == {"gw0": "3", "gw1": "5"}[backend.describe()["worker"]]
            return backend
        """
    )

    result = pytester.runpytest_subprocess("suites", "--lighteval-report-dir", "reports", "-n", "auto")

    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(["*2 workers*"])


def test_auto_is_left_to_xdist_in_a_session_that_evaluates_nothing(pytester: pytest.Pytester) -> None:
    assert plugin.pytest_xdist_auto_num_workers(pytester.parseconfig()) is None


def test_texts_that_execnet_cannot_send_end_no_worker(project: pytest.Pytester, results: Results) -> None:
    project.makeconftest(
        r"""
        import warnings
        import pytest
        from pytest_lighteval.backends.fake import FakeBackend
        from pytest_lighteval.errors import BackendError

        class Odd(FakeBackend):
            def generate(self, requests):
                raise BackendError("the server said \ud800")
                yield

            def perplexity(self, requests):
                warnings.warn("an engine warned \udcff")
                return super().perplexity(requests)

        @pytest.fixture(scope="session")
        def lighteval_backend():
            return Odd(accuracy=1.0)

        def pytest_collection_modifyitems(items):
            items.sort(key=lambda item: "words" not in item.nodeid)
        """
    )
    project.makepyfile(test_own=r"def test_own(lighteval): assert lighteval.run('mini|choice|0').notes == '\ud801', '\ud802'")

    result = project.runpytest_subprocess("suites", "test_own.py", "--lighteval-report-dir", "reports", "-n", "2")

    result.assert_outcomes(passed=3, errors=2, failed=1, warnings=1)
    assert results()["errors"] == dict.fromkeys(("mini|words:long|0", "mini|words:short|0"), r"the server said \ud800")
    assert r"an engine warned \udcff" in result.stdout.str()


SWALLOWED = """
import pytest

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item):
    return True if item.nodeid.endswith(SWALLOWED) else None
"""


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_a_planned_task_without_any_end_makes_the_session_red(project: pytest.Pytester, results: Results, workers: tuple[str, ...]) -> None:
    project.makeconftest(SWALLOWED.replace("SWALLOWED", "('choice[0-shot]', 'test_own')"))
    project.makepyfile(test_own="def test_own(): pass")

    result = project.runpytest_subprocess(
        "test_own.py", "suites", "--backend", "fake", "-k", "prose or own or (choice and 0-shot)", *workers
    )

    result.assert_outcomes(passed=1, failed=1 + bool(workers))
    why = "it was planned, and ended without a result, an error or a skip"
    result.stdout.fnmatch_lines([f"FAILED lighteval::mini|choice|0 - *{why}"])
    if workers:
        result.stdout.fnmatch_lines(
            ["FAILED lighteval::unreported - *1 test that workers were to run ended without any report: test_own.py::test_own"]
        )
    assert results()["errors"] == {"mini|choice|0": why}


def test_a_session_in_which_even_the_report_of_it_is_lost_is_red(project: pytest.Pytester) -> None:
    project.makeconftest(SWALLOWED.replace("SWALLOWED", "''"))

    result = project.runpytest("suites", "--backend", "fake", "-k", "prose")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
