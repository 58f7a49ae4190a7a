"""Several workers give the same bytes as one process; a worker that dies loses its own item and no other."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_lighteval import plugin
from tests.plugin.conftest import write_mini

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
