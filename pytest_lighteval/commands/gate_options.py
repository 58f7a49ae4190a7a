"""The options of the gate on the commands that judge recorded runs: each replaces what the runs recorded."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from pytest_lighteval.errors import UserInputError
from pytest_lighteval.gates.gate_settings import GateSettings
from pytest_lighteval.reports.recorded_run import digest_of

_REPEATABLE = ("baseline", "gate_allow")
GATE_OPTIONS: Mapping[str, tuple[str, str]] = {
    "baseline": ("PATH", "compare with this baseline; may be repeated"),
    "baseline_pinned": ("PATH", "compare with this pinned baseline, too"),
    "gates": ("FILE", "floors and policies by task"),
    "waivers": ("FILE", "known regressions"),
    "gate_max_drop": ("LOSS", "the loss that a gate allows"),
    "gate_min_effect": ("LOSS", "a smaller loss is never red"),
    "gate_alpha": ("ALPHA", "the share of judgements that may be red although nothing changed"),
    "gate_inconclusive": ("fail|blind|warn", "which gates with too few documents to decide fail"),
    "gate_allow": ("KIND[,KIND...]", "mismatches that are not errors"),
}
"""Name -> how its value is called, and what it does."""


def add_gate_options(parser: argparse.ArgumentParser, names: Iterable[str]) -> None:
    """Those of `GATE_OPTIONS` that a command has."""
    given = parser.add_argument_group("instead of what the runs recorded")
    for name in names:
        metavar, text = GATE_OPTIONS[name]
        action = "append" if name in _REPEATABLE else "store"
        given.add_argument(f"--{name.replace('_', '-')}", dest=name, action=action, metavar=metavar, help=text)


def given_options(options: argparse.Namespace) -> dict[str, Any]:
    """The options of the gate that the user gave."""
    return {name: value for name in GATE_OPTIONS if (value := getattr(options, name, None)) is not None}


def check_unchanged(gate: GateSettings, digests: Mapping[str, str], overrides: Collection[str]) -> None:
    """Raise UserInputError for a file of the gate that is not as the runs recorded it, unless the user names it now."""
    for name, paths in gate.files.items():
        if name not in overrides and digest_of(paths) != digests.get(name):
            option = f"--{name.replace('_', '-')}"
            shown = ", ".join(map(str, paths))
            raise UserInputError(f"{option} {shown}: changed since the runs; give {option} to judge them by what it is now")
