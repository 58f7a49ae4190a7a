"""Why documents score otherwise than in another run, by rules over what is known of both answers. Reads no file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pytest_lighteval.reports.answers import StoredAnswer
from pytest_lighteval.types import Flip, PairedVerdict, TaskKey, Verdict

FindAnswers = Callable[[TaskKey, Sequence[str]], Mapping[str, StoredAnswer]]
"""The answers to documents of a task, by id; those that are not known are left out."""


class FlipReason(StrEnum):
    """Why a document flipped; the first rule that applies."""

    SAME_TEXT = "same text, judged otherwise"
    """Both sides generated the same texts: the metric, its version or a judge changed, not the model."""
    REFUSED = "refused"
    """The text of the side that scores worse is empty, as the model refused or only thought."""
    CUT = "cut by length"
    """The text of the side that scores worse ended at the limit of new tokens; that of the other side did not."""
    EXTRACTION = "extraction failed"
    """The metric found no answer in the text of the side that scores worse."""
    NEAR_TIE = "near tie"
    """Multiple choice: on both sides the lead is smaller than what a lead of this task typically changes."""
    OTHER_CHOICE = "other choice"
    """Multiple choice: no near tie."""
    OTHER_TEXT = "other text"
    """Generated answers: none of the above."""
    UNKNOWN = "unknown"
    """The answer of a side is not known: a baseline file keeps scores, and no texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedFlip:
    """A document that flipped, with what is known of both answers."""

    flip: Flip
    reason: FlipReason
    before: StoredAnswer | None = None
    """None: not known."""
    after: StoredAnswer | None = None


def flip_reason(
    flip: Flip, *, metric: str, margin_change: float | None, before: StoredAnswer | None, after: StoredAnswer | None
) -> FlipReason:
    """Why a document flipped.

    Args:
        flip: the document.
        metric: the reported name of the score.
        margin_change: what a margin of the task typically changes (`PairedVerdict.margin_change`).
        before: the answer in the baseline. None: not known.
        after: the answer of this run. None: not known.
    """
    worse, better = (after, before) if flip.is_loss else (before, after)
    if before is not None and after is not None and before.texts and before.texts == after.texts:
        return FlipReason.SAME_TEXT
    if worse is not None and worse.texts:
        if worse.is_refused:
            return FlipReason.REFUSED
        if worse.num_cut and not (better is not None and better.num_cut >= worse.num_cut):
            return FlipReason.CUT
        if worse.extracted is not None and metric in worse.extracted and worse.extracted[metric] is None:
            return FlipReason.EXTRACTION
    if flip.margins is not None and margin_change is not None:
        return FlipReason.NEAR_TIE if max(map(abs, flip.margins)) <= margin_change else FlipReason.OTHER_CHOICE
    if before is None or after is None:
        return FlipReason.UNKNOWN
    return FlipReason.OTHER_TEXT if before.texts or after.texts else FlipReason.OTHER_CHOICE


def explained_flips(
    metric: str, verdict: PairedVerdict, *, before: Mapping[str, StoredAnswer], after: Mapping[str, StoredAnswer]
) -> tuple[ExplainedFlip, ...]:
    """All flips of a comparison, lost documents first; `before` and `after` have the answers that are known, by document."""
    explained = [
        ExplainedFlip(
            flip=flip,
            before=before.get(flip.id),
            after=after.get(flip.id),
            reason=flip_reason(
                flip, metric=metric, margin_change=verdict.margin_change, before=before.get(flip.id), after=after.get(flip.id)
            ),
        )
        for flip in verdict.flips
    ]
    return tuple(sorted(explained, key=lambda entry: not entry.flip.is_loss))


def explain_verdicts(
    verdicts: Mapping[str, Iterable[Verdict]], *, before: FindAnswers, after: FindAnswers
) -> dict[str, dict[str, tuple[ExplainedFlip, ...]]]:
    """Task -> metric -> why its documents flipped; numbers without a flip are left out."""
    explained: dict[str, dict[str, tuple[ExplainedFlip, ...]]] = {}
    for text, of_key in verdicts.items():
        key = TaskKey.parse(text)
        changed = {verdict.metric: verdict.paired for verdict in of_key if verdict.paired is not None and verdict.paired.flips}
        if key is None or not changed:
            continue
        ids = list(dict.fromkeys(flip.id for paired in changed.values() for flip in paired.flips))
        old, new = before(key, ids), after(key, ids)
        explained[text] = {metric: explained_flips(metric, paired, before=old, after=new) for metric, paired in changed.items()}
    return explained


def counted_reasons(flips: Iterable[ExplainedFlip]) -> dict[FlipReason, tuple[int, int]]:
    """Reason -> documents lost and won, in the order of the rules; reasons of no document are left out."""
    counts = Counter((entry.reason, entry.flip.is_loss) for entry in flips)
    reasons = {reason for reason, _ in counts}
    return {reason: (counts[reason, True], counts[reason, False]) for reason in FlipReason if reason in reasons}


def reasons_by_task(explained: Mapping[str, Mapping[str, Sequence[ExplainedFlip]]], *, each: bool) -> list[tuple[str, str, str]]:
    """Key, metric and `reasons_line` of every number with flips. The tasks of a superset are one entry, unless `each` is asked for."""
    joined: dict[tuple[str, str], list[ExplainedFlip]] = {}
    for text, metrics in explained.items():
        key = TaskKey.parse(text)
        group = text if each or key is None or key.superset is None else str(key.superset)
        for metric, flips in metrics.items():
            joined.setdefault((group, metric), []).extend(flips)
    return [(key, metric, reasons_line(flips)) for (key, metric), flips in joined.items()]


def reasons_line(flips: Iterable[ExplainedFlip]) -> str:
    """`near tie 12 lost / 9 won, other choice 3 lost / 1 won`. Empty: nothing flipped."""
    return ", ".join(f"{reason} {lost} lost / {won} won" for reason, (lost, won) in counted_reasons(flips).items())
