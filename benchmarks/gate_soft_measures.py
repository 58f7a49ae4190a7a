"""The soft scores of the gate, measured: what `gate_soft` simulates, as tables, with the bars that must hold. A part of `benchmarks.gate`.

python -m benchmarks.gate_soft_measures            this part alone, some minutes on one core
python -m benchmarks.gate_soft_measures --write    also updates its tables in docs/gate-measurements.md
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy import special

from benchmarks.gate_bars import Bar, share_text, table_text
from benchmarks.gate_simulation import PASSED, POLICY, REGRESSED, Bools, Floats, percent
from benchmarks.gate_soft import (
    CONFIDENCE,
    NOTHING,
    Change,
    Recorded,
    Runs,
    margins,
    noise_of,
    paired_margins,
    recorded_tasks,
    sessions_are_red,
    shift_of,
    simulate_runs,
    soft_gains,
    verdicts,
)
from pytest_lighteval.baselines.align import AlignedSoft
from pytest_lighteval.comparison.compare import mcnemar
from pytest_lighteval.comparison.decision import Policy
from pytest_lighteval.comparison.soft import SOFT_SHARE, soft_compare, soft_pair
from pytest_lighteval.gates.canary import ALPHA, DOCUMENTS, direction_p

GATE_SIZES = (100, 200, 500, 1319)
SESSIONS = ((10, 200), (10, 500), (10, 1319), (50, 200), (50, 500))
"""Gates, and documents in each."""
STRICT = Policy(max_drop=0.01)
"""A loss of two points is twice what it allows, so that a verdict other than REGRESSED is never right."""
LOST = (
    Change(name="shift, 2 points", shift=0.02),
    Change(name="shift, 3 points", shift=0.03),
    Change(name="break, 2 points", broken=0.02),
    Change(name="break, 3 points", broken=0.03),
    Change(name="break among safe documents, 2 points", broken=0.02, is_safe=True),
    Change(name="break among safe documents, 3 points", broken=0.03, is_safe=True),
)
SHIFTED = LOST[0]
LOSING = frozenset({"0.2 nats for the first choice"})
"""Changes of confidence that lose a little in truth: up to 0.2 points, where the right letters are not balanced."""
THE_TEST = "the test alone"
PAGE = Path(__file__).resolve().parents[1] / "docs" / "gate-measurements.md"


@dataclass(slots=True, kw_only=True)
class MeasuredSoft:
    """Shares in percent."""

    draws: int
    regressed: dict[tuple[str, int], tuple[float, float]] = field(default_factory=dict)
    """(change, n) -> share REGRESSED by the scores alone, and with soft scores."""
    passed: dict[tuple[str, int], float] = field(default_factory=dict)
    """(change, n) -> share PASSED."""
    sessions: dict[tuple[str, int, int], tuple[int, float, float]] = field(default_factory=dict)
    """(change, gates, n) -> sessions that were simulated; the share that is red without and with soft scores."""
    by_task: dict[tuple[str, str], tuple[float, float]] = field(default_factory=dict)
    """(task, change) -> `regressed` of gates of 500 documents of that task."""
    documents: dict[str, tuple[float, float]] = field(default_factory=dict)
    """What is powered -> documents for 95 % power at a shift of two points: by the scores alone, and with soft scores."""
    real: dict[tuple[str, str], tuple[float, float, float, float, float]] = field(default_factory=dict)
    """(task, bits) -> loss of the scores in points and its p; the same of the soft scores; variance of the scores, in that of the soft."""
    canaries: dict[tuple[str, str], tuple[float, float]] = field(default_factory=dict)
    """(task, change) -> share of canaries of 40 documents that say worse, and better."""
    canary_draws: int = 0
    designs: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """Kind of soft score -> documents for 95 % power as a share of those of the scores; what is left of a loss that breaks; the worst false
    direction of a changed confidence, in standard errors with 400 documents."""


def measure(draws: int, say: Callable[[str], None], *, is_quick: bool = False) -> MeasuredSoft:
    """All of it; quick: with no more than 500 documents, and few sessions."""
    measured, tasks, seeds = MeasuredSoft(draws=draws), recorded_tasks(), itertools.count(1000, 10)
    for change in (NOTHING, *CONFIDENCE, *LOST):
        for n in GATE_SIZES[1:-1] if is_quick else GATE_SIZES:
            runs = simulate_runs(tasks, change, n=n, draws=draws, seed=next(seeds))
            alone, both = (verdicts(runs, n=n, policy=POLICY, alpha=POLICY.alpha, share=share) for share in (0.0, SOFT_SHARE))
            measured.regressed[change.name, n] = percent(alone == REGRESSED), percent(both == REGRESSED)
            measured.passed[change.name, n] = percent(both == PASSED)
        say(f"soft scores, {change.name}")
    for task in tasks:
        for change in LOST:
            runs = simulate_runs([task], change, n=500, draws=draws, seed=next(seeds))
            alone, both = (verdicts(runs, n=500, policy=POLICY, alpha=POLICY.alpha, share=share) for share in (0.0, SOFT_SHARE))
            measured.by_task[task.name, change.name] = percent(alone == REGRESSED), percent(both == REGRESSED)
    for change in (NOTHING, *CONFIDENCE):
        sessions = SESSIONS[:1] if is_quick else SESSIONS
        for n in sorted({n for _, n in sessions}):
            counts = [gates for gates, documents in sessions if documents == n]
            runs = simulate_runs(tasks, change, n=n, draws=max(counts) * max(draws // 4, 100), seed=next(seeds))
            for gates in counts:
                are_red = [sessions_are_red(runs, n=n, gates=gates, policy=POLICY, share=share) for share in (0.0, SOFT_SHARE)]
                measured.sessions[change.name, gates, n] = len(are_red[0]), percent(are_red[0]), percent(are_red[1])
        say(f"soft scores, sessions, {change.name}")
    measured.documents = _documents_needed(tasks, draws, next(seeds))
    measured.designs = _designs(tasks, max(draws // 8, 100), next(seeds))
    measured.real = _real(tasks)
    measured.canary_draws = max(draws // 10, 30)
    measured.canaries = _canaries(tasks, measured.canary_draws, next(seeds))
    say("soft scores, documents")
    return measured


def _canaries(tasks: Sequence[Recorded], draws: int, seed: int) -> dict[tuple[str, str], tuple[float, float]]:
    """How often 40 of the 400 documents of each task, chosen by a noisy baseline, are told to be worse or better."""
    found = {}
    for task in tasks:
        for variant in ("nothing", SHIFTED.name, *(name for name in task.variants if name != "original")):
            rng = np.random.Generator(np.random.PCG64(seed))
            logprobs = task.variants.get(variant, task.original).copy()
            if variant == SHIFTED.name:
                logprobs[np.arange(len(logprobs)), task.gold] -= shift_of(task, SHIFTED.shift)
            told = []
            for _ in range(draws):
                before, after = (
                    margins(side + noise_of(task) * rng.standard_normal(side.shape), task.gold) for side in (task.original, logprobs)
                )
                chosen = np.argsort(np.abs(before), kind="stable")[:DOCUMENTS]
                soft = AlignedSoft(
                    baseline=tuple((float(before[place]),) for place in chosen), candidate=tuple((float(after[place]),) for place in chosen)
                )
                is_told = direction_p(soft, before.tolist()) <= ALPHA
                told.append(is_told * float(np.sign(np.mean(before[chosen] - after[chosen]))))
            found[task.name, variant] = percent(np.asarray(told) > 0), percent(np.asarray(told) < 0)
    return found


def _documents_needed(tasks: Sequence[Recorded], draws: int, seed: int) -> dict[str, tuple[float, float]]:
    """By the test alone, and as verdicts."""

    def of_scores(runs: Runs, n: int) -> Bools:
        return np.asarray(mcnemar(runs.lost, runs.won) <= POLICY.alpha)

    def soft(runs: Runs, n: int) -> Bools:
        return runs.soft_finds(POLICY.alpha * SOFT_SHARE, np.ones(len(runs.lost), dtype=bool))

    def verdict(policy: Policy, share: float) -> Callable[[Runs, int], Bools]:
        return lambda runs, n: verdicts(runs, n=n, policy=policy, alpha=policy.alpha, share=share) == REGRESSED

    def needed(finds: Callable[[Runs, int], Bools], sizes: Sequence[int]) -> float:
        shares = [float(np.mean(finds(simulate_runs(tasks, SHIFTED, n=n, draws=draws, seed=seed), n))) for n in sizes]
        return _where_95(sizes, shares)

    fewer, more = (300, 400, 500, 600, 700), (1300, 1500, 1700, 1900, 2100)
    return {
        THE_TEST: (needed(of_scores, more), needed(soft, fewer)),
        "REGRESSED, max_drop 1 point": (needed(verdict(STRICT, 0.0), more), needed(verdict(STRICT, SOFT_SHARE), fewer)),
        "REGRESSED, max_drop 2 points": (
            needed(verdict(POLICY, 0.0), (1500, 1900, 2300)),
            needed(verdict(POLICY, SOFT_SHARE), (600, 800, 1000)),
        ),
    }


def _where_95(sizes: Sequence[int], shares: Sequence[float]) -> float:
    """Where a line through the normal quantiles of the shares, over the root of the size, reaches 95 %."""
    quantiles = special.ndtri(np.clip(shares, 0.01, 0.995))
    slope, start = np.polyfit(np.sqrt(sizes), quantiles, 1)
    return float(((special.ndtri(0.95) - start) / slope) ** 2)


def _gold_probability(task: Recorded, before: Floats, after: Floats) -> Floats:
    """The gains of the right choice's probability against the best wrong one."""
    return np.asarray(special.expit(after) - special.expit(before))


