"""Exchanged sides and exchanged runs: every probability against plain enumeration, scipy's own tests, or a second convolution."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_lighteval.comparison import exchange
from pytest_lighteval.comparison.exchange import LookResult, Runs, exchange_test, exchanges
from pytest_lighteval.comparison.sums import FFT_ERROR

WHOLE = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=9)
QUARTERS = st.lists(st.integers(-4, 4).map(lambda steps: steps / 4), min_size=1, max_size=9)
LOSSES = st.one_of(WHOLE, QUARTERS)

Unit = tuple[Sequence[float], Sequence[float]]
"""The baseline's runs and the candidate's."""


def single(losses: npt.ArrayLike) -> Runs:
    """Units with one run on either side that have these losses."""
    lost = np.asarray(losses, dtype=np.float64)[:, None]
    return Runs(np.maximum(lost, 0), np.maximum(-lost, 0))


def repeated(units: Iterable[Unit]) -> list[Runs]:
    return [Runs(np.asarray([before], dtype=np.float64), np.asarray([after], dtype=np.float64)) for before, after in units]


def signs_tested(looks: Iterable[npt.ArrayLike], spent: Sequence[float]) -> tuple[LookResult, ...]:
    return exchange_test(exchanges([[single(look)] for look in looks]), spent)


def _enumerated(looks: list[list[list[float]]], observed: Sequence[float], spent: Sequence[float]) -> list[float]:
    """Stage-wise p at each look, from every combination of what the units of all looks may lose, each as likely as any other."""
    paths = []
    for outcome in itertools.product(*(unit for look in looks for unit in look)):
        left, total, path = list(outcome), 0.0, []
        for look in looks:
            total += sum(left.pop(0) for _ in look)
            path.append(total)
        paths.append(path)
    alive, gone, found = paths, 0, []
    for number, limit in enumerate(spent):
        reached = sum(observed[: number + 1])
        found.append((gone + sum(path[number] >= reached - 1e-9 for path in alive)) / len(paths))
        crossing = [
            path for path in alive if (gone + sum(other[number] >= path[number] - 1e-9 for other in alive)) / len(paths) <= limit + 1e-12
        ]
        alive = [path for path in alive if path not in crossing]
        gone += len(crossing)
    return found


def _flipped(losses: Iterable[float]) -> list[list[float]]:
    return [[loss, -loss] for loss in losses]


@settings(max_examples=50, deadline=None)
@given(LOSSES, st.sampled_from([0.01, 0.05, 0.125, 0.3]))
def test_one_look_at_single_runs_is_the_enumerated_sign_flip_test(losses: list[float], alpha: float) -> None:
    (look,) = signs_tested([losses], [alpha])

    assert look.p == pytest.approx(_enumerated([_flipped(losses)], [sum(losses)], [alpha])[0], rel=1e-9)
    assert look.significant == (look.p <= alpha * (1 + 1e-9))
    assert look.significant == (sum(losses) > look.critical + 1e-9)
    assert look.reached == pytest.approx(sum(losses))
    assert not look.is_rounded


@settings(max_examples=40, deadline=None)
@given(st.lists(LOSSES.map(lambda losses: losses[:3]), min_size=2, max_size=3))
def test_several_looks_at_single_runs_are_the_enumerated_walk(looks: list[list[float]]) -> None:
    spent = [0.3 * (number + 1) / len(looks) for number in range(len(looks))]

    found = signs_tested(looks, spent)

    expected = _enumerated([_flipped(look) for look in looks], [sum(look) for look in looks], spent)
    assert [look.p for look in found] == pytest.approx(expected, rel=1e-9)


SCORE = st.sampled_from([0.0, 0.25, 1.0])
SHAPES = st.sampled_from([(2, 1), (3, 1), (1, 2), (2, 2), (1, 1)])
UNITS = st.lists(
    SHAPES.flatmap(
        lambda shape: st.tuples(*(st.lists(SCORE, min_size=runs, max_size=runs) for runs in shape)),
    ),
    min_size=1,
    max_size=4,
)


def _loss(unit: Unit) -> float:
    return sum(unit[0]) / len(unit[0]) - sum(unit[1]) / len(unit[1])


@settings(max_examples=60, deadline=None)
@given(UNITS)
def test_p_is_the_largest_of_exchanged_sides_exchanged_runs_and_sides_with_an_unseen_unit(units: list[Unit]) -> None:
    losses = [_loss(unit) for unit in units]

    (look,) = exchange_test(exchanges([repeated(units)]), [0.05])

    sides = _enumerated([_flipped(losses)], [sum(losses)], [0.05])[0]
    spreads = [max(*before, *after) - min(*before, *after) for before, after in units if len(before) != len(after)]
    unseen = _enumerated([_flipped([*losses, max(spreads, default=0.0)])], [sum(losses)], [0.05])[0]
    assert look.p == pytest.approx(max(sides, _enumerated_runs(units), unseen), rel=1e-9)
    assert look.significant == (look.p <= 0.05 * (1 + 1e-9))


def _enumerated_runs(units: Sequence[Unit]) -> float:
    """P(sum of the losses >= the observed one) over all ways to hand the runs of every unit to the two sides."""
    choices = []
    for before, after in units:
        runs = [*before, *after]
        ways = list(itertools.combinations(range(len(runs)), len(before)))
        choices.append(
            [_loss(([runs[place] for place in way], [runs[place] for place in range(len(runs)) if place not in way])) for way in ways]
        )
    sums = [sum(outcome) for outcome in itertools.product(*choices)]
    return sum(total >= sum(map(_loss, units)) - 1e-9 for total in sums) / len(sums)


def test_eight_independent_runs_against_one_are_no_proof_where_few_are_right() -> None:
    """Each of 200 documents is right once in the eight runs of the baseline or not at all, and the candidate has none of them right."""
    units = [([1.0] + [0.0] * 7, [0.0])] * 20 + [([0.0] * 8, [0.0])] * 180

    (look,) = exchange_test(exchanges([repeated(units)]), [0.05])

    # the sides alone call it certain: 2**-20; that the lone right run of each is among the eight has the chance (8/9)**20
    assert look.p == pytest.approx((8 / 9) ** 20, rel=1e-9)


def test_copies_of_one_run_are_exchanged_as_one_side() -> None:
    units = [([1.0] * 4, [0.0])] * 12 + [([0.0] * 4, [1.0])] * 3

    (look,) = exchange_test(exchanges([repeated(units)]), [0.05])

    assert look.p == pytest.approx(scipy.stats.binomtest(12, 15, alternative="greater").pvalue, rel=1e-9)


def test_the_gain_is_tested_on_the_same_exchanges_mirrored() -> None:
    units = [([1.0, 0.0], [1.0])] * 5 + [([0.0, 0.0], [1.0])] * 9 + [([1.0, 1.0], [0.0])] * 2
    turned = [([-score for score in before], [-score for score in after]) for before, after in units]

    gain, loss = exchange_test(exchanges([repeated(units)]).mirrored, [0.05]), exchange_test(exchanges([repeated(turned)]), [0.05])

    assert (gain[0].p, gain[0].critical, gain[0].reached) == pytest.approx((loss[0].p, loss[0].critical, loss[0].reached))


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (5, 0), (57, 16), (16, 57), (400, 350), (1000, 900)])
def test_equal_sizes_are_the_binomial_test(lost: int, won: int) -> None:
    (look,) = signs_tested([np.repeat([1.0, -1.0, 0.0], [lost, won, 30])], [0.05])

    expected = scipy.stats.binomtest(lost, lost + won, alternative="greater").pvalue if lost + won else 1.0
    assert look.p == pytest.approx(expected, rel=1e-9)


def test_a_p_of_single_scores_is_exact_however_small() -> None:
    (look,) = signs_tested([np.repeat([1.0, -1.0], [200, 10])], [0.05])

    assert look.p == pytest.approx(scipy.stats.binomtest(200, 210, alternative="greater").pvalue, rel=1e-6)
    assert look.p < 1e-40


def test_graded_values_agree_with_scipys_permutation_test() -> None:
    losses = np.random.default_rng(3).normal(0.3, 1, size=12)

    (look,) = signs_tested([losses], [0.05])

    expected = scipy.stats.permutation_test(
        (losses,), lambda sample, axis: np.sum(sample, axis=axis), permutation_type="samples", alternative="greater", n_resamples=10_000
    ).pvalue
    # the grid may swap sums that are nearly equal
    assert look.p == pytest.approx(expected, abs=2 / 2**12)
    assert look.is_rounded


def _convolved(sizes: list[int], at_least: int) -> float:
    """P(sum of +-sizes >= at_least), unit by unit."""
    chances = np.zeros(2 * sum(sizes) + 1)
    chances[sum(sizes)] = 1
    for size in sizes:
        chances = (np.roll(chances, size) + np.roll(chances, -size)) / 2
    return float(chances[sum(sizes) + at_least :].sum())


def test_a_grid_of_its_own_is_close_to_the_exact_distribution() -> None:
    # thousandths are a finer grid than is kept
    steps = np.random.default_rng(5).integers(-800, 1001, size=90)

    (look,) = signs_tested([steps / 1000], [0.05])

    assert look.is_rounded
    assert look.p == pytest.approx(_convolved(np.abs(steps).tolist(), int(steps.sum())), rel=0.01)
    assert abs(look.reached - steps.sum() / 1000) < 0.01


@pytest.mark.parametrize("shape", [(1, 1), (3, 1)])
def test_the_grid_is_the_same_whatever_is_exchanged(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(2)
    units = rng.normal(size=(50, sum(shape)))
    split = shape[0]

    grids, sums = set(), []
    for runs in (units, rng.permuted(units, axis=1), -units):
        found = exchanges([[Runs(runs[:, :split], runs[:, split:])]])
        grids.add(found.grid.step)
        sums.append(found.observed[0])

    assert len(grids) == 1
    assert sums[2] == -sums[0]


def test_scores_that_differ_by_rounding_are_equal() -> None:
    total = 0.1 + 0.2 + 0.3

    (look,) = exchange_test(exchanges([[Runs(np.asarray([[total]]), np.asarray([[0.3 + 0.2 + 0.1]]))]]), [0.05])

    assert (look.p, look.reached) == (1.0, 0.0)


def test_scores_of_any_size_have_a_grid() -> None:
    for scale in (1e-300, 1e-9, 1e9, 1e300):
        losses = np.random.default_rng(1).normal(0.5, 1, size=30) * scale

        (look,) = signs_tested([losses], [0.05])
        (unscaled,) = signs_tested([losses / scale], [0.05])

        assert look.p == pytest.approx(unscaled.p, rel=0.05)


def test_too_many_exchanges_of_runs_are_exchanged_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two blocks of two runs on either side; the fifth run of the baseline stays where it is."""
    rng = np.random.default_rng(4)
    units = [(rng.integers(0, 5, size=5) / 4, rng.integers(0, 4, size=4) / 4) for _ in range(4)]
    monkeypatch.setattr(exchange, "_MOST_EXCHANGES", 4 * math.comb(4, 2))

    found = exchanges([[Runs(np.stack([before for before, _ in units]), np.stack([after for _, after in units]))]])

    blocks = [([*before[:4].reshape(2, 2).sum(axis=1), *after.reshape(2, 2).sum(axis=1)], before[4]) for before, after in units]
    ways = [
        [(kept + sums[one] + sums[two]) / 5 - (sum(sums) - sums[one] - sums[two]) / 4 for one, two in itertools.combinations(range(4), 2)]
        for sums, kept in blocks
    ]
    sums = np.asarray([sum(outcome) for outcome in itertools.product(*ways)])
    law = found.laws[1][0]
    reached = law.first + np.arange(len(law.probabilities))
    for at_least in (-10, 0, 15):
        expected = np.mean(sums >= at_least * found.grid.step - 1e-9)
        assert law.probabilities[reached >= at_least].sum() == pytest.approx(expected)


