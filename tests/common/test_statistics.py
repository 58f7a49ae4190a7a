"""Standard errors against their definitions, and the vectorised bootstrap against the plain one."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_lighteval.common.statistics import MEAN, aggregate, mean, resampled_sums, standard_error
from pytest_lighteval.metrics import metric
from pytest_lighteval.types import CorpusMetric
from tests.metrics.golden import read_lines
from tests.shared import needs_shared

SCORES = st.lists(st.floats(-100, 100), min_size=2, max_size=30)
BOOTSTRAPPED_MEAN = CorpusMetric(aggregate=mean, higher_is_better=True, is_mean=False)
PERPLEXITY = metric("word_perplexity").corpus["word_perplexity"]


@given(SCORES)
def test_the_error_of_a_mean_is_the_sample_deviation_over_the_root_of_n(scores: list[float]) -> None:
    expected = statistics.stdev(scores) / math.sqrt(len(scores))
    assert standard_error(scores, MEAN) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@needs_shared
def test_means_and_their_errors_are_the_recorded_ones() -> None:
    lines = [line for line in read_lines("stderr") if len(line["values"]) > 1]

    assert len(lines) == 10
    assert [aggregate(line["values"], MEAN) for line in lines] == pytest.approx([line["mean"] for line in lines], rel=1e-12)
    assert [standard_error(line["values"], MEAN) for line in lines] == pytest.approx([line["mean_stderr"] for line in lines], rel=1e-9)


@pytest.mark.parametrize("corpus", [MEAN, BOOTSTRAPPED_MEAN], ids=["mean", "bootstrap"])
def test_one_document_has_no_known_error(corpus: CorpusMetric) -> None:
    assert standard_error([1.0], corpus) is None
    assert standard_error([], corpus) is None


@pytest.mark.parametrize("corpus", [MEAN, BOOTSTRAPPED_MEAN], ids=["mean", "bootstrap"])
def test_one_cluster_has_no_known_error(corpus: CorpusMetric) -> None:
    assert standard_error([1.0, 0.0, 1.0], corpus, clusters=["a", "a", "a"]) is None


@pytest.mark.parametrize("corpus", [MEAN, BOOTSTRAPPED_MEAN], ids=["mean", "bootstrap"])
def test_clusters_of_one_document_change_nothing(corpus: CorpusMetric) -> None:
    scores = [0.0, 1.0, 1.0, 0.5, 0.0]
    plain = standard_error(scores, corpus)

    assert plain is not None
    assert standard_error(scores, corpus, clusters=[None] * 5) == pytest.approx(plain, rel=1e-12)
    assert standard_error(scores, corpus, clusters=list("abcde")) == pytest.approx(plain, rel=1e-12)


@given(SCORES, st.integers(2, 4))
def test_entering_every_document_several_times_does_not_make_the_mean_more_certain(scores: list[float], times: int) -> None:
    names = [str(number) for number in range(len(scores))]
    once = standard_error(scores, MEAN)
    assert standard_error(scores * times, MEAN, clusters=names * times) == pytest.approx(once, rel=1e-6, abs=1e-9)


@given(st.lists(st.tuples(st.floats(-10, 10), st.sampled_from("abcd")), min_size=2, max_size=25))
def test_the_clustered_error_is_the_sum_over_pairs_within_clusters(documents: list[tuple[float, str]]) -> None:
    scores, names = [score for score, _ in documents], [name for _, name in documents]
    count, clusters = len(scores), len(set(names))
    average = sum(scores) / count
    pairs = sum((a - average) * (b - average) for a, x in documents for b, y in documents if x == y)
    expected = None if clusters < 2 else math.sqrt(max(0.0, pairs) * clusters / (clusters - 1)) / count
    assert standard_error(scores, MEAN, clusters=names) == (expected if expected is None else pytest.approx(expected, rel=1e-6, abs=1e-7))


def test_the_bootstrap_of_a_mean_agrees_with_its_formula() -> None:
    scores = np.random.Generator(np.random.PCG64(7)).normal(size=400).tolist()
    assert standard_error(scores, BOOTSTRAPPED_MEAN) == pytest.approx(standard_error(scores, MEAN), rel=0.08)


def test_the_bootstrap_of_clusters_agrees_with_the_cluster_robust_formula() -> None:
    rng = np.random.Generator(np.random.PCG64(7))
    names = [f"c{number}" for number in range(150) for _ in range(1 + number % 5)]
    level = dict(zip(dict.fromkeys(names), rng.normal(size=150), strict=True))
    scores = [float(level[name] + 0.1 * rng.normal()) for name in names]

    clustered = standard_error(scores, MEAN, clusters=names)

    assert clustered is not None
    assert clustered > 1.3 * (standard_error(scores, MEAN) or math.inf)
    assert standard_error(scores, BOOTSTRAPPED_MEAN, clusters=names) == pytest.approx(clustered, rel=0.08)


@pytest.mark.parametrize("clusters", [None, list("aabbbbcdefgh")], ids=["documents", "clusters"])
def test_the_vectorised_bootstrap_is_the_one_draw_at_a_time(clusters: list[str] | None) -> None:
    values = [(-3.0 * number - 1, 5 + number % 4) for number in range(12)]
    plain = replace(PERPLEXITY, bootstrap=None)

    vectorised = standard_error(values, PERPLEXITY, clusters=clusters, draws=200)

    assert vectorised is not None
    assert vectorised == pytest.approx(standard_error(values, plain, clusters=clusters, draws=200), rel=1e-9)


def test_a_bootstrap_is_repeatable_for_a_seed_and_another_for_another() -> None:
    values = [(-3.0 * number, 5 + number % 4) for number in range(12)]

    assert standard_error(values, PERPLEXITY, seed=3) == standard_error(values, PERPLEXITY, seed=3)
    assert standard_error(values, PERPLEXITY, seed=3) != standard_error(values, PERPLEXITY, seed=4)


def test_a_resample_without_a_finite_value_leaves_the_error_unknown() -> None:
    def fails_without_the_first(values: Sequence[Any]) -> float:
        return 1.0 if 0.0 in values else math.nan

    corpus = CorpusMetric(aggregate=fails_without_the_first, higher_is_better=True, is_mean=False)
    assert standard_error([0.0, 1.0, 2.0], corpus) is None


def test_sums_over_resamples_skip_padding() -> None:
    sums = resampled_sums([[1.0, 10.0], [2.0, 20.0]], np.array([[0, 0, 1], [1, -1, -1]]))
    assert sums.tolist() == [[4.0, 40.0], [2.0, 20.0]]