def _unweighted(width: float) -> Callable[[Recorded, Floats, Floats], Floats]:
    def gains(task: Recorded, before: Floats, after: Floats) -> Floats:
        scale = width * np.median(np.abs(after - before), axis=1, keepdims=True)
        return np.asarray(special.ndtr(after / scale) - special.ndtr(before / scale))

    return gains


def _weighted(width: float) -> Callable[[Recorded, Floats, Floats], Floats]:
    return lambda task, before, after: soft_gains(before, after, width)


DESIGNS: Mapping[str, Callable[[Recorded, Floats, Floats], Floats]] = {
    "probability of the right choice": _gold_probability,
    **{f"margin, width {width}": _unweighted(width) for width in (1, 2, 3)},
    **{f"margin, width {width}, weighted": _weighted(width) for width in (1, 2, 3)},
}


def _designs(tasks: Sequence[Recorded], draws: int, seed: int, n: int = 400) -> dict[str, tuple[float, ...]]:
    """For every kind of soft score, and every task the worst of: power, loss that is seen, false direction."""
    found: dict[str, tuple[float, ...]] = {}
    samples = {
        (number, change.name): paired_margins(task, change, np.random.Generator(np.random.PCG64(seed + number)), n=n, draws=draws)
        for number, task in enumerate(tasks)
        for change in (SHIFTED, LOST[2], *CONFIDENCE)
    }
    for name, design in DESIGNS.items():

        def z(number: int, change: Change, design: Callable[[Recorded, Floats, Floats], Floats] = design) -> float:
            gains = design(tasks[number], *samples[number, change.name])
            return float(np.mean(-gains.sum(axis=1) / np.sqrt((gains**2).sum(axis=1))))

        def scores(task: Recorded, before: Floats, after: Floats) -> Floats:
            return np.asarray((after > 0) * 1.0 - (before > 0))

        numbers = range(len(tasks))
        ratio = max((z(number, SHIFTED, scores) / z(number, SHIFTED)) ** 2 for number in numbers)
        seen = min(-float(design(tasks[number], *samples[number, LOST[2].name]).mean()) / LOST[2].broken for number in numbers)
        drift = max(z(number, change) for number in numbers for change in CONFIDENCE)
        found[name] = ratio, seen, drift
    return found


