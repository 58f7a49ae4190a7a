"""The simulation behind `benchmarks.gate`: candidates with a known true loss, the gate's verdicts, and the verdicts of other rules.

Candidates are drawn over two populations of documents. In one, a share of the documents falls to either side at random. The other is made
of a real model's recorded log-likelihoods, where every document has its own chance to flip. Everything is seeded. The gate's verdicts are
those of `compare`, `look` and `decide`, computed for many draws at once.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

from benchmarks import gate_repeats
from pytest_lighteval.comparison.compare import mcnemar
from pytest_lighteval.comparison.decision import Family, Policy
from pytest_lighteval.comparison.exchange import Runs, exchange_test, exchanges
from pytest_lighteval.comparison.mean_bounds import mean_tail
from pytest_lighteval.comparison.sequential import look_ends, nominal_levels, spent_alpha

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SIZES = (100, 200, 500, 1319, 14042)
LOSSES = (0.0, 0.005, 0.01, 0.02, 0.03, 0.05)
DISCORDANCE = 0.06
GATES = (10, 50)
POLICY = Policy()
SITUATIONS: Mapping[str, tuple[str, float, float]] = {
    "no change": ("made up", 0.0, 0.0),
    "no change, documents recorded": ("recorded", 0.0, 0.0),
    "0.5 points lost in every task": ("made up", 0.005, 0.005),
    "3 points lost in one task": ("made up", 0.03, 0.0),
}
"""Sessions: the population, the true loss of the first task, and that of all others."""
WIDER = Policy(max_drop=0.03)
"""The policy of the sequential mode's bars."""
HERE = Path(__file__).resolve().parent

EVERY_GATE = "every gate at alpha"
"""A session whose gates do not share alpha."""

PASSED, REGRESSED, IMPROVED, INCONCLUSIVE = range(4)


# ----------------------------------------------------------------------------------------------------- populations


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """Kinds of documents: how common each is, and how likely either model answers it right. `loss` is the true one."""

    name: str
    weights: Floats
    baseline: Floats
    candidate: Floats
    loss: float

    def cells(self) -> Floats:
        """Probabilities of (baseline right, first run of the candidate right, second run right), as an array of 2 x 2 x 2."""
        before, after = np.stack([1 - self.baseline, self.baseline]), np.stack([1 - self.candidate, self.candidate])
        joint: Floats = np.einsum("k,ak,bk,ck->abc", self.weights, before, after, after)
        return joint


def made_up(loss: float, discordance: float = DISCORDANCE, accuracy: float = 0.755) -> Population:
    """Some documents are right or wrong by a fair coin, the others always right or always wrong; of these some are lost."""
    coins = 2 * discordance
    weights = np.array([coins, loss, accuracy - coins / 2 - loss, 1 - accuracy - coins / 2])
    return Population(name="made up", weights=weights, baseline=np.array([0.5, 1, 1, 0]), candidate=np.array([0.5, 0, 1, 0]), loss=loss)


def recorded(loss: float, discordance: float = DISCORDANCE) -> Population:
    """Real documents: a run adds noise to each margin, so much that the discordance is reached; a loss lowers all margins."""
    margins = _margins()
    noise = optimize.brentq(
        lambda scale: np.mean(2 * stats.norm.cdf(margins / scale) * stats.norm.sf(margins / scale)) - discordance, 1e-3, 10
    )
    before = stats.norm.cdf(margins / noise)
    shift = optimize.brentq(lambda by: np.mean(before - stats.norm.cdf((margins - by) / noise)) - loss, 0, 10) if loss else 0.0
    after = stats.norm.cdf((margins - shift) / noise)
    return Population(name="recorded", weights=np.full(len(margins), 1 / len(margins)), baseline=before, candidate=after, loss=loss)


def _margins() -> Floats:
    tasks: Mapping[str, list[float]] = json.loads((HERE / "gate_documents.json").read_text("utf-8"))["margins"]
    return np.concatenate([np.asarray(margins) for margins in tasks.values()])


def drawn(population: Population, steps: Sequence[int], draws: int, seed: int) -> Ints:
    """Counts of documents `[draws, steps, 2, 2, 2]`: baseline right, candidate right, a second run of the candidate right."""
    rng = np.random.Generator(np.random.PCG64(seed))
    cells = population.cells().ravel()
    counts = np.stack([rng.multinomial(step, cells / cells.sum(), size=draws) for step in steps], axis=1)
    return counts.reshape(draws, len(steps), 2, 2, 2)


