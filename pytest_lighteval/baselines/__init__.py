"""Baselines: what later runs are compared with, kept in one small file; waivers beside them; and what other harnesses left behind."""

from pytest_lighteval.baselines.align import (
    Pairs,
    Stale,
    StaleKind,
    StaleReason,
    corpus_rows,
    mean_scores,
    pair_up,
    rows_of,
    truncation_problem,
)
from pytest_lighteval.baselines.measured import MeasuredBaselines
from pytest_lighteval.baselines.model import Baseline, BaselineTask
from pytest_lighteval.baselines.read import Baselines, read_baseline, read_baselines
from pytest_lighteval.baselines.repeats import discordance, merge_runs
from pytest_lighteval.baselines.save import Refresh, baseline_of, write_baseline
from pytest_lighteval.baselines.targets import SaveTarget
from pytest_lighteval.gates.waivers import WaiverFile, expired_waivers, load_waivers, unmatched_waivers, waiver_for, within_floor

__all__ = [
    "Baseline",
    "BaselineTask",
    "Baselines",
    "MeasuredBaselines",
    "Pairs",
    "Refresh",
    "SaveTarget",
    "Stale",
    "StaleKind",
    "StaleReason",
    "WaiverFile",
    "baseline_of",
    "corpus_rows",
    "discordance",
    "expired_waivers",
    "load_waivers",
    "mean_scores",
    "merge_runs",
    "pair_up",
    "read_baseline",
    "read_baselines",
    "rows_of",
    "truncation_problem",
    "unmatched_waivers",
    "waiver_for",
    "within_floor",
    "write_baseline",
]