def _real(tasks: Sequence[Recorded]) -> dict[tuple[str, str], tuple[float, float, float, float, float]]:
    """The model against itself after its weights went through fewer bits."""
    found = {}
    for task in tasks:
        before = margins(task.original, task.gold)
        for variant in (name for name in task.variants if name != "original"):
            after = margins(task.variants[variant], task.gold)
            lost, won = int(((before > 0) & (after <= 0)).sum()), int(((before <= 0) & (after > 0)).sum())
            pair = soft_pair([(margin,) for margin in before], [(margin,) for margin in after])
            soft = soft_compare([pair], alpha=POLICY.alpha)
            variances = (lost + won) / len(before), float(np.mean(pair.gains**2))
            p = float(mcnemar(lost, won))
            found[task.name, variant] = 100 * (lost - won) / len(before), p, 100 * soft.loss, soft.p, variances[0] / variances[1]
    return found


# ----------------------------------------------------------------------------------------------------- what must hold


def bars(measured: MeasuredSoft) -> list[Bar]:
    """Every bar with what was measured. With fewer than 2,000 draws each has three standard errors of slack."""

    def slack(share: float, draws: int) -> float:
        return 0.0 if draws >= 2000 else 3 * float(np.sqrt(share * (100 - share) / draws))

    false, draws = 100 * POLICY.alpha + 1, measured.draws
    quiet = [change.name for change in (NOTHING, *CONFIDENCE)]
    made = [
        Bar(what=f"soft scores, n = {n}, changed: {name}: red", value=both, bound=false, at_most=True, slack=slack(5, draws))
        for (name, n), (_, both) in measured.regressed.items()
        if name in quiet
    ]
    made += [
        Bar(
            what=f"soft scores, {gates} gates, n = {n}, changed: {name}: red",
            value=both,
            # where a little is lost in truth, the pooled test of many documents may see it
            bound=max(false, alone + 1) if name in LOSING else false,
            at_most=True,
            slack=slack(5, sessions),
        )
        for (name, gates, n), (sessions, alone, both) in measured.sessions.items()
    ]
    made += [
        Bar(what=f"soft scores, n = {n}, {name}: passed", value=passed, bound=false, at_most=True, slack=slack(5, draws))
        for (name, n), passed in measured.passed.items()
        if name.endswith("2 points")
    ]
    broken = {**{(f"n = {n}", name): shares for (name, n), shares in measured.regressed.items()}, **measured.by_task}
    made += [
        Bar(what=f"soft scores, {where}, {name}: found", value=both, bound=alone - 2, at_most=False, slack=slack(50, draws) / 2)
        for (where, name), (alone, both) in broken.items()
        if name.startswith("break")
    ]
    made += [
        Bar(
            what=f"canary of 40 documents, {name}, nothing changed: worse or better",
            value=worse + better,
            bound=false,
            at_most=True,
            slack=slack(5, measured.canary_draws),
        )
        for (name, change), (worse, better) in measured.canaries.items()
        if change == "nothing"
    ]
    alone, both = measured.documents[THE_TEST]
    needs = "soft scores: documents for 95 % power at a shift of 2 points, in those of the scores"
    return [*made, Bar(what=needs, value=100 * both / alone, bound=100 / 3, at_most=True, slack=0.0 if draws >= 2000 else 8.0)]