# ------------------------------------------------------------------------------------------------------- the gate


def certified(lost: Ints, won: Ints, *, n: int, max_drop: float, alpha: float) -> Bools:
    """Whether the upper bound of the loss is at most `max_drop`."""
    kinds, place = np.unique(won, return_inverse=True)
    most = np.asarray([_most_lost(int(kind), n, max_drop, alpha) for kind in kinds])
    low_enough: Bools = lost <= most[place].reshape(lost.shape)
    return low_enough


@functools.cache
def _most_lost(won: int, n: int, max_drop: float, alpha: float) -> int:
    """The most lost documents, given `won` won ones, with which `max_drop` is still certified. -1: it is not certified with none lost."""
    # never certified if the loss itself reaches max_drop
    low, high = -1, min(n - won, won + int(np.ceil(max_drop * n)))
    while high - low > 1:
        lost = (low + high) // 2
        if mean_tail([1, 0, -1], counts=[lost, n - lost - won, won], worst=1, mean=max_drop) <= alpha:
            low = lost
        else:
            high = lost
    return low


def fixed(lost: Ints, won: Ints, *, n: int, policy: Policy, alpha: float) -> Ints:
    """The verdicts over all documents, as `decide(compare(...))` gives them."""
    return np.select(
        [
            certified(lost, won, n=n, max_drop=policy.max_drop, alpha=policy.alpha),
            (mcnemar(lost, won) <= alpha) & (lost - won >= policy.least_loss * n - 1e-9),
            mcnemar(won, lost) <= policy.alpha,
        ],
        [PASSED, REGRESSED, IMPROVED],
        INCONCLUSIVE,
    )


def sequential(lost: Ints, won: Ints, *, ends: Sequence[int], policy: Policy, alpha: float) -> tuple[Ints, Ints]:
    """The verdicts at several looks, as `look` gives them, and the look (from 1) at which each draw stopped.

    `lost` and `won` are `[draws, looks]`: the new documents of each look.
    """
    spent, certifying = spent_alpha(alpha, ends), spent_alpha(policy.alpha, ends)
    levels = nominal_levels(certifying, ends)
    verdicts, stopped = np.full(len(lost), INCONCLUSIVE), np.full(len(lost), len(ends))
    found = np.zeros(len(lost), dtype=bool)
    going = np.arange(len(lost))
    for number, end in enumerate(ends, start=1):
        losses, gains = lost[going, :number].sum(axis=1), won[going, :number].sum(axis=1)
        passed = certified(losses, gains, n=end, max_drop=policy.max_drop, alpha=levels[number - 1])
        # the walk's p is never below the plain one, so only these can have crossed its boundary
        for draw in going[~passed & ~found[going] & (mcnemar(losses, gains) <= spent[number - 1] * (1 + 1e-9))]:
            walk = [[single_runs(np.repeat([1.0, -1.0], [lost[draw, part], won[draw, part]]))] for part in range(number)]
            found[draw] = exchange_test(exchanges(walk), spent[:number])[-1].significant
        least = policy.least_loss if end == ends[-1] else policy.max_drop
        regressed = ~passed & found[going] & (losses - gains >= least * end - 1e-9)
        verdicts[going[passed]], verdicts[going[regressed]] = PASSED, REGRESSED
        stopped[going[passed | regressed]] = number
        going = going[~passed & ~regressed]
    return verdicts, stopped


def single_runs(losses: Floats) -> Runs:
    """Documents with one run on either side and these losses."""
    return Runs(losses[:, None], np.zeros((len(losses), 1)))


def session_is_red(lost: Ints, won: Ints, *, n: int, policy: Policy, family: Family, in_looks: bool) -> Bools:
    """Whether any gate of a session or its pooled test is REGRESSED. `lost` and `won` are `[sessions, gates, looks]`."""
    shape = lost.shape
    flat = (-1, shape[2])
    if in_looks:
        ends = look_ends(n)
        verdicts, stopped = sequential(lost.reshape(flat), won.reshape(flat), ends=ends, policy=policy, alpha=family.gate_alpha)
        seen = np.arange(1, len(ends) + 1) <= stopped.reshape(*shape[:2], 1)
        lost, won = lost * seen, won * seen
        documents = np.asarray(ends)[stopped - 1].reshape(shape[:2]).sum(axis=1)
    else:
        verdicts = fixed(lost.reshape(flat).sum(1), won.reshape(flat).sum(1), n=n, policy=policy, alpha=family.gate_alpha)
        documents = np.full(shape[0], n * shape[1])
    red: Bools = (verdicts.reshape(shape[:2]) == REGRESSED).any(axis=1)
    pooled, losses, gains = policy.pooled, lost.sum(axis=(1, 2)), won.sum(axis=(1, 2))
    found = (mcnemar(losses, gains) <= (family.pooled_alpha or 0.0)) & (losses - gains >= pooled.least_loss * documents)
    for index in np.flatnonzero(found & ~red):
        counts = [losses[index], documents[index] - losses[index] - gains[index], gains[index]]
        red[index] = mean_tail([1, 0, -1], counts=counts, worst=1, mean=pooled.max_drop) > pooled.alpha
    return red