def test_many_graded_units_are_summed_in_tables_as_one_by_one() -> None:
    rng = np.random.default_rng(6)
    runs = rng.uniform(size=(200, 3)) + rng.normal(0, 0.5, size=(200, 1))
    runs[:, 0] += 0.03

    (together,) = exchange_test(exchanges([[Runs(runs[:, :2], runs[:, 2:])]]), [0.05])

    losses = runs[:, :2].mean(axis=1) - runs[:, 2]
    alone = np.take_along_axis(runs, rng.integers(0, 3, size=(200, 20_000)), axis=1)
    by_runs = np.mean(((runs.sum(axis=1, keepdims=True) - alone) / 2 - alone).sum(axis=0) >= losses.sum())
    by_sides = np.mean(losses @ rng.choice([1, -1], size=(200, 20_000)) >= losses.sum())
    assert together.p == pytest.approx(max(by_runs, by_sides), abs=0.012)


def test_a_transformed_distribution_never_gives_a_p_below_its_error() -> None:
    losses = np.random.default_rng(1).uniform(0.5, 1, size=3000)

    (look,) = signs_tested([losses], [0.05])

    assert FFT_ERROR <= look.p < 2 * FFT_ERROR
    assert look.significant


def test_the_order_of_units_does_not_matter() -> None:
    losses = np.random.default_rng(0).normal(size=40)

    assert signs_tested([losses], [0.05])[0].p == pytest.approx(signs_tested([losses[::-1]], [0.05])[0].p, rel=1e-12)


