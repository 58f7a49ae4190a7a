"""The metric registry as a whole: names, shapes and what importing it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pytest_lighteval.errors import MissingExtraError, UserInputError
from pytest_lighteval.metrics import FAMILIES, metric, metric_names
from pytest_lighteval.metrics.libraries import load
from pytest_lighteval.types import Ask


def test_names_are_sorted_and_declared_once() -> None:
    declared = [entry.name for family in FAMILIES for entry in family.METRICS]

    assert metric_names() == sorted(declared)
    assert len(set(declared)) == len(declared)


def test_an_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(UserInputError, match=r"no metric is named 'loglikelihood_ac' \(did you mean 'loglikelihood_acc'"):
        metric("loglikelihood_ac")


@pytest.mark.parametrize("name", metric_names())
def test_every_row_is_whole(name: str) -> None:
    entry = metric(name)

    assert entry.name == name
    assert entry.corpus
    assert (entry.num_samples > 1) <= (entry.ask is Ask.SAMPLES)
    assert all((corpus.bootstrap is None) or not corpus.is_mean for corpus in entry.corpus.values())


def test_listing_the_metrics_imports_no_heavy_library() -> None:
    heavy = ["torch", "transformers", "datasets", "sklearn", "scipy", "sacrebleu", "nltk", "math_verify", "sympy", "spacy", "langdetect"]
    program = (
        "import sys; from pytest_lighteval.metrics import metric_names; metric_names();"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_library_that_is_missing_names_its_install_line() -> None:
    with pytest.raises(MissingExtraError, match=r"not-there is not installed: pip install 'pytest-lighteval\[metrics\]'"):
        load("not_there.at_all", "not-there")
