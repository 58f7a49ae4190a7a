"""The second voice of the gate, simulated over recorded log-likelihoods of a real model: what it finds, and how often it is wrong.

Documents are drawn from `gate_margins.json`. A run adds noise to the log-likelihood of every choice, so much that the answers of two runs
differ in 6 % of the documents. The candidate is then changed in one of these ways:

- shift: the right choice of every document becomes less likely by the same amount, until so many points are lost;
- break: some documents that were right become wrong for good, drawn from all, or from those with the larger margins (safe);
- confidence: all log-likelihoods are divided by a temperature, or one choice gets a constant bonus. No true loss is due to the first.

The verdicts of the scores are those of `gate_simulation`. The soft test is that of `comparison.soft`, for many comparisons at once; where a
normal approximation is near its level, `exchange_test` decides.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from benchmarks.gate_simulation import DISCORDANCE, INCONCLUSIVE, REGRESSED, Bools, Floats, Ints, fixed
from pytest_lighteval.comparison.decision import Family, Policy
from pytest_lighteval.comparison.exchange import Runs as ExchangedRuns
from pytest_lighteval.comparison.exchange import exchange_test, exchanges
from pytest_lighteval.comparison.soft import SOFT_SHARE, WIDTH

TABLE = Path(__file__).with_name("gate_margins.json")
BLOCK = 4_000_000
"""Numbers that are drawn at a time."""
_NEAR = 0.3
"""Standard errors from its level within which the exact test decides."""
_LEAST_Z = 1.2
"""No level that is asked for needs less."""


# ------------------------------------------------------------------------------------------------------ documents


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recorded:
    """The documents of one task: log-likelihoods `[documents, choices]` by variant, and the place of the right choice."""

    name: str
    gold: Ints
    variants: Mapping[str, Floats]

    @property
    def original(self) -> Floats:
        """Of the model before its weights were rounded."""
        return self.variants["original"]


@functools.cache
def recorded_tasks() -> tuple[Recorded, ...]:
    """All tasks of the table."""
    tasks: Mapping[str, Mapping[str, Any]] = json.loads(TABLE.read_text("utf-8"))["tasks"]
    return tuple(
        Recorded(
            name=name,
            gold=np.asarray(columns["gold"]),
            variants={variant: _padded(rows) for variant, rows in columns.items() if variant != "gold"},
        )
        for name, columns in tasks.items()
    )


def _padded(rows: Sequence[Sequence[float]]) -> Floats:
    """Documents with fewer choices get further ones that are impossible."""
    most = max(map(len, rows))
    return np.asarray([[*row, *[-np.inf] * (most - len(row))] for row in rows])


def margins(logprobs: npt.NDArray[Any], gold: Ints) -> Floats:
    """The lead of the right choice, over the last axis."""
    right = np.take_along_axis(logprobs, gold[..., None], axis=-1)[..., 0]
    wrong = logprobs.copy()
    np.put_along_axis(wrong, gold[..., None], -np.inf, axis=-1)
    lead: Floats = right - wrong.max(axis=-1)
    return lead


@functools.cache
def noise_of(task: Recorded, discordance: float = DISCORDANCE) -> float:
    """The standard deviation of the noise with which two runs give so many different answers."""
    rng = np.random.Generator(np.random.PCG64(1))
    drawn = rng.integers(0, len(task.gold), 40_000)
    first, second = rng.standard_normal((2, len(drawn), task.original.shape[1]))

    def differs(scale: float) -> float:
        sides = [margins(task.original[drawn] + scale * noise, task.gold[drawn]) > 0 for noise in (first, second)]
        return float(np.mean(sides[0] != sides[1])) - discordance

    return float(optimize.brentq(differs, 1e-3, 20, xtol=1e-3))


@functools.cache
def shift_of(task: Recorded, loss: float) -> float:
    """The shift of all right choices that loses so much."""
    rng = np.random.Generator(np.random.PCG64(2))
    drawn = rng.integers(0, len(task.gold), 200_000)
    noise = noise_of(task) * rng.standard_normal((len(drawn), task.original.shape[1]))
    lead = np.sort(margins(task.original[drawn] + noise, task.gold[drawn]))
    first = int(np.searchsorted(lead, 0, side="right"))
    return float(lead[first + round(loss * len(lead)) - 1]) if loss else 0.0


# -------------------------------------------------------------------------------------------------------- changes


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is different about the candidate."""

    name: str
    shift: float = 0.0
    """The loss that a shift of all margins brings."""
    broken: float = 0.0
    """The share of documents that break."""
    is_safe: bool = False
    """Those that break are among the safer half of the right ones."""
    temperature: float = 1.0
    bias: float = 0.0
    """Nats that the first choice gets in every document."""


NOTHING = Change(name="nothing")
CONFIDENCE = (
    Change(name="temperature 0.8", temperature=0.8),
    Change(name="temperature 1.25", temperature=1.25),
    Change(name="0.2 nats for the first choice", bias=0.2),
    Change(name="-0.2 nats for the first choice", bias=-0.2),
)


@dataclass(slots=True, kw_only=True)
class Runs:
    """Simulated comparisons, one entry each."""

    lost: Ints
    won: Ints
    z: Floats
    """The soft loss in its standard errors under no change."""
    soft: Floats
    """The soft loss, in documents."""
    gains: dict[int, Floats]
    """The soft gains of the entries that lost so much that the soft test may find it."""

    def soft_finds(self, level: float, asked: Bools) -> Bools:
        """Whether the soft test of these entries finds a loss at that level; False elsewhere."""
        needed = -NormalDist().inv_cdf(level)
        found: Bools = asked & (self.z > needed + _NEAR)
        for entry in np.flatnonzero(asked & (np.abs(self.z - needed) <= _NEAR)):
            gains = self.gains[int(entry)][:, None]
            found[entry] = exchange_test(exchanges([(ExchangedRuns(np.zeros_like(gains), gains),)]), [level])[0].significant
        return found


