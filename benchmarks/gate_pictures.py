"""The tables of docs/gate-measurements.md and the pictures in docs/gate. Needs matplotlib; equal figures give equal bytes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.gate_simulation import LOSSES, Measured

mpl.use("svg")

POINTS = tuple(100 * loss for loss in LOSSES)
COLOURS = {"gate": "#0b6e4f", "other": "#8d99ae", "bad": "#c1121f", "open": "#e09f3e"}
RULES = {
    "8 % relative tolerance": "8 % tolerance",
    "unpaired alpha-beta rule": "unpaired rule",
    "floor at reference - 2 points": "2-point floor",
    "the same, best of two attempts": "best of two",
}
STYLES = ("dotted", "dashdot", "dashed", (0, (5, 1, 1, 1, 1, 1)))


def write(measured: Measured, tables: str, docs: Path) -> None:
    """Bring docs/gate-measurements.md and docs/gate/*.svg up to date."""
    with mpl.rc_context(
        {"svg.hashsalt": "gate", "svg.fonttype": "none", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False}
    ):
        _save(_found(measured), docs / "gate" / "found.svg")
        _save(_bounds(), docs / "gate" / "bounds.svg")
        _save(_sessions(measured), docs / "gate" / "sessions.svg")
        _save(_documents(measured), docs / "gate" / "documents.svg")
    page = docs / "gate-measurements.md"
    text = page.read_text("utf-8")
    marked = re.compile(r"(<!-- measured -->\n).*(<!-- /measured -->)", re.DOTALL)
    if not marked.search(text):
        raise ValueError(f"{page}: the marks <!-- measured --> and <!-- /measured --> are gone")
    note = f"\nEach figure is a share of {measured.draws:,} draws.\n\n"
    page.write_text(marked.sub(lambda match: match[1] + note + tables + "\n" + match[2], text), "utf-8")


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None}, bbox_inches="tight")
    # matplotlib ends some lines with a space, which editors and hooks take away
    path.write_text("\n".join(line.rstrip() for line in path.read_text("utf-8").splitlines()) + "\n", "utf-8")


def _found(measured: Measured) -> Figure:
    figure = Figure(figsize=(9.4, 3.4))
    for axes, n in zip(figure.subplots(1, 2, sharey=True), (200, 1319), strict=True):
        for (rule, label), style in zip(RULES.items(), STYLES, strict=True):
            axes.plot(POINTS, measured.flagged["made up", n, rule], color=COLOURS["other"], linestyle=style, label=label)
        shares = [by_kind[1] for by_kind in measured.verdicts["made up", n, "fixed"]]
        axes.plot(POINTS, shares, color=COLOURS["gate"], linewidth=2.5, label="this gate")
        axes.axhline(5, color=COLOURS["bad"], linewidth=0.8)
        axes.set(title=f"{n} documents", xlabel="true loss, points", ylim=(-2, 102), xticks=(0, 1, 2, 3, 4, 5))
    figure.axes[0].set_ylabel("runs flagged, %")
    figure.axes[1].legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=9)
    return figure


def _bounds() -> Figure:
    cases: Sequence[tuple[str, float, float, float, str, str]] = (
        ("PASSED", -0.6, 0.2, 1.1, "gate", "at most what is allowed"),
        ("PASSED, tolerated", 0.3, 0.9, 1.6, "gate", "a loss, but not more than is allowed"),
        ("IMPROVED", -2.6, -1.6, -0.5, "gate", "a gain"),
        ("REGRESSED", 0.8, 2.3, 3.9, "bad", "a loss, large enough to matter"),
        ("INCONCLUSIVE", -1.1, 1.0, 3.2, "open", "anything is possible: too few documents"),
    )
    figure = Figure(figsize=(8.2, 2.9))
    axes: Axes = figure.subplots()
    for place, (name, low, middle, high, colour, meaning) in enumerate(reversed(cases)):
        axes.plot([low, high], [place, place], color=COLOURS[colour], linewidth=3, solid_capstyle="butt")
        axes.plot(middle, place, "o", color=COLOURS[colour])
        axes.text(4.3, place, meaning, va="center", fontsize=9, color=COLOURS[colour])
        axes.text(-3.1, place, name, va="center", ha="right", fontweight="bold", color=COLOURS[colour])
    axes.axvline(0, color="black", linewidth=0.8)
    axes.axvline(2, color="black", linewidth=0.8, linestyle="dashed")
    axes.text(0, 4.6, "no loss", ha="center", fontsize=9)
    axes.text(2, 4.6, "max_drop", ha="center", fontsize=9)
    axes.set(xlim=(-3, 4.2), ylim=(-0.6, 4.5), yticks=[], xlabel="loss, points: what was measured, and its two bounds")
    axes.spines["left"].set_visible(False)
    return figure


def _sessions(measured: Measured) -> Figure:
    figure = Figure(figsize=(5.2, 3.2))
    axes: Axes = figure.subplots()
    gates, at = (10, 50), 3
    places = np.arange(len(gates))
    for offset, (mode, colour, label) in enumerate(
        (("every gate at alpha", "other", "each gate with 5 % of its own"), ("fixed", "gate", "one alpha for the session"))
    ):
        shares = [measured.sessions["no change", count, mode][at] for count in gates]
        bars = axes.bar(places + 0.36 * offset - 0.18, shares, width=0.34, color=COLOURS[colour], label=label)
        axes.bar_label(bars, fmt="%.0f %%", fontsize=9)
    axes.axhline(5, color=COLOURS["bad"], linewidth=0.8)
    axes.set(xticks=places, xticklabels=[f"{count} gates" for count in gates], ylim=(0, 105), ylabel="sessions red for nothing, %")
    axes.legend(frameon=False, loc="upper left", fontsize=9)
    return figure


def _documents(measured: Measured) -> Figure:
    figure = Figure(figsize=(5.2, 3.2))
    axes: Axes = figure.subplots()
    for n, colour in ((500, "other"), (1319, "open"), (14042, "gate")):
        axes.plot(POINTS, measured.documents["made up", n, 0.03], "o-", color=COLOURS[colour], label=f"{n} documents")
    axes.set(xlabel="true loss, points", ylabel="documents evaluated, %", ylim=(0, 102), xticks=(0, 1, 2, 3, 4, 5))
    axes.legend(frameon=False, fontsize=9)
    return figure