# ------------------------------------------------------------------------------------------ the rules of others


def _right(counts: Ints) -> tuple[Ints, Ints, Ints]:
    """Documents right in the baseline, in the candidate, in a second run of the candidate."""
    whole = counts.sum(axis=1)
    return whole[:, 1].sum(axis=(1, 2)), whole[:, :, 1].sum(axis=(1, 2)), whole[:, :, :, 1].sum(axis=(1, 2))


def relative_tolerance(counts: Ints, n: int) -> Bools:
    before, after, _ = _right(counts)
    return after < 0.92 * before


def floor(counts: Ints, n: int) -> Bools:
    before, after, _ = _right(counts)
    return after < before - 0.02 * n


def best_of_two(counts: Ints, n: int) -> Bools:
    before, first, second = _right(counts)
    return np.maximum(first, second) < before - 0.02 * n


def unpaired(counts: Ints, n: int) -> Bools:
    before, after, _ = _right(counts)
    flagged: Bools = (after - before) / n < stats.norm.ppf(0.05) * np.sqrt(2 * 0.5**2 / n)
    return flagged


def wilson_floor(counts: Ints, n: int) -> Bools:
    before, after, _ = _right(counts)
    z = 1.96
    share = after / n
    centre, spread = share + z * z / (2 * n), z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    lower: Floats = (centre - spread) / (1 + z * z / n)
    return lower < 0.92 * before / n


RULES: Mapping[str, Callable[[Ints, int], Bools]] = {
    "8 % relative tolerance": relative_tolerance,
    "floor at reference - 2 points": floor,
    "the same, best of two attempts": best_of_two,
    "unpaired alpha-beta rule": unpaired,
    "Wilson floor at 92 %": wilson_floor,
}


# ---------------------------------------------------------------------------------------------------- simulating


@dataclass(slots=True)
class Measured:
    """Shares in percent."""

    draws: int
    flagged: dict[tuple[str, int, str], list[float]] = field(default_factory=dict)
    """(population, n, rule) -> share of runs flagged at each of LOSSES."""
    verdicts: dict[tuple[str, int, str], list[list[float]]] = field(default_factory=dict)
    """(population, n, mode) -> [PASSED, REGRESSED, IMPROVED, INCONCLUSIVE] at each of LOSSES."""
    documents: dict[tuple[str, int, float], list[float]] = field(default_factory=dict)
    """(population, n, max_drop) -> share of the documents used at each of LOSSES."""
    sessions: dict[tuple[str, int, str], list[float]] = field(default_factory=dict)
    """(situation, gates, mode or rule) -> share of sessions that are red, at each of SIZES."""
    repeats: list[float] = field(default_factory=list)
    """200 documents, 4 runs of either model: share REGRESSED at each of LOSSES."""
    cells: dict[gate_repeats.Cell, gate_repeats.Shares] = field(default_factory=dict)
    """Several runs of a side: share in which a loss is found although nothing changed, at each of `gate_repeats.ALPHAS`."""


def percent(of: npt.NDArray[Any]) -> float:
    """A share in percent."""
    return 100 * float(np.mean(of))


def _shares(verdicts: Ints) -> list[float]:
    return [percent(verdicts == kind) for kind in (PASSED, REGRESSED, IMPROVED, INCONCLUSIVE)]