def simulate_runs(tasks: Sequence[Recorded], change: Change, *, n: int, draws: int, seed: int, width: float = WIDTH) -> Runs:
    """So many comparisons of n documents each, of one task after the other."""
    parts: list[Runs] = []
    for number, task in enumerate(tasks):
        rng = np.random.Generator(np.random.PCG64(seed + number))
        left, rows = len(range(number, draws, len(tasks))), max(1, BLOCK // (n * task.original.shape[1]))
        while left > 0:
            parts.append(_block(task, change, rng, n=n, draws=min(rows, left), width=width))
            left -= rows
    order = np.random.Generator(np.random.PCG64(seed)).permutation(sum(len(part.lost) for part in parts))
    place = np.argsort(order)
    starts = np.cumsum([0, *(len(part.lost) for part in parts)])
    return Runs(
        lost=np.concatenate([part.lost for part in parts])[order],
        won=np.concatenate([part.won for part in parts])[order],
        z=np.concatenate([part.z for part in parts])[order],
        soft=np.concatenate([part.soft for part in parts])[order],
        gains={int(place[start + entry]): gains for start, part in zip(starts, parts, strict=False) for entry, gains in part.gains.items()},
    )


def _block(task: Recorded, change: Change, rng: np.random.Generator, *, n: int, draws: int, width: float) -> Runs:
    before, after = paired_margins(task, change, rng, n=n, draws=draws)
    gains = soft_gains(before, after, width)
    was, now = before > 0, after > 0
    z = -gains.sum(axis=1) / np.sqrt((gains**2).sum(axis=1))
    return Runs(
        lost=(was & ~now).sum(axis=1),
        won=(now & ~was).sum(axis=1),
        z=z,
        soft=-gains.sum(axis=1),
        gains={int(entry): gains[entry] for entry in np.flatnonzero(z > _LEAST_Z)},
    )


def paired_margins(task: Recorded, change: Change, rng: np.random.Generator, *, n: int, draws: int) -> tuple[Floats, Floats]:
    """Margins of the two sides, `[draws, n]`."""
    drawn = rng.integers(0, len(task.gold), (draws, n))
    gold, scale = task.gold[drawn], noise_of(task)
    original = task.original.astype(np.float32)[drawn]

    def noisy(logprobs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return logprobs + np.float32(scale) * rng.standard_normal(logprobs.shape, dtype=np.float32)

    before = margins(noisy(original), gold)
    changed = original.copy()
    if change.shift:
        right = np.take_along_axis(changed, gold[..., None], axis=-1)
        np.put_along_axis(changed, gold[..., None], right - np.float32(shift_of(task, change.shift)), axis=-1)
    candidate = noisy(changed) / np.float32(change.temperature)
    candidate[..., 0] += np.float32(change.bias)
    after = margins(candidate, gold)
    if change.broken:
        after = np.where(rng.random((draws, n)) < _break_chance(task, change)[drawn], -np.abs(after), after)
    return before, after


def _break_chance(task: Recorded, change: Change) -> Floats:
    """For each document the chance to break: those that are right, or the safer half of these, in equal parts."""
    lead = margins(task.original, task.gold)
    pool = lead > (np.median(lead[lead > 0]) if change.is_safe else 0)
    chance: Floats = pool * change.broken * len(lead) / pool.sum()
    return chance


def soft_gains(before: Floats, after: Floats, width: float = WIDTH) -> Floats:
    """The gains of `comparison.soft.soft_pair`, for many comparisons at once."""
    scale = width * np.median(np.abs(after - before), axis=1, keepdims=True)
    places = (before + after) / (2 * scale)
    effects = places * np.exp(-(places**2) / 2)
    weights = 1 - effects * effects.sum(axis=1, keepdims=True) / (effects**2).sum(axis=1, keepdims=True)
    gains: Floats = weights * (special.ndtr(after / scale) - special.ndtr(before / scale))
    return gains


# ------------------------------------------------------------------------------------------------------- verdicts


def verdicts(runs: Runs, *, n: int, policy: Policy, alpha: float, share: float = SOFT_SHARE) -> Ints:
    """The verdicts of gates with that alpha, of which their soft test has a share. A share of 0: there is no soft test."""
    of_scores = fixed(runs.lost, runs.won, n=n, policy=policy, alpha=alpha * (1 - share))
    least = policy.least_loss / 2 * n - 1e-9
    asked = (of_scores == INCONCLUSIVE) & (runs.lost - runs.won >= least) & (runs.soft >= least)
    return np.where(runs.soft_finds(alpha * share, asked), REGRESSED, of_scores) if share else of_scores


def sessions_are_red(runs: Runs, *, n: int, gates: int, policy: Policy, share: float = SOFT_SHARE) -> Bools:
    """Whether any gate is REGRESSED, or the pooled test is, in sessions of so many gates that follow each other."""
    family = Family(alpha=policy.alpha, gates=gates)
    sessions = len(runs.lost) // gates

    def grouped(values: Ints) -> Ints:
        return values[: sessions * gates].reshape(sessions, gates)

    red: Bools = (grouped(verdicts(runs, n=n, policy=policy, alpha=family.gate_alpha, share=share)) == REGRESSED).any(axis=1)
    lost, won = (grouped(values).sum(axis=1) for values in (runs.lost, runs.won))
    pooled = fixed(lost, won, n=n * gates, policy=policy.pooled, alpha=family.pooled_alpha or 0.0)
    either: Bools = red | (pooled == REGRESSED)
    return either
