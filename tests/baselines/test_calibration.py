"""How much several runs of one model differ."""

from __future__ import annotations

import pytest

from pytest_lighteval.baselines.calibration import calibrated
from pytest_lighteval.errors import UserInputError
from tests.baselines.samples import result


def test_the_discordance_is_the_share_of_documents_in_which_two_runs_differ() -> None:
    runs = [result({"qem": scores}) for scores in ([1.0, 1.0, 0.0, 1.0], [1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 0.0, 1.0])]

    found = calibrated(runs)["qem"]

    # of the three pairs of runs, two differ in one of four documents
    assert found.discordance == pytest.approx(2 / 3 / 4)
    assert (found.runs, found.n, found.values) == (3, 4, (0.75, 0.5, 0.75))


def test_equal_runs_have_none() -> None:
    assert calibrated([result({"qem": [1.0, 0.0]})] * 2)["qem"].discordance == 0.0


def test_of_a_corpus_metric_it_is_unknown() -> None:
    assert calibrated([result({"bleu": [(1, 2), (3, 4)]}, values={"bleu": 20.0})] * 2)["bleu"].discordance is None


def test_runs_of_something_else_are_no_repeats() -> None:
    with pytest.raises(UserInputError, match="the prompts differ"):
        calibrated([result({"qem": [1.0]}), result({"qem": [1.0]}, prompt="Q:")])
