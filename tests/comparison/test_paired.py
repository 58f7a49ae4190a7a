"""Two runs compared: pairing, tests, bounds, each number against scipy, statsmodels or plain enumeration."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_lighteval.common.statistics import mean
from pytest_lighteval.comparison.mean_bounds import mean_upper_bound
from pytest_lighteval.comparison.paired import Paired, compare, compare_corpus, concatenate, mcnemar, pair, stratified
from pytest_lighteval.metrics import metric
from pytest_lighteval.types import CorpusMetric

CORPUS_MEAN = CorpusMetric(aggregate=mean, higher_is_better=True, is_mean=False)
SCORES = st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.sampled_from([0.0, 0.25, 0.5, 1.0])), min_size=1, max_size=12)


def _zero_one(lost: int, won: int, n: int, right: int = 0) -> Paired:
    same = n - lost - won
    baseline = [1.0] * lost + [0.0] * won + [1.0] * right + [0.0] * (same - right)
    candidate = [0.0] * lost + [1.0] * won + [1.0] * right + [0.0] * (same - right)
    return pair(baseline, candidate)


def _plain(paired: Paired) -> dict[str, Any]:
    return {name: getattr(paired, name) for name in ("n", "baseline", "candidate", "lost", "won", "worst", "binary")} | {
        "gains": paired.gains.tolist()
    }


# ------------------------------------------------------------------------------------------------------- pairing


def test_a_gain_is_candidate_minus_baseline() -> None:
    paired = pair([1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0])

    assert paired.loss == 0.5
    assert _plain(paired) == {
        "gains": [-1.0, 0.0, 0.0, -1.0],
        "n": 4,
        "baseline": 0.75,
        "candidate": 0.25,
        "lost": 2,
        "won": 0,
        "worst": 1.0,
        "binary": True,
    }


def test_where_lower_is_better_a_gain_is_baseline_minus_candidate() -> None:
    paired = pair([2.0, 3.0], [2.5, 2.0], higher_is_better=False)

    assert _plain(paired) == {
        "gains": [-0.5, 1.0],
        "n": 2,
        "baseline": 2.5,
        "candidate": 2.25,
        "lost": 1,
        "won": 1,
        "worst": 2.0,
        "binary": False,
    }


def test_repeats_are_averaged_within_their_document_first() -> None:
    paired = pair([[1, 1, 0, 0], [1, 1, 1, 1]], [[1, 0], [0, 0]])

    assert (paired.gains.tolist(), paired.n, paired.lost, paired.binary) == ([0.0, -1.0], 2, 1, False)


def test_means_of_repeats_that_differ_by_rounding_are_equal() -> None:
    paired = pair([[0.1, 0.2, 0.3]], [[0.3, 0.2, 0.1, 0.2]])

    assert (paired.gains.tolist(), paired.lost) == ([0.0], 0)


def test_clusters_are_summed_and_stand_alone_without_a_name() -> None:
    paired = pair([1, 1, 1, 0, 1], [0, 0, 1, 1, 0], clusters=["a", "b", "a", None, "a"])

    assert _plain(paired) == {
        "gains": [-2.0, -1.0, 1.0],
        "n": 5,
        "baseline": 0.8,
        "candidate": 0.4,
        "lost": 3,
        "won": 1,
        "worst": 3.0,
        "binary": False,
    }


MOST = {
    "shares": ([0.0, 1.0], [0.5, 0.5], 1.0),
    "larger numbers": ([10.0, 20.0], [10.5, 20.0], 1.0),
    "larger numbers, unchanged": ([10.0, 25.0], [10.0, 25.0], 15.0),
    "one larger number": ([10.0], [10.0], 10.0),
}


@pytest.mark.parametrize(("baseline", "candidate", "worst"), MOST.values(), ids=MOST)
def test_the_most_that_a_document_can_lose_is_never_zero(baseline: list[float], candidate: list[float], worst: float) -> None:
    assert pair(baseline, candidate).worst == worst


WRONG: dict[str, tuple[Sequence[Any], Sequence[Any], str]] = {
    "numbers": ([1.0], [1.0, 0.0], r"^1 documents cannot be paired with 2$"),
    "none": ([], [], r"^0 documents cannot be paired with 0$"),
    "not a number": ([1.0], [math.nan], r"^a score is not finite$"),
    "no repeats": ([1.0], [[]], r"^a document has no score$"),
}


@pytest.mark.parametrize(("baseline", "candidate", "message"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_paired_is_refused(baseline: Sequence[Any], candidate: Sequence[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pair(baseline, candidate)


def test_clusters_for_other_documents_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^1 clusters were named for 2 documents$"):
        pair([1.0, 0.0], [1.0, 0.0], clusters=["a"])


def test_parts_of_a_whole_are_the_whole() -> None:
    whole = pair([1, 1, 0, 1, 0], [0, 1, 1, 1, 0])
    parts = concatenate([pair([1, 1], [0, 1]), pair([0, 1, 0], [1, 1, 0])])

    assert _plain(parts) == _plain(whole)


def test_factors_make_the_mean_of_tasks() -> None:
    parts = [_zero_one(4, 0, 10), _zero_one(0, 0, 90)]

    assert concatenate(parts).loss == 0.04
    assert stratified(parts, [100 / (2 * part.n) for part in parts]).loss == pytest.approx(0.2)
    assert stratified(parts, [1, 1]).binary


# --------------------------------------------------------------------------------------------------------- tests


@settings(deadline=None)
@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemars_p_is_scipys_binomial_test(lost: int, won: int) -> None:
    expected = scipy.stats.binomtest(lost, lost + won, alternative="greater").pvalue if lost + won else 1.0

    assert float(mcnemar(lost, won)) == pytest.approx(expected, rel=1e-9)
    assert compare(_zero_one(lost, won, 601), alpha=0.05).p == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("lost", "won"), [(5, 0), (57, 16), (12, 7)])
def test_mcnemars_p_is_half_of_statsmodels_two_sided_one(lost: int, won: int) -> None:
    tables = pytest.importorskip("statsmodels.stats.contingency_tables", reason="statsmodels is not installed")

    assert float(mcnemar(lost, won)) == pytest.approx(tables.mcnemar([[10, lost], [won, 10]], exact=True).pvalue / 2)


def _enumerated_p(losses: Sequence[float]) -> float:
    sums = [sum(sign * loss for sign, loss in zip(signs, losses, strict=True)) for signs in itertools.product([1, -1], repeat=len(losses))]
    return sum(total >= sum(losses) - 1e-9 for total in sums) / len(sums)


@settings(deadline=None)
@given(SCORES)
def test_graded_scores_are_flipped_document_by_document(scores: list[tuple[float, float]]) -> None:
    baseline, candidate = zip(*scores, strict=True)
    comparison = compare(pair(baseline, candidate), alpha=0.05)

    assert comparison.p == pytest.approx(_enumerated_p([before - after for before, after in scores]))
    assert comparison.p_gain == pytest.approx(_enumerated_p([after - before for before, after in scores]))


def test_clusters_are_flipped_as_one() -> None:
    baseline, candidate, names = [1.0] * 12, [0.0] * 9 + [1.0] * 3, list("aaabbbcccddd")
    comparison = compare(pair(baseline, candidate, clusters=names), alpha=0.05)

    assert comparison.p == pytest.approx(1 / 8)
    assert compare(pair(baseline, candidate), alpha=0.05).p == pytest.approx(2**-9)


@settings(deadline=None)
@given(SCORES, st.sampled_from([0.2, 0.05, 0.01]))
def test_bounds_enclose_the_loss_and_the_lower_one_agrees_with_the_test(scores: list[tuple[float, float]], alpha: float) -> None:
    baseline, candidate = zip(*scores, strict=True)
    comparison = compare(pair(baseline, candidate), alpha=alpha)

    assert comparison.lower <= comparison.loss + 1e-12 <= comparison.upper + 2e-12
    assert (comparison.lower > 0) == (comparison.p <= alpha)
    assert comparison.gained == (comparison.p_gain <= alpha)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 60), st.integers(0, 60), st.sampled_from([0.05, 0.004, 0.0008]))
def test_the_lower_bound_of_zero_one_scores_agrees_with_mcnemar(lost: int, won: int, alpha: float) -> None:
    comparison = compare(_zero_one(lost, won, 500), alpha=alpha)

    assert (comparison.lower > 0) == (float(mcnemar(lost, won)) <= alpha)


def test_where_nothing_differs_the_bounds_are_the_rule_of_three() -> None:
    comparison = compare(_zero_one(0, 0, 200), alpha=0.05)

    assert (comparison.loss, comparison.p, comparison.p_gain) == (0, 1, 1)
    assert comparison.upper == pytest.approx(1 - 0.05 ** (1 / 200))
    assert comparison.lower == pytest.approx(-(1 - 0.05 ** (1 / 200)))
    assert comparison.variance == 1 / 201


def test_losses_alone_have_clopper_and_pearsons_upper_bound() -> None:
    comparison = compare(_zero_one(7, 0, 300), alpha=0.05)

    assert comparison.upper == pytest.approx(scipy.stats.binomtest(7, 300, alternative="less").proportion_ci(0.95, "exact").high, rel=1e-6)


def test_the_lower_bound_is_the_loss_beyond_what_chance_gives() -> None:
    comparison = compare(_zero_one(57, 16, 1319), alpha=0.05)

    # of 73 differing documents, 44 lost are not yet significant and 45 are
    assert scipy.stats.binomtest(44, 73, alternative="greater").pvalue > 0.05 > scipy.stats.binomtest(45, 73, alternative="greater").pvalue
    assert comparison.lower == pytest.approx(((57 - 16) - (44 - 29)) / 1319)


@pytest.mark.parametrize("true_loss", [0.0, 0.03, 0.1])
def test_the_lower_bound_is_too_high_at_most_as_often_as_it_may(true_loss: float) -> None:
    """Every outcome of 100 documents that is not absurdly rare, with its probability."""
    n, won_share = 100, 0.03
    chances = [true_loss + won_share, won_share, 1 - true_loss - 2 * won_share]
    missed = 0.0
    for lost, won in itertools.product(range(36), range(16)):
        if lost - won > true_loss * n and compare(_zero_one(lost, won, n), alpha=0.05).lower > true_loss:
            missed += scipy.stats.multinomial.pmf([lost, won, n - lost - won], n, chances)

    assert missed <= 0.05


def test_bounds_of_clusters_count_documents() -> None:
    """Clusters of three that lose or keep all their documents are single documents with three times the say."""
    single = compare(pair([1] * 40, [0] * 9 + [1] * 31), alpha=0.05)
    tripled = compare(pair([1] * 120, [0] * 27 + [1] * 93, clusters=[f"{index // 3}" for index in range(120)]), alpha=0.05)

    assert (tripled.loss, tripled.lower, tripled.upper, tripled.p) == pytest.approx((single.loss, single.lower, single.upper, single.p))


def test_the_two_alphas_are_of_the_two_bounds() -> None:
    paired = _zero_one(30, 10, 500)
    comparison = compare(paired, alpha=0.001, certify_alpha=0.1)

    assert comparison.lower == compare(paired, alpha=0.001).lower
    assert comparison.upper == mean_upper_bound(-paired.gains, worst=1, alpha=0.1)
    assert comparison.gained == compare(paired, alpha=0.1).gained


METHODS = {
    "0/1": (pair([1, 0, 1], [0, 0, 1]), "exact McNemar test"),
    "repeats": (pair([[1, 0], [1, 1]], [[0, 0], [1, 1]]), "exact sign-flip test"),
    "clusters": (pair([1, 0, 1], [0, 0, 1], clusters=["a", "a", None]), "exact sign-flip test"),
    "many graded": (pair(np.linspace(1, 2, 40) ** 0.5, np.linspace(1, 3, 40) ** 0.3), "seeded sign-flip test"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize(("paired", "method"), METHODS.values(), ids=METHODS)
def test_the_kind_of_scores_chooses_the_test(paired: Paired, method: str) -> None:
    assert compare(paired, alpha=0.05).method == method


# ------------------------------------------------------------------------------------------- corpus-level metrics


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
