"""A baseline of several runs against one run: what chance explains is not red, whatever the runs of a side have in common."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_lighteval.backends.fake import FakeBackend
from tests.plugin.gated import measured, results_of

DOCUMENTS = tuple(f"test:{row}" for row in range(200))


def right_in(*documents: int) -> FakeBackend:
    """A model that answers these documents right, and no other."""
    return FakeBackend(accuracy=1.0, wrong=tuple(name for row, name in enumerate(DOCUMENTS) if row not in documents))


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "two workers"])
def test_lone_right_answers_of_eight_runs_are_no_proof_of_a_loss(pytester: pytest.Pytester, suite: Path, workers: tuple[str, ...]) -> None:
    """24 of 200 hard documents are right in one of the eight runs each, and none in the candidate's.

    That every one of them is among the eight has the chance (8/9)**24, about 6 %; their signs alone would give 2**-24.
    """
    measured(suite, pytester.path / "runs.json", *(right_in(run, run + 8, run + 16) for run in range(8)), only=["many:first"])

    result = pytester.runpytest_subprocess(
        "suites", "--backend=fake", "--model-args=accuracy=0", "--baseline=runs.json", "-k", "first", *workers
    )

    result.assert_outcomes(passed=1)
    (verdict,) = results_of(pytester)["verdicts"]["gated|many:first|0"]
    paired = verdict["paired"]
    assert paired["outcome"] == "INCONCLUSIVE"
    assert paired["loss"] == pytest.approx(24 / 8 / 200)
    assert paired["p"] == pytest.approx((8 / 9) ** 24)
    assert paired["method"] == "exact sign-flip test and permutation of runs"


def test_copies_of_a_deterministic_run_are_no_more_proof_than_one(pytester: pytest.Pytester, suite: Path) -> None:
    """Eight documents lost and three won, against one run and against four copies of it."""
    once = right_in(*range(50))
    for path, copies in (("one.json", 1), ("four.json", 4)):
        measured(suite, pytester.path / path, *([once] * copies), only=["many:first"])
    wrong = ",".join(name for row, name in enumerate(DOCUMENTS) if not 8 <= row < 53)

    found = []
    for path in ("one.json", "four.json"):
        pytester.runpytest(
            "suites", "--backend=fake", f"--model-args=accuracy=1,wrong=[{wrong}]", "--baseline", path, "-k", "first",
            f"--report-dir=reports-{path}",
        )  # fmt: skip
        (verdict,) = results_of(pytester, f"reports-{path}")["verdicts"]["gated|many:first|0"]
        found.append(verdict["paired"])

    assert [(paired["lost"], paired["won"]) for paired in found] == [(8, 3)] * 2
    assert found[1]["p"] == pytest.approx(found[0]["p"])
    assert found[0]["p"] == pytest.approx(0.11328125)
