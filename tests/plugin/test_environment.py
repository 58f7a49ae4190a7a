"""The use of a session is that of all its processes."""

from __future__ import annotations

import json
from typing import Any

import pytest

COUNTING = """
import pytest
from pytest_lighteval.backends.fake import FakeBackend

class Counting(FakeBackend):
    asked = 0

    def count(self, requests):
        self.asked += len(requests)
        return requests

    def loglikelihood(self, requests):
        return super().loglikelihood(self.count(requests))

    def generate(self, requests):
        return super().generate(self.count(requests))

    def perplexity(self, requests):
        return super().perplexity(self.count(requests))

    def describe(self):
        return {**super().describe(), "use": {"requests": self.asked, "peak_memory_bytes": 7}}

@pytest.fixture(scope="session")
def lighteval_backend():
    return Counting()
"""


def test_workers_together_use_what_one_process_uses(project: pytest.Pytester) -> None:
    project.makeconftest(COUNTING)

    def use(folder: str, *arguments: str) -> Any:
        project.runpytest_subprocess("suites", "--lighteval-report-dir", folder, *arguments).assert_outcomes(passed=5)
        (path,) = project.path.glob(f"{folder}/*/results.json")
        return json.loads(path.read_text("utf-8"))["run"]["use"]

    # three tasks of choices and texts at 40 documents more, and 8 of prose
    assert use("alone") == use("together", "-n", "2") == {"requests": 4 * 40 + 8, "peak_memory_bytes": 7}
