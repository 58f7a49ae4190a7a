"""Two runs compared by a metric of the whole corpus: each number against a mean's, the delta method or plain enumeration."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_lighteval.common.statistics import mean
from pytest_lighteval.comparison.compare import compare
from pytest_lighteval.comparison.corpus import DocumentRuns, compare_corpus
from pytest_lighteval.comparison.paired import pair
from pytest_lighteval.metrics import metric
from pytest_lighteval.types import CorpusMetric

CORPUS_MEAN = CorpusMetric(aggregate=mean, higher_is_better=True, is_mean=False)


def _graded(n: int, loss: float, seed: int) -> tuple[list[float], list[float]]:
    rng = np.random.default_rng(seed)
    before = rng.uniform(size=n)
    return before.tolist(), (before - rng.normal(loss, 0.1, size=n)).tolist()


def test_a_corpus_metric_that_is_a_mean_is_tested_like_a_mean() -> None:
    baseline, candidate = _graded(80, 0.02, 4)
    corpus = compare_corpus(baseline, candidate, CORPUS_MEAN, alpha=0.05, draws=5000)
    graded = compare(pair(baseline, candidate, most=1.0), alpha=0.05)
    error = float(np.std(np.subtract(baseline, candidate), ddof=1)) / math.sqrt(80)

    assert (corpus.baseline, corpus.candidate, corpus.loss) == pytest.approx((graded.baseline, graded.candidate, graded.loss))
    assert corpus.p == pytest.approx(graded.p, abs=0.015)
    assert corpus.p_gain == pytest.approx(graded.p_gain, abs=0.03)
    assert corpus.lower == pytest.approx(graded.lower, abs=0.15 * error)
    assert corpus.loss + 1.645 * error < corpus.upper < graded.upper + 0.15 * error


def test_the_bootstrap_of_a_ratio_has_the_error_of_the_delta_method() -> None:
    rng = np.random.default_rng(2)
    lengths = rng.integers(5, 50, size=400)
    before, after = rng.binomial(lengths, 0.7), rng.binomial(lengths, 0.7)
    ratio = CorpusMetric(
        aggregate=lambda rows: sum(row[0] for row in rows) / sum(row[1] for row in rows), higher_is_better=True, is_mean=False
    )

    comparison = compare_corpus(
        list(zip(before.tolist(), lengths.tolist(), strict=True)),
        list(zip(after.tolist(), lengths.tolist(), strict=True)),
        ratio,
        alpha=0.05,
        draws=4000,
    )

    residuals = (before - after) - comparison.loss * lengths
    error = math.sqrt(float(residuals @ residuals)) / lengths.sum()
    assert comparison.upper - comparison.loss == pytest.approx(1.645 * error, rel=0.12)
    assert math.sqrt(comparison.variance / 400) == pytest.approx(error, rel=0.1)


def test_three_losses_in_a_hundred_documents_are_no_proof_whatever_the_bootstrap_says() -> None:
    baseline, candidate = [1.0] * 100, [0.0] * 3 + [1.0] * 97
    comparison = compare_corpus(baseline, candidate, CORPUS_MEAN, alpha=0.06, draws=5000)

    assert comparison.p == pytest.approx(1 / 8, abs=0.02)
    assert comparison.lower <= 0


def test_a_corpus_metric_without_a_difference_keeps_an_upper_bound() -> None:
    values = [1.0, 0.0] * 100
    comparison = compare_corpus(values, values, CORPUS_MEAN, alpha=0.05, draws=5000)

    # leaving one of 200 documents out moves their mean by half a document; three such documents may have been missed
    assert comparison.upper == pytest.approx(-math.log(0.05) * 0.5 / 199, rel=0.08)
    assert comparison.lower == pytest.approx(-comparison.upper, rel=0.1)
    assert (comparison.p, comparison.p_gain, comparison.gained) == (1.0, 1.0, False)


def test_where_lower_is_better_a_rise_of_a_corpus_metric_is_a_loss() -> None:
    perplexity = metric("word_perplexity").corpus["word_perplexity"]
    rng = random.Random(1)
    baseline = [(-rng.uniform(20, 40), 10.0) for _ in range(60)]
    candidate = [(logprob - rng.uniform(0, 1), words) for logprob, words in baseline]

    worse = compare_corpus(baseline, candidate, perplexity, alpha=0.05)
    better = compare_corpus(candidate, baseline, perplexity, alpha=0.05)

    assert worse.candidate > worse.baseline
    assert (worse.loss > 0, worse.lower > 0, worse.gained) == (True, True, False)
    assert (better.loss < 0, better.lower > 0, better.gained) == (True, False, True)


@pytest.mark.parametrize("clusters", [None, [f"{index // 4}" for index in range(40)]], ids=["alone", "clusters"])
def test_the_vectorised_bootstrap_gives_the_numbers_of_the_plain_one(clusters: list[str] | None) -> None:
    perplexity = metric("word_perplexity").corpus["word_perplexity"]
    plain = CorpusMetric(aggregate=perplexity.aggregate, higher_is_better=False, is_mean=False)
    rng = random.Random(1)
    baseline, candidate = ([(-rng.uniform(20, 40), 10.0) for _ in range(40)] for _ in range(2))

    fast, slow = (compare_corpus(baseline, candidate, corpus, alpha=0.05, clusters=clusters, draws=400) for corpus in (perplexity, plain))

    assert (fast.lower, fast.upper, fast.p, fast.p_gain) == pytest.approx((slow.lower, slow.upper, slow.p, slow.p_gain), rel=1e-9)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from([0.3, 0.05]))
def test_the_lower_bound_of_a_corpus_metric_agrees_with_its_test(seed: int, alpha: float) -> None:
    baseline, candidate = _graded(20, 0.03, seed)
    comparison = compare_corpus(baseline, candidate, CORPUS_MEAN, alpha=alpha, draws=100)

    assert (comparison.lower > 0) == (comparison.p <= alpha)
    assert comparison.lower <= comparison.upper


def test_clusters_are_exchanged_together() -> None:
    baseline, candidate, names = [1.0] * 12, [0.0] * 9 + [1.0] * 3, list("aaabbbcccddd")
    comparison = compare_corpus(baseline, candidate, CORPUS_MEAN, alpha=0.05, clusters=names, draws=5000)

    assert comparison.p == pytest.approx(1 / 8, abs=0.02)


def test_too_few_documents_for_the_metric_are_an_error() -> None:
    spread = CorpusMetric(aggregate=lambda values: math.nan if len(set(values)) < 2 else 1.0, higher_is_better=True, is_mean=False)

    with pytest.raises(ValueError, match="there are too few of them"):
        compare_corpus([1.0, 2.0], [1.0, 3.0], spread, alpha=0.05)


def _laid_out(documents: Sequence[tuple[Sequence[float], Sequence[float]]], *, seeds: int = 1) -> tuple[Any, ...]:
    """Rows, clusters and runs of documents whose values are given seed by seed."""
    rows = math.lcm(*(len(side) for document in documents for side in document))
    before, after = (
        [value for document in documents for value in document[side] for _ in range(rows // len(document[side]))] for side in (0, 1)
    )
    names = [f"{number}" for number in range(len(documents)) for _ in range(rows)]
    return before, after, names, [DocumentRuns(seeds, len(old) // seeds, len(new) // seeds) for old, new in documents]


def test_runs_of_a_document_are_exchanged_as_in_the_test_of_means() -> None:
    """Lone right answers of eight runs against one: the sides alone call them certain."""
    documents = [([0.0] * (row % 8) + [1.0] + [0.0] * (7 - row % 8), [0.0]) for row in range(24)] + [([0.0] * 8, [0.0])] * 26
    before, after, names, runs = _laid_out(documents)

    alone = compare_corpus(before, after, CORPUS_MEAN, alpha=0.02, clusters=names, draws=1000)
    found = compare_corpus(before, after, CORPUS_MEAN, alpha=0.02, clusters=names, runs=runs, draws=1000)

    assert alone.p < 0.002
    assert found.p == pytest.approx((8 / 9) ** 24, abs=0.025)
    assert (alone.lower > 0, found.lower > 0) == (True, False)


def test_a_run_is_exchanged_with_all_of_its_few_shot_seeds() -> None:
    """Two runs under two seeds against one. The second run has both seeds right, so that whole runs differ by two or not at all."""
    documents = [([0.0, 1.0, 0.0, 1.0], [0.0, 0.0])] * 6 + [([1.0, 1.0, 1.0, 1.0], [1.0, 1.0])] * 6
    before, after, names, runs = _laid_out(documents, seeds=2)

    found = compare_corpus(before, after, CORPUS_MEAN, alpha=0.3, clusters=names, runs=runs, draws=4000)

    means = [([0.0, 1.0], [0.0])] * 6 + [([1.0, 1.0], [1.0])] * 6
    expected = compare(pair([old for old, _ in means], [new for _, new in means]), alpha=0.3)
    assert runs[0] == DocumentRuns(2, 2, 1)
    # two thirds of the exchanges leave the right run in the baseline
    assert found.p == pytest.approx((2 / 3) ** 6, abs=0.025)
    assert expected.p == pytest.approx((2 / 3) ** 6)


def test_a_cluster_of_documents_with_other_numbers_of_runs_has_its_sides_exchanged() -> None:
    documents = [([1.0, 1.0], [0.0]), ([1.0], [0.0])] * 5
    before, after, _, runs = _laid_out(documents)
    names = [f"{number // 4}" for number in range(len(before))]

    found = compare_corpus(before, after, CORPUS_MEAN, alpha=0.3, clusters=names, runs=runs, draws=4000)

    assert found.p == pytest.approx(2.0**-5, abs=0.012)