def tables(measured: MeasuredSoft) -> str:
    """All figures, in Markdown."""
    sizes = sorted({n for _, n in measured.regressed})
    parts = ["#### Share REGRESSED, %: by the scores alone / with soft scores, by documents\n"]
    rows = [
        [change.name, *(" / ".join(map(share_text, measured.regressed[change.name, n])) for n in sizes)]
        for change in (NOTHING, *CONFIDENCE, *LOST)
    ]
    parts.append(table_text(["what changed", *map(str, sizes)], rows))
    parts.append("#### The same by task, with 500 documents\n")
    names = list(dict.fromkeys(name for name, _ in measured.by_task))
    rows = [[change.name, *(" / ".join(map(share_text, measured.by_task[name, change.name])) for name in names)] for change in LOST]
    parts.append(table_text(["what changed", *(f"`{name}`" for name in names)], rows))
    parts.append("#### Share PASSED with `max_drop` at 2 points, %, by documents\n")
    lost = [change for change in LOST if change.name.endswith("2 points")]
    parts.append(
        table_text(["what changed", *map(str, sizes)], [[c.name, *(share_text(measured.passed[c.name, n]) for n in sizes)] for c in lost])
    )
    parts.append("#### Share of sessions that are red, %: without / with soft scores\n")
    kinds = list(dict.fromkeys((gates, n) for _, gates, n in measured.sessions))
    rows = [
        [change.name, *(" / ".join(map(share_text, measured.sessions[change.name, gates, n][1:])) for gates, n in kinds)]
        for change in (NOTHING, *CONFIDENCE)
    ]
    parts.append(table_text(["what changed", *(f"{gates} gates of {n}" for gates, n in kinds)], rows))
    sessions = min(sessions for sessions, *_ in measured.sessions.values())
    parts.append(f"{measured.draws:,} draws for each figure; at least {sessions:,} sessions.\n")
    parts.append("#### Documents for 95 % power at a shift of 2 points\n")
    rows = [[what, f"{alone:.0f}", f"{both:.0f}", f"{both / alone:.2f}"] for what, (alone, both) in measured.documents.items()]
    parts.append(table_text(["what finds it", "scores alone", "with soft scores", "ratio"], rows))
    parts.append("#### Canaries of 40 documents, run-to-run noise included: worse / better, %\n")
    names = list(dict.fromkeys(name for name, _ in measured.canaries))
    rows = [
        [change, *(" / ".join(map(share_text, measured.canaries[name, change])) for name in names)]
        for change in dict.fromkeys(change for _, change in measured.canaries)
    ]
    parts.append(table_text(["what changed", *(f"`{name}`" for name in names)], rows))
    parts.append(f"{measured.canary_draws:,} draws for each figure.\n")
    parts.append("#### Kinds of soft scores, the worst of the tasks\n")
    rows = [[name, *(f"{number:.2f}" for number in numbers)] for name, numbers in measured.designs.items()]
    head = [
        "soft score",
        "variance, in that of the scores",
        "what is seen of a loss that breaks",
        "false loss by confidence, standard errors",
    ]
    parts.append(table_text(head, rows))
    parts.append("#### The model against itself after its weights were rounded, 400 documents\n")
    rows = [
        [f"`{name}`", bits, f"{loss:.1f}", f"{p:.2g}", f"{soft:.1f}", f"{soft_p:.2g}", f"{ratio:.1f}"]
        for (name, bits), (loss, p, soft, soft_p, ratio) in measured.real.items()
    ]
    head = ["task", "weights", "loss, points", "p", "soft loss, points", "p", "variance of the scores, in that of the soft scores"]
    parts.append(table_text(head, rows))
    return "\n".join(parts)


def write(measured: MeasuredSoft) -> None:
    """Bring the tables of docs/gate-measurements.md up to date."""
    text = PAGE.read_text("utf-8")
    marked = re.compile(r"(<!-- measured: soft -->\n).*(<!-- /measured: soft -->)", re.DOTALL)
    if not marked.search(text):
        raise ValueError(f"{PAGE}: the marks <!-- measured: soft --> and <!-- /measured: soft --> are gone")
    PAGE.write_text(marked.sub(lambda match: f"{match[1]}\n{tables(measured)}\n{match[2]}", text), "utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. 0 when every bar is held."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gate_soft_measures", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=5000, help="gates simulated for each figure (default 5000)")
    parser.add_argument("--write", action="store_true", help="write docs/gate-measurements.md")
    options = parser.parse_args(arguments)
    measured = measure(options.draws, lambda done: print(done, file=sys.stderr))
    print(tables(measured))
    checked = bars(measured)
    print("\n".join(map(str, checked)))
    print(f"\n{sum(bar.held for bar in checked)} of {len(checked)} bars held")
    if options.write:
        write(measured)
    return 0 if all(bar.held for bar in checked) else 1


if __name__ == "__main__":
    sys.exit(main())