def test_what_a_look_does_not_spend_is_there_for_the_next() -> None:
    # a first look at three documents cannot be significant; the second has all of the alpha
    first, second = np.ones(3), np.repeat([1.0, -1.0], [6, 2])

    late, (whole,) = signs_tested([first, second], [0.02, 0.05])[1], signs_tested([np.concatenate([first, second])], [0.05])
    assert late.p == pytest.approx(whole.p, rel=1e-9)
    assert (late.critical, late.significant) == (whole.critical, True)


def test_the_chance_to_cross_any_boundary_is_at_most_what_is_spent() -> None:
    rng = np.random.default_rng(11)
    sizes = [np.ones(40), np.ones(30), np.ones(30)]
    crossed = 0
    for _ in range(2000):
        walk = [size * rng.choice([1.0, -1.0], size=len(size)) for size in sizes]
        crossed += any(look.significant for look in signs_tested(walk, [0.02, 0.05, 0.1]))

    # exact by design and discrete, so below; three standard errors of the simulation above
    assert 0.07 < crossed / 2000 < 0.1 + 3 * math.sqrt(0.09 / 2000)


def test_what_a_look_found_stays_found_when_graded_scores_follow() -> None:
    rng = np.random.default_rng(3)
    looks = [rng.normal(0.4, 1, size=60) * scale for scale in (1, 0.01, 3)]

    first = signs_tested(looks[:1], [0.1])[0]
    later = signs_tested(looks, [0.1, 0.1, 0.1])[0]

    assert first == later


def test_nothing_that_differs_is_no_evidence() -> None:
    (look,) = signs_tested([np.zeros(50)], [0.05])

    assert (look.p, look.critical, look.significant) == (1.0, 0.0, False)


def test_the_boundary_is_half_way_to_the_next_sum() -> None:
    # of 73 coins, 44 heads are not yet significant and 45 are
    (look,) = signs_tested([np.repeat([1.0, -1.0], [57, 16])], [0.05])
    (all_lost,) = signs_tested([np.ones(3)], [0.05])

    assert (look.critical, look.boundary) == (44 - 29, 16)
    assert (all_lost.critical, all_lost.boundary) == (3, 3)