def simulate(draws: int, sizes: Sequence[int], say: Callable[[str], None]) -> Measured:
    """All of it."""
    measured = Measured(draws=draws)
    seeds = np.random.SeedSequence(20)
    for make in (made_up, recorded):
        for n in sizes:
            ends = look_ends(n)
            steps = np.diff([0, *ends])
            for loss in LOSSES:
                population = make(loss)
                counts = drawn(population, [int(step) for step in steps], draws, int(seeds.spawn(1)[0].generate_state(1)[0]))
                _measure(measured, population.name, n, ends, counts)
            say(f"{population.name}, n = {n}")
    for situation in SITUATIONS:
        for n in sizes:
            for gates in GATES:
                _measure_sessions(measured, situation, n, gates, int(seeds.spawn(1)[0].generate_state(1)[0]))
        say(f"sessions, {situation}")
    measured.repeats = [_repeats(loss, 200, 4, draws, seed) for seed, loss in enumerate(LOSSES)]
    say("repeats")
    units = [count for count in gate_repeats.UNITS if count < max(sizes)]
    measured.cells = gate_repeats.simulate_cells(min(draws, gate_repeats.MOST_DRAWS), say, units=units)
    return measured


def _measure(measured: Measured, name: str, n: int, ends: Sequence[int], counts: Ints) -> None:
    for rule, flags in RULES.items():
        measured.flagged.setdefault((name, n, rule), []).append(percent(flags(counts, n)))
    first = counts.sum(axis=4)
    lost, won = first[:, :, 1, 0], first[:, :, 0, 1]
    for mode, policy in (("fixed", POLICY), ("sequential", POLICY), ("sequential, max_drop 3 points", WIDER)):
        if mode == "fixed":
            verdicts = fixed(lost.sum(axis=1), won.sum(axis=1), n=n, policy=policy, alpha=policy.alpha)
        else:
            verdicts, stopped = sequential(lost, won, ends=ends, policy=policy, alpha=policy.alpha)
            measured.documents.setdefault((name, n, policy.max_drop), []).append(percent(np.asarray(ends)[stopped - 1] / n))
        measured.verdicts.setdefault((name, n, mode), []).append(_shares(verdicts))


def _measure_sessions(measured: Measured, situation: str, n: int, gates: int, seed: int) -> None:
    rng = np.random.Generator(np.random.PCG64(seed))
    kind, first, others = SITUATIONS[situation]
    make = made_up if kind == "made up" else recorded
    cells = {loss: make(loss).cells().ravel() for loss in {first, others}}
    steps = np.diff([0, *look_ends(n)])
    flagged = {rule: np.zeros(measured.draws, dtype=bool) for rule in RULES}
    parts = []
    for loss in [first, *[others] * (gates - 1)]:
        drawn_here = np.stack([rng.multinomial(step, cells[loss] / cells[loss].sum(), size=measured.draws) for step in steps], axis=1)
        counts = drawn_here.reshape(measured.draws, len(steps), 2, 2, 2)
        for rule, flags in RULES.items():
            flagged[rule] |= flags(counts, n)
        pairs = counts.sum(axis=4)
        parts.append(np.stack([pairs[:, :, 1, 0], pairs[:, :, 0, 1]], axis=-1))
    counts = np.stack(parts, axis=1)
    for mode in ("fixed", "sequential"):
        red = session_is_red(
            counts[..., 0],
            counts[..., 1],
            n=n,
            policy=POLICY,
            family=Family(alpha=POLICY.alpha, gates=gates),
            in_looks=mode == "sequential",
        )
        measured.sessions.setdefault((situation, gates, mode), []).append(percent(red))
    alone = mcnemar(counts[..., 0].sum(axis=2), counts[..., 1].sum(axis=2)) <= POLICY.alpha
    measured.sessions.setdefault((situation, gates, EVERY_GATE), []).append(percent(alone.any(axis=1)))
    for rule, red in flagged.items():
        measured.sessions.setdefault((situation, gates, rule), []).append(percent(red))


def _repeats(loss: float, n: int, repeats: int, draws: int, seed: int) -> float:
    """Share REGRESSED where each model answers every document several times. A lost document is lost in all of them."""
    rng = np.random.Generator(np.random.PCG64(seed))
    weights = made_up(loss).weights
    flagged = 0
    for _ in range(draws):
        coins, lost, *_ = rng.multinomial(n, weights)
        before, after = rng.integers(0, 2, size=(2, coins, repeats)).astype(np.float64)
        runs = Runs(np.concatenate([before, np.ones((lost, repeats))]), np.concatenate([after, np.zeros((lost, repeats))]))
        losses = runs.baseline.mean(axis=1) - runs.candidate.mean(axis=1)
        if losses.sum() < POLICY.least_loss * n - 1e-9:
            continue
        if mean_tail(np.append(losses, np.zeros(n - len(losses))), worst=1, mean=POLICY.max_drop) > POLICY.alpha:
            flagged += exchange_test(exchanges([[runs]]), [POLICY.alpha])[0].significant
    return 100 * flagged / draws
