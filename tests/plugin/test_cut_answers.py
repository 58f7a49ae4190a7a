"""A run in which more answers are cut at the limit of new tokens is not compared in silence, with workers or without."""

from __future__ import annotations

import json

import pytest

from tests.plugin.gated import results_of

SUITE = """
suite: written
tasks:
  - name: digits
    data_files: {test: digits.jsonl}
    evaluation_splits: [test]
    prompt: {query: "Question {{ question }}", choices: "{{ [answer] }}", gold: "0"}
    metrics: [exact_match]
    generation_size: 8
"""

CONFTEST = """
import dataclasses, os
import pytest
from pytest_lighteval.backends.fake import FakeBackend

class Engine(FakeBackend):
    def generate(self, requests):
        for index, response in super().generate(requests):
            cut = index < int(os.environ["CUT"])
            yield index, dataclasses.replace(response, finish_reasons=("length" if cut else "stop",))

@pytest.fixture(scope="session")
def lighteval_backend():
    return Engine(accuracy=0.5)
"""


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "workers"])
def test_another_share_of_cut_answers_is_red_until_it_is_allowed(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, workers: tuple[str, ...]
) -> None:
    folder = pytester.mkdir("suites")
    (folder / "written.yaml").write_text(SUITE)
    (folder / "digits.jsonl").write_text("".join(json.dumps({"question": row, "answer": f"{row}"}) + "\n" for row in range(40)))
    pytester.makeconftest(CONFTEST)
    monkeypatch.setenv("CUT", "1")
    saved = pytester.runpytest("suites", "--save-baseline", "base.json")
    assert saved.ret == pytest.ExitCode.OK
    saved.stdout.fnmatch_lines(["written|digits|0: 1 of 40 answers ended at the limit of new tokens"])

    monkeypatch.setenv("CUT", "4")
    red = pytester.runpytest("suites", "--baseline", "base.json", *workers)
    allowed = pytester.runpytest("suites", "--baseline", "base.json", "--gate-allow", "cut")

    assert red.ret == pytest.ExitCode.TESTS_FAILED
    red.stdout.fnmatch_lines(["*10.0% of the answers end at the limit of new tokens, 2.5% in the baseline; 5 points may differ*"])
    assert allowed.ret == pytest.ExitCode.OK
    summary = results_of(pytester)["summary_tasks"]["written|digits|0"]
    assert (summary["cut_texts"], summary["texts"]) == (4, 40)
