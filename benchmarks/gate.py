"""How often the gate is red though nothing changed, and how often it finds a loss: by simulation, beside the rules that others use.

python -m benchmarks.gate            the whole table, some minutes on one core; exits with 1 when a bar is missed
python -m benchmarks.gate --quick    fewer draws, for CI; a bar then has three standard errors of slack
python -m benchmarks.gate --write    also updates the figures and pictures of docs/gate-measurements.md (needs matplotlib)
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks import gate_repeats, gate_soft_measures
from benchmarks.gate_bars import Bar, share_text, table_text
from benchmarks.gate_simulation import (
    INCONCLUSIVE,
    LOSSES,
    PASSED,
    POLICY,
    REGRESSED,
    RULES,
    SITUATIONS,
    SIZES,
    WIDER,
    Measured,
    simulate,
)

# ---------------------------------------------------------------------------------------------------------- bars


def bars(measured: Measured) -> list[Bar]:
    """Every bar with what was measured. With fewer than 2,000 draws each has three standard errors of slack."""
    noise = 0.0 if measured.draws >= 2000 else 300 / np.sqrt(measured.draws)

    def slack(share: float) -> float:
        return noise * float(np.sqrt(share * (100 - share))) / 100

    false = 100 * POLICY.alpha + 1
    made = []
    for (name, n, mode), shares in measured.verdicts.items():
        allowed = WIDER.max_drop if mode.endswith("3 points") else POLICY.max_drop
        at = LOSSES.index(allowed)
        made += [
            Bar(
                what=f"{name}, n = {n}, {mode}: red though nothing changed",
                value=shares[0][REGRESSED],
                bound=false,
                at_most=True,
                slack=slack(5),
            ),
            Bar(
                what=f"{name}, n = {n}, {mode}: passed at a loss of max_drop",
                value=shares[at][PASSED],
                bound=false,
                at_most=True,
                slack=slack(5),
            ),
        ]
    for (situation, gates, mode), red in measured.sessions.items():
        if situation.startswith("no change") and mode in ("fixed", "sequential"):
            made += [
                Bar(
                    what=f"session of {gates} gates, {SITUATIONS[situation][0]}, n = {n}, {mode}: red though nothing changed",
                    value=share,
                    bound=false,
                    at_most=True,
                    slack=slack(5),
                )
                for n, share in zip(SIZES, red, strict=False)
            ]
    made.append(
        Bar(what="n = 200, 4 repeats: red though nothing changed", value=measured.repeats[0], bound=false, at_most=True, slack=slack(5))
    )
    of_cells = min(measured.draws, gate_repeats.MOST_DRAWS)
    for (n, right, (before, after), kind), found in measured.cells.items():
        made += [
            Bar(
                what=f"{before} runs against {after}, {kind}, {n} documents, {100 * right:g} % right: a loss at {100 * alpha:g} %",
                value=share,
                bound=100 * alpha + 1,
                at_most=True,
                slack=300 * float(np.sqrt(alpha * (1 - alpha) / of_cells)),  # one of so many is the unluckiest
            )
            for alpha, share in zip(gate_repeats.ALPHAS, found, strict=True)
        ]
    for name in ("made up", "recorded"):
        power = measured.verdicts[name, 1319, "fixed"][LOSSES.index(0.03)][REGRESSED]
        quiet, loud = (measured.documents[name, 1319, 0.03][LOSSES.index(loss)] for loss in (0.0, 0.05))
        made += [
            Bar(what=f"{name}, n = 1319: a loss of 3 points is found", value=power, bound=95, at_most=False, slack=slack(95)),
            Bar(
                what=f"{name}, n = 1319, sequential: documents used when nothing changed",
                value=quiet,
                bound=65,
                at_most=True,
                slack=slack(10),
            ),
            Bar(
                what=f"{name}, n = 1319, sequential: documents used at a loss of 5 points",
                value=loud,
                bound=45,
                at_most=True,
                slack=slack(10),
            ),
        ]
    return made


# --------------------------------------------------------------------------------------------------------- tables


def tables(measured: Measured, sizes: Sequence[int]) -> str:
    """All figures, in Markdown."""
    head = [f"{100 * loss:g}" for loss in LOSSES]
    parts = []
    for name in ("made up", "recorded"):
        parts.append(f"### Share of runs flagged, %, by true loss in points (documents {name})\n")
        rows = []
        for n in sizes:
            rows += [[f"{n}", rule, *map(share_text, measured.flagged[name, n, rule])] for rule in RULES]
            for mode, label in (("fixed", "**this gate**"), ("sequential", "**this gate, sequential**")):
                rows.append([f"{n}", label, *[share_text(shares[REGRESSED]) for shares in measured.verdicts[name, n, mode]]])
        parts.append(table_text(["n", "rule", *head], rows))
    parts.append("### Verdicts of this gate, %: PASSED / REGRESSED / INCONCLUSIVE, by true loss in points (documents made up)\n")
    rows = [
        [f"{n}", mode, *[" / ".join(share_text(shares[kind]) for kind in (PASSED, REGRESSED, INCONCLUSIVE)) for shares in by_loss]]
        for (name, n, mode), by_loss in measured.verdicts.items()
        if name == "made up"
    ]
    parts.append(table_text(["n", "mode", *head], rows))
    parts.append("### Sequential mode: share of the documents used, %, by true loss in points\n")
    rows = [[f"{n}", name, f"{100 * drop:g}", *map(share_text, shares)] for (name, n, drop), shares in measured.documents.items()]
    parts.append(table_text(["n", "documents", "max_drop", *head], rows))
    parts.append("### Share of sessions that are red, %, by documents in each task\n")
    ours = {"fixed": "**this gate**", "sequential": "**this gate, sequential**"}
    rows = [
        [situation, f"{gates}", ours.get(mode, mode), *map(share_text, red)] for (situation, gates, mode), red in measured.sessions.items()
    ]
    parts.append(table_text(["what is true", "gates", "rule", *map(str, sizes)], rows))
    parts.append("### 200 documents, 4 runs of either model: share REGRESSED, %, by true loss in points\n")
    parts.append(table_text(head, [[*map(share_text, measured.repeats)]]))
    first, second = (f"{100 * alpha:g} %" for alpha in gate_repeats.ALPHAS)
    parts.append("### Several runs, nothing changed: share in which a loss is found, %\n")
    draws = min(measured.draws, gate_repeats.MOST_DRAWS)
    parts.append(f"Before the stroke at an alpha of {first}, behind it at {second}. Here each figure is a share of {draws:,} draws.\n")
    parts.append(table_text(*gate_repeats.table(measured.cells)))
    return "\n".join(parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. 0 when every bar is held."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=5000, help="candidates simulated for each figure (default 5000)")
    parser.add_argument("--quick", action="store_true", help="300 draws, and no more than 1319 documents")
    parser.add_argument("--write", action="store_true", help="write docs/gate-measurements.md and the pictures in docs/gate")
    options = parser.parse_args(arguments)
    sizes = SIZES[:-1] if options.quick else SIZES
    started = time.monotonic()

    def say(done: str) -> None:
        print(f"{time.monotonic() - started:6.1f} s  {done}", file=sys.stderr)

    measured = simulate(300 if options.quick else options.draws, sizes, say)
    print(tables(measured, sizes))
    print(f"Each figure is a share of {measured.draws} draws.\n")
    soft = gate_soft_measures.measure(100 if options.quick else options.draws, say, is_quick=options.quick)
    print(gate_soft_measures.tables(soft))
    checked = [*bars(measured), *gate_soft_measures.bars(soft)]
    for bar in checked:
        print(bar)
    missed = sum(not bar.held for bar in checked)
    print(f"\n{len(checked) - missed} of {len(checked)} bars held")
    if options.write:
        from benchmarks import gate_pictures

        gate_pictures.write(measured, tables(measured, sizes), Path(__file__).resolve().parents[1] / "docs")
        gate_soft_measures.write(soft)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
