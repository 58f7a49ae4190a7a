"""Random signs: every probability against plain enumeration, scipy's own tests, or a second simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_lighteval.comparison.sign_flips import FloatArray, sign_flip_test

WHOLE = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=9)
QUARTERS = st.lists(st.integers(-4, 4).map(lambda steps: steps / 4), min_size=1, max_size=9)
ANY = st.lists(st.floats(-1, 1, allow_subnormal=False).map(lambda value: round(value, 6) * math.pi), min_size=1, max_size=9)
LOSSES = st.one_of(WHOLE, QUARTERS, ANY)


def _enumerated(looks: list[list[float]], spent: list[float]) -> list[tuple[float, bool]]:
    """Stage-wise p and significance at each look, from all sign patterns, one after the other."""
    sizes = [[abs(value) for value in look] for look in looks]
    paths = []
    for signs in itertools.product([1, -1], repeat=sum(map(len, sizes))):
        left, total, path = list(signs), 0.0, []
        for look in sizes:
            total += sum(size * left.pop() for size in look)
            path.append(total)
        paths.append(path)
    alive, gone, found = paths, 0, []
    for number, limit in enumerate(spent):
        reached = sum(map(sum, looks[: number + 1]))
        above = sum(path[number] >= reached - 1e-9 for path in alive)
        p = (gone + above) / len(paths)
        found.append((p, p <= limit + 1e-12))
        # the sums that would have been significant, by the same rule for each
        crossing = [
            path for path in alive if (gone + sum(other[number] >= path[number] - 1e-9 for other in alive)) / len(paths) <= limit + 1e-12
        ]
        alive = [path for path in alive if path not in crossing]
        gone += len(crossing)
    return found


@settings(max_examples=50, deadline=None)
@given(LOSSES, st.sampled_from([0.01, 0.05, 0.125, 0.3]))
def test_one_look_is_the_enumerated_sign_flip_test(losses: list[float], alpha: float) -> None:
    (look,) = sign_flip_test([losses], [alpha])
    ((p, significant),) = _enumerated([losses], [alpha])

    assert look.exact
    assert look.p == pytest.approx(p, rel=1e-9)
    assert look.significant == significant


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(WHOLE, QUARTERS, ANY).map(lambda losses: losses[:3]), min_size=2, max_size=3))
def test_several_looks_are_the_enumerated_walk(looks: list[list[float]]) -> None:
    spent = [0.3 * (number + 1) / len(looks) for number in range(len(looks))]

    found = sign_flip_test(looks, spent)

    expected = _enumerated(looks, spent)
    assert [look.p for look in found] == pytest.approx([p for p, _ in expected], rel=1e-9)
    assert [look.significant for look in found] == [significant for _, significant in expected]


@settings(deadline=None)
@given(LOSSES, st.sampled_from([0.01, 0.05, 0.125, 0.3]))
def test_a_sum_is_significant_exactly_when_p_is_at_most_alpha_and_when_it_exceeds_the_critical_one(
    losses: list[float], alpha: float
) -> None:
    (look,) = sign_flip_test([losses], [alpha])

    assert look.significant == (look.p <= alpha * (1 + 1e-9))
    assert look.significant == (sum(losses) > look.critical + 1e-9)


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (5, 0), (57, 16), (16, 57), (400, 350), (1000, 900)])
def test_equal_sizes_are_the_binomial_test(lost: int, won: int) -> None:
    (look,) = sign_flip_test([np.repeat([1.0, -1.0, 0.0], [lost, won, 30])], [0.05])

    expected = scipy.stats.binomtest(lost, lost + won, alternative="greater").pvalue if lost + won else 1.0
    assert look.p == pytest.approx(expected, rel=1e-9)


def test_graded_values_agree_with_scipys_permutation_test() -> None:
    losses = np.random.default_rng(3).normal(0.3, 1, size=12)

    (look,) = sign_flip_test([losses], [0.05])

    expected = scipy.stats.permutation_test(
        (losses,), lambda sample, axis: np.sum(sample, axis=axis), permutation_type="samples", alternative="greater", n_resamples=10_000
    ).pvalue
    assert look.p == pytest.approx(expected, rel=1e-9)


def _awkward(count: int) -> FloatArray:
    """Values that no grid holds, each several times or once."""
    rng = np.random.default_rng(count)
    return np.concatenate([rng.normal(0.15, 1, size=count), rng.choice([math.pi, -math.e, math.sqrt(2)], size=count)])


def _convolved(sizes: list[int], at_least: int) -> float:
    """P(sum of +-sizes >= at_least), unit by unit."""
    chances = np.zeros(2 * sum(sizes) + 1)
    chances[sum(sizes)] = 1
    for size in sizes:
        chances = (np.roll(chances, size) + np.roll(chances, -size)) / 2
    return float(chances[sum(sizes) + at_least :].sum())


def test_seeded_signs_agree_with_the_exact_distribution() -> None:
    # thousandths of sizes up to one: too long a grid for the exact way
    steps = np.random.default_rng(5).integers(-800, 1001, size=90)

    (look,) = sign_flip_test([steps / 1000], [0.05])

    p = _convolved(np.abs(steps).tolist(), int(steps.sum()))
    assert not look.exact
    assert look.p == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / 100_000))


def test_seeded_looks_agree_with_one_another_whether_values_repeat_or_not() -> None:
    rng = np.random.default_rng(8)
    looks = [rng.choice([math.pi, -1.0, 1.0, 0.5], size=40) for _ in range(3)]
    apart = [look * (1 + rng.uniform(-1e-6, 1e-6, size=40)) for look in looks]

    together, single = sign_flip_test(looks, [0.02, 0.05, 0.1]), sign_flip_test(apart, [0.02, 0.05, 0.1])

    assert [look.exact for look in (*together, *single)] == [False] * 6
    assert [look.p for look in single] == pytest.approx([look.p for look in together], abs=0.01)


def test_seeded_signs_depend_on_the_seed_alone() -> None:
    losses = _awkward(30)

    assert sign_flip_test([losses], [0.05], seed=1) == sign_flip_test([losses], [0.05], seed=1)
    assert sign_flip_test([losses], [0.05], seed=1) != sign_flip_test([losses], [0.05], seed=2)


def test_seeded_signs_never_give_a_p_of_nought_or_one_below_what_the_draws_can_tell() -> None:
    losses = np.abs(_awkward(30))
    (look,) = sign_flip_test([losses], [0.0001], draws=999)

    assert look.p == 1 / 1000
    assert not look.significant
    assert look.critical == pytest.approx(losses.sum())


def test_the_order_of_units_does_not_matter_to_an_exact_test() -> None:
    losses = np.random.default_rng(0).choice([1.0, -1.0, 0.5], size=40)

    assert sign_flip_test([losses], [0.05]) == sign_flip_test([losses[::-1]], [0.05])


def test_what_a_look_does_not_spend_is_there_for_the_next() -> None:
    # a first look at three documents cannot be significant; the second has all of the alpha
    first, second = np.ones(3), np.repeat([1.0, -1.0], [6, 2])

    late, (whole,) = sign_flip_test([first, second], [0.02, 0.05])[1], sign_flip_test([np.concatenate([first, second])], [0.05])
    assert late.p == pytest.approx(whole.p, rel=1e-9)
    assert (late.critical, late.significant) == (whole.critical, True)


def test_the_chance_to_cross_any_boundary_is_at_most_what_is_spent() -> None:
    rng = np.random.default_rng(11)
    sizes = [np.ones(40), np.ones(30), np.ones(30)]
    crossed = 0
    for _ in range(2000):
        walk = [size * rng.choice([1.0, -1.0], size=len(size)) for size in sizes]
        crossed += any(look.significant for look in sign_flip_test(walk, [0.02, 0.05, 0.1]))

    # exact by design and discrete, so below; three standard errors of the simulation above
    assert 0.07 < crossed / 2000 < 0.1 + 3 * math.sqrt(0.09 / 2000)


def test_nothing_that_differs_is_no_evidence() -> None:
    (look,) = sign_flip_test([np.zeros(50)], [0.05])

    assert (look.p, look.critical, look.significant) == (1.0, 0.0, False)
