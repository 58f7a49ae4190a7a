"""One verdict per number, from its thresholds, its comparison with the baseline, and the waivers."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Literal

from pytest_lighteval.gates.waivers import Waiver, WaiverFile, waiver_for, within_floor
from pytest_lighteval.types import MetricResult, PairedVerdict, TaskKey, Verdict

_Outcome = Literal["passed", "failed", "inconclusive", "waived", "new", "advisory"]


def new_verdict(metric: str, result: MetricResult, *, is_complete: bool = False) -> PairedVerdict:
    """The verdict of a number that is not in the baseline; red if the baseline says that it is complete."""
    why = "not in the baseline, which is complete: --save-baseline adds it" if is_complete else "not in the baseline"
    text = f"{metric} {result.value:.3f}  n = {result.n}  NEW ({why})"
    return PairedVerdict(outcome="NEW", line=text, red=is_complete, candidate=result.value, n=result.n)


def join_verdicts(
    key: TaskKey,
    metrics: Mapping[str, MetricResult],
    floors: Sequence[Verdict],
    paired: Mapping[str, PairedVerdict],
    pinned: Mapping[str, PairedVerdict] | None = None,
    *,
    waivers: WaiverFile | None,
    today: datetime.date,
) -> tuple[Verdict, ...]:
    """One verdict for each number that has a threshold or was compared, in that order.

    A waiver covers a missed threshold or a proven loss, as long as the score is within the waiver's floor. It does not cover a baseline
    that does not fit: then nothing was compared.
    """
    by_threshold = {verdict.metric: verdict for verdict in floors}
    pinned = pinned or {}
    return tuple(
        _joined(
            metric,
            metrics.get(metric),
            by_threshold.get(metric),
            paired.get(metric),
            pinned.get(metric),
            _waiver(waivers, key, metric, today),
        )
        for metric in dict.fromkeys([*by_threshold, *paired, *pinned])
    )


def _waiver(file: WaiverFile | None, key: TaskKey, metric: str, today: datetime.date) -> Waiver | None:
    return None if file is None else waiver_for(file, key, metric, today)


def _joined(
    metric: str,
    result: MetricResult | None,
    floor: Verdict | None,
    paired: PairedVerdict | None,
    pinned: PairedVerdict | None,
    waiver: Waiver | None,
) -> Verdict:
    value = float("nan") if result is None else result.value
    outcome = _outcome(floor, paired, pinned)
    messages = [
        # a failure says why, and nothing that is well
        *([floor.message] if floor is not None and (outcome != "failed" or floor.outcome == "failed") else []),
        *([paired.line] if paired is not None and (outcome != "failed" or paired.red) else []),
        *([f"pinned: {pinned.line}"] if pinned is not None and (outcome != "failed" or pinned.red) else []),
    ]
    if (
        outcome == "failed"
        and waiver is not None
        and result is not None
        and not any(of and of.outcome == "STALE" for of in (paired, pinned))
    ):
        if within_floor(waiver, value, higher_is_better=result.higher_is_better):
            outcome = "waived"
            messages.append(f"waived until {waiver.until}: {waiver.reason}")
        else:
            side = "below" if result.higher_is_better else "above"
            messages.append(f"{value:.4f} is {side} the {waiver.floor:g} down to which it is waived ({waiver.reason})")
    return Verdict(
        metric=metric,
        outcome=outcome,
        message="; ".join(messages),
        value=value,
        stderr=None if result is None else result.stderr,
        n=0 if result is None else result.n,
        min=None if floor is None else floor.min,
        max=None if floor is None else floor.max,
        paired=paired,
        pinned=pinned,
        waiver=None if waiver is None else f"{waiver.reason} (until {waiver.until})",
    )


def _outcome(floor: Verdict | None, paired: PairedVerdict | None, pinned: PairedVerdict | None) -> _Outcome:
    if (floor is not None and floor.outcome == "failed") or any(of is not None and of.red for of in (paired, pinned)):
        return "failed"
    if paired is not None and not paired.advisory and paired.outcome == "INCONCLUSIVE":
        return "inconclusive"
    if floor is None and paired is not None and paired.advisory:
        return "advisory"
    return "new" if floor is None and paired is not None and paired.outcome == "NEW" else "passed"


def failure_text(verdict: Verdict) -> str:
    """Why a gate failed, with the notes of its comparison if that is what failed: no other line of the run repeats them."""
    paired = verdict.paired
    notes = [] if paired is None or not paired.red else [*paired.notes]
    return verdict.message + (f"  [{'; '.join(notes)}]" if notes else "")
