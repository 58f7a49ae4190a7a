"""Align a result and its baseline document by document, or say why they must not be compared. Computes no statistic."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pytest_lighteval.baselines.model import BaselineTask, Repeated
from pytest_lighteval.baselines.save import describe_settings
from pytest_lighteval.errors import did_you_mean
from pytest_lighteval.types import DocumentScore, SampleValue, TaskKey, TaskResult

_MOST_NAMED = 5
_MOST_TRUNCATED = 0.05
_MOST_CUT = 0.05


class MismatchKind(StrEnum):
    """A way in which a baseline does not fit. The user may allow it by this name (`--gate-allow`)."""

    VERSION = "version"
    """The task has another version."""
    DATA = "data"
    """The rows of the data set changed."""
    PROMPTS = "prompts"
    """Documents have another prompt."""
    UNKNOWN_PROMPTS = "unknown-prompts"
    """The baseline was imported and does not know the prompts."""
    DOCUMENTS = "documents"
    """Other documents than those of the baseline."""
    METRIC = "metric"
    """One side does not report the metric, or computes it differently. It cannot be allowed."""
    SCORES = "scores"
    """Documents have no score on one side, or one that is not a number. If allowed, they are left out."""
    TRUNCATED = "truncated"
    """Too many documents lost part of their prompt."""
    SANDBOX = "sandbox"
    """The answers were run otherwise: another sandbox, interpreter, limits, tests."""
    JUDGE = "judge"
    """The answers were read by another judge, or with another prompt."""
    CLASSIFIER = "classifier"
    """The answers were classified by another model."""
    CUT = "cut"
    """Many more or many fewer answers end at the limit of new tokens than in the baseline."""


_NEVER = frozenset({MismatchKind.METRIC})
"""Kinds that cannot be allowed: there is nothing to compare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MismatchReason:
    """One reason why the two sides must not be compared."""

    kind: MismatchKind
    text: str
    """One line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """The two sides must not be compared."""

    key: TaskKey
    metric: str
    reasons: tuple[MismatchReason, ...]
    """All of them, never empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignedScores:
    """The documents of both sides, aligned; the tuples by document have equal length."""

    key: TaskKey
    metric: str
    higher_is_better: bool
    ids: tuple[str, ...]
    """In the baseline's order."""
    rows: tuple[str, ...]
    """The row of each document, the same in every task that asks it (`TaskResult.row_of` of this run: no baseline knows it)."""
    baseline: tuple[tuple[SampleValue, ...], ...]
    """For each document its repeats (few-shot seeds count as repeats); never empty."""
    candidate: tuple[tuple[SampleValue, ...], ...]
    seeds: tuple[int, ...]
    """For each document, how many few-shot seeds its repeats are of, in their order; every seed has the same number of repeats.

    1 where the numbers differ.
    """
    clusters: tuple[str | None, ...] | None
    """The candidate's. None: no document belongs to a cluster."""
    soft: AlignedSoft | None = None
    """None: a document has no soft scores on one side."""
    notes: tuple[str, ...]
    """One line each: that a subset is compared, a mismatch that was allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignedSoft:
    """The soft scores of aligned documents: for each the soft scores of its repeats, as `AlignedScores` has its scores."""

    baseline: tuple[tuple[float, ...], ...]
    candidate: tuple[tuple[float, ...], ...]


def align(
    result: TaskResult,
    baseline: BaselineTask,
    metric: str,
    *,
    settings: Mapping[str, Any] | None = None,
    allow: Collection[MismatchKind] = (),
    most_truncated: float = _MOST_TRUNCATED,
    stopped_early: bool = False,
) -> AlignedScores | Mismatch:
    """Align the documents of one metric, or list every reason why they cannot be compared.

    If one side has a `max_samples`, its documents are compared with the same first documents of the other side, and a note says so.
    Otherwise the result must have every document of the baseline.

    Args:
        result: what this run measured.
        baseline: the same task's baseline.
        metric: a reported name.
        settings: the run's (`RunReport.settings`), to explain changed prompts. None: the explanation is general.
        allow: kinds that the user allows; each becomes a note, and documents without a score are left out.
        most_truncated: the largest share of documents that may have lost part of their prompt.
        stopped_early: the evaluation stopped before it had asked all documents; those asked are compared, in any order.
    """
    found = [*_identity(result, baseline, settings), *_truncation(result, most_truncated), *_cut(result, baseline)]
    documents = _documents(result, baseline, stopped_early=stopped_early)
    found += documents.reasons
    found += _prompts(documents.paired, result, baseline, settings)
    kind_of_metric = _metric(result, baseline, metric)
    found += kind_of_metric
    if kind_of_metric:
        return Mismatch(key=result.key, metric=metric, reasons=tuple(reason for reason in found if reason.kind not in {*allow} - _NEVER))
    scored = _scores(documents.paired, baseline.scores[metric], baseline.soft.get(metric), metric)
    found += scored.reasons
    if not documents.paired:
        return Mismatch(key=result.key, metric=metric, reasons=tuple(found))
    if not scored.ids:
        nothing = MismatchReason(kind=MismatchKind.SCORES, text=f"no document has a score of {metric} on both sides")
        return Mismatch(key=result.key, metric=metric, reasons=(*found, nothing))
    refused = tuple(reason for reason in found if reason.kind not in allow)
    if refused:
        return Mismatch(key=result.key, metric=metric, reasons=refused)
    return AlignedScores(
        key=result.key,
        metric=metric,
        higher_is_better=result.metrics[metric].higher_is_better,
        ids=scored.ids,
        rows=tuple(result.row_of(name) for name in scored.ids),
        baseline=scored.baseline,
        candidate=scored.candidate,
        seeds=scored.seeds,
        clusters=scored.clusters if any(name is not None for name in scored.clusters) else None,
        soft=scored.soft,
        notes=(*documents.notes, *(f"allowed ({reason.kind}): {reason.text}" for reason in found)),
    )


# -------------------------------------------------------------------------------------------- for the statistics


def mean_scores(aligned: AlignedScores) -> tuple[list[float | tuple[float, ...]], list[float | tuple[float, ...]]]:
    """Baseline and candidate for `comparison.paired.pair`: per document a number, or a tuple if it has several runs.

    A run asks a document under each of its few-shot seeds; its score is their mean.

    Raises ValueError for a metric of the whole corpus, whose documents have no number; use `corpus_rows`.
    """
    return (
        [_numbers(repeats, seeds) for repeats, seeds in zip(aligned.baseline, aligned.seeds, strict=True)],
        [_numbers(repeats, seeds) for repeats, seeds in zip(aligned.candidate, aligned.seeds, strict=True)],
    )


def _numbers(repeats: tuple[SampleValue, ...], seeds: int) -> float | tuple[float, ...]:
    numbers = []
    for value in repeats:
        if isinstance(value, tuple):
            raise ValueError("a document's value is a tuple, which has no mean")
        numbers.append(float(value))
    runs = len(numbers) // seeds
    if seeds > 1:
        numbers = [math.fsum(numbers[run::runs]) / seeds for run in range(runs)]
    return numbers[0] if runs == 1 else tuple(numbers)


def soft_runs(aligned: AlignedScores) -> AlignedSoft | None:
    """The soft scores of each run, as `mean_scores` has its scores: the mean over its few-shot seeds. None: there are none."""
    if aligned.soft is None:
        return None

    def by_run(documents: Sequence[tuple[float, ...]]) -> tuple[tuple[float, ...], ...]:
        found = []
        for margins, seeds in zip(documents, aligned.seeds, strict=True):
            runs = len(margins) // seeds
            found.append(margins if seeds == 1 else tuple(math.fsum(margins[run::runs]) / seeds for run in range(runs)))
        return tuple(found)

    return AlignedSoft(baseline=by_run(aligned.soft.baseline), candidate=by_run(aligned.soft.candidate))


def seeds_of(repeats: Sequence[tuple[int, int]]) -> int:
    """The few-shot seeds of a document, as `AlignedScores.seeds`, from the numbers of repeats on either side under each."""
    return len(repeats) if len(set(repeats)) == 1 else 1


def rows_of(aligned: AlignedScores) -> int:
    """Rows per document such that the repeats of either side occur equally often: their least common multiple."""
    return math.lcm(*{len(repeats) for repeats in (*aligned.baseline, *aligned.candidate)})


def corpus_rows(aligned: AlignedScores, *, rows: int | None = None) -> tuple[list[SampleValue], list[SampleValue], list[str | None] | None]:
    """Baseline, candidate and clusters for `comparison.corpus.compare_corpus`: one value per row.

    With one repeat on either side, a row is a document. With more, each document has `rows_of` rows, or `rows`, a multiple of it, so that
    all tasks of a superset have the same number. An aggregate of sums or means is then that of all repeats, and the rows of a document are
    one cluster of the resampling. The comparison's `n` counts rows; `len(aligned.ids)` is the number of documents.
    """
    before: list[SampleValue] = []
    after: list[SampleValue] = []
    clusters: list[str | None] = []
    names = aligned.clusters or (None,) * len(aligned.ids)
    # every document has the same weight, so all have the same number of rows
    rows = rows or rows_of(aligned)
    for document, old, new, cluster in zip(aligned.ids, aligned.baseline, aligned.candidate, names, strict=True):
        before += [value for value in old for _ in range(rows // len(old))]
        after += [value for value in new for _ in range(rows // len(new))]
        clusters += [f"document {document}" if cluster is None and rows > 1 else cluster] * rows
    return before, after, clusters if any(name is not None for name in clusters) else None


# ---------------------------------------------------------------------------------------------------- the checks

_Place = tuple[str, int]
"""A document's id and few-shot seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Documents:
    paired: tuple[tuple[int, DocumentScore], ...]
    """The baseline's row with the same document of the result, in the baseline's order."""
    reasons: tuple[MismatchReason, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scores:
    ids: tuple[str, ...]
    baseline: tuple[tuple[SampleValue, ...], ...]
    candidate: tuple[tuple[SampleValue, ...], ...]
    seeds: tuple[int, ...]
    clusters: tuple[str | None, ...]
    soft: AlignedSoft | None
    reasons: tuple[MismatchReason, ...]


def _identity(result: TaskResult, baseline: BaselineTask, settings: Mapping[str, Any] | None) -> Iterator[MismatchReason]:
    if baseline.version is not None and baseline.version != result.version:
        text = f"the task has version {result.version}, the baseline is of version {baseline.version}"
        yield MismatchReason(kind=MismatchKind.VERSION, text=text)
    if baseline.dataset_fingerprint is not None and baseline.dataset_fingerprint != result.dataset_fingerprint:
        text = f"the data changed: its digest is {result.dataset_fingerprint[:12]}, in the baseline {baseline.dataset_fingerprint[:12]}"
        yield MismatchReason(kind=MismatchKind.DATA, text=text)
    if (changed_grader := grader_change(baseline.grader, result.grader)) is not None:
        kind = MismatchKind(result.grader.get("kind") or baseline.grader["kind"])
        yield MismatchReason(kind=kind, text=changed_grader)
    if baseline.prompt_digests is None:
        text = "the baseline was imported and does not know the prompts, so its documents are matched by their ids alone"
        changed = _changed(result, baseline, settings)
        yield MismatchReason(kind=MismatchKind.UNKNOWN_PROMPTS, text=text + (f" ({', '.join(changed)})" if changed else ""))


def grader_change(then: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    """How what graded the answers of a baseline (`then`) differs from what grades now. None: it is the same."""
    if not then and now:
        return f"answers are graded by a {now['kind']} now, and the baseline does not say how its answers were graded"
    if then and not now:
        return f"the answers of the baseline were graded by a {then['kind']}, those of this run by none"
    changed = [f"{name} {then.get(name, 'none')} -> {now.get(name, 'none')}" for name in {**then, **now} if then.get(name) != now.get(name)]
    return f"answers are graded otherwise than in the baseline: {', '.join(changed)}" if changed else None


def truncation_problem(results: Sequence[TaskResult], *, most: float = _MOST_TRUNCATED) -> str | None:
    """Why these scores must not be used: more than this share of the documents lost part of their prompt. None: they may."""
    truncated, documents = sum(result.num_truncated for result in results), sum(len(result.documents) for result in results)
    if truncated <= most * documents:
        return None
    return f"{truncated} of {documents} documents lost part of their prompt; at most {most:.0%} may"


def _truncation(result: TaskResult, most: float) -> Iterator[MismatchReason]:
    if (text := truncation_problem([result], most=most)) is not None:
        yield MismatchReason(kind=MismatchKind.TRUNCATED, text=text)


def _cut(result: TaskResult, baseline: BaselineTask) -> Iterator[MismatchReason]:
    """Of the same documents: other documents may need longer answers. A baseline of earlier versions does not know its share."""
    measured = {(document.id, document.few_shot_seed) for document in result.documents}
    if baseline.cut_share is None or not result.num_texts or measured != set(zip(baseline.ids, baseline.few_shot_seeds, strict=True)):
        return
    share = result.num_cut / result.num_texts
    if abs(share - baseline.cut_share) > _MOST_CUT + 1e-9:
        text = f"{share:.1%} of the answers end at the limit of new tokens, {baseline.cut_share:.1%} in the baseline; 5 points may differ"
        yield MismatchReason(kind=MismatchKind.CUT, text=text)


def _documents(result: TaskResult, baseline: BaselineTask, *, stopped_early: bool) -> _Documents:
    expected: list[_Place] = list(zip(baseline.ids, baseline.few_shot_seeds, strict=True))
    measured: dict[_Place, DocumentScore] = {(document.id, document.few_shot_seed): document for document in result.documents}
    reasons, notes = _completeness(result, baseline, expected, list(measured), stopped_early=stopped_early)
    if len(measured) < len(result.documents) or len(set(expected)) < len(expected):
        reasons.insert(0, "two documents have the same id")
    return _Documents(
        paired=tuple((row, measured[place]) for row, place in enumerate(expected) if place in measured),
        reasons=tuple(MismatchReason(kind=MismatchKind.DOCUMENTS, text=text) for text in reasons),
        notes=tuple(notes),
    )


def _completeness(
    result: TaskResult, baseline: BaselineTask, expected: Sequence[_Place], measured: Sequence[_Place], *, stopped_early: bool
) -> tuple[list[str], list[str]]:
    """Reasons against a comparison and notes about it, from the documents that only one side has.

    Every document of the baseline is there, or one side is the first part of the other because of its `max_samples`.
    """
    found, known = set(measured), set(expected)
    missing = [place for place in expected if place not in found]
    further = [place for place in measured if place not in known]
    if len(missing) == len(expected):
        return [f"none of the {len(expected)} documents of the baseline is in this run"], []
    reasons: list[str] = []
    notes: list[str] = []
    not_in_baseline = "documents of this run are not in the baseline"
    common = len(expected) - len(missing)
    if stopped_early:
        if missing:
            notes.append(f"stopped early: {common} of the baseline's {len(expected)} documents are compared")
        if further:
            reasons.append(_listed(further, not_in_baseline))
        return reasons, notes
    if baseline.prompt_digests is None:
        # the order is another program's, so no particular subset can be required
        if missing or further:
            notes.append(f"{common} documents are on both sides ({len(expected)} in the baseline, {len(measured)} in this run)")
        return reasons, notes
    seeds = sorted({seed for _, seed in expected})
    measured_seeds = {seed for _, seed in measured}
    kept = [seed for seed in seeds if seed in measured_seeds]
    if len(kept) < len(seeds):
        reasons.append(f"the baseline asked under {len(seeds)} few-shot seeds, this run under {len(kept)} of them")
        missing = [place for place in missing if place[1] in kept]
    if new_seeds := measured_seeds - set(seeds):
        notes.append(f"the baseline has {len(seeds)} few-shot seeds; the scores under {len(new_seeds)} more are left out")
        further = [place for place in further if place[1] not in new_seeds]
    if missing and result.max_samples is None:
        reasons.append(_listed(missing, f"of the {len(expected)} documents of the baseline are missing"))
    if further and baseline.max_samples is None:
        reasons.append(_listed(further, not_in_baseline))
    if (missing and result.max_samples is not None) or (further and baseline.max_samples is not None):
        reason, note = _common_prefix(result, expected, measured, kept)
        reasons += [reason] if reason else []
        notes += [note] if note else []
    return reasons, notes


def _common_prefix(
    result: TaskResult, expected: Sequence[_Place], measured: Sequence[_Place], seeds: Sequence[int]
) -> tuple[str | None, str | None]:
    """A reason or a note: under every seed, one side must be the first part of the other."""
    for seed in seeds:
        old = [document for document, of in expected if of == seed]
        new = [document for document, of in measured if of == seed]
        common = min(len(old), len(new))
        required = len(old) if result.max_samples is None else min(len(old), result.max_samples)
        if common < required:
            limit = f" under --max-samples {result.max_samples}" if result.max_samples else ""
            return f"{common} documents instead of the {required} of the baseline{limit}", None
        if old[:common] != new[:common]:
            return f"the first {common} documents are not those of the baseline: the order changed", None
    if len(new) < len(old):
        return None, f"--max-samples {result.max_samples}: the first {common} of the baseline's {len(old)} documents are compared"
    if len(old) < len(new):
        return None, f"the baseline holds the first {common} of this run's {len(new)} documents; only these are compared"
    return None, None


def _prompts(
    paired: Sequence[tuple[int, DocumentScore]], result: TaskResult, baseline: BaselineTask, settings: Mapping[str, Any] | None
) -> Iterator[MismatchReason]:
    digests = baseline.prompt_digests
    if digests is None:
        return
    differing = [(document.id, document.few_shot_seed) for row, document in paired if document.prompt_digest != digests[row]]
    if not differing:
        return
    text = _listed(differing, f"of {len(paired)} documents have another prompt than in the baseline")
    changed = _changed(result, baseline, settings)
    if changed:
        why = ", ".join(changed)
    elif baseline.dataset_fingerprint != result.dataset_fingerprint:
        why = "the data changed"
    else:
        why = "the data is the same, so the task's prompt, the few-shots, the chat template or the system prompt changed"
    yield MismatchReason(kind=MismatchKind.PROMPTS, text=f"{text}: {why}")


def _changed(result: TaskResult, baseline: BaselineTask, settings: Mapping[str, Any] | None) -> list[str]:
    """Known differences in how prompts were built."""
    found = []
    if baseline.effective_few_shots is not None and baseline.effective_few_shots != result.effective_few_shots:
        found.append(f"few-shots {baseline.effective_few_shots:g} -> {result.effective_few_shots:g} on average")
    now = describe_settings(settings or {})
    then = baseline.provenance[-1].settings if baseline.provenance else {}
    if {"use_chat_template"} <= now.keys() & then.keys() and now["use_chat_template"] != then["use_chat_template"]:
        found.append("the chat template is used now" if now["use_chat_template"] else "the chat template is not used any more")
    if {"system_prompt"} <= now.keys() & then.keys() and now["system_prompt"] != then["system_prompt"]:
        found.append("another system prompt")
    return found


def _metric(result: TaskResult, baseline: BaselineTask, metric: str) -> list[MismatchReason]:
    reasons = []
    for name, reported in (("this run", result.metrics), ("the baseline", baseline.metrics)):
        if metric not in reported:
            reasons.append(f"{name} has no metric {metric!r}, only {', '.join(reported) or 'none'}{did_you_mean(metric, reported)}")
    if not reasons and result.metrics[metric].higher_is_better != baseline.metrics[metric].higher_is_better:
        better = "higher" if result.metrics[metric].higher_is_better else "lower"
        reasons.append(f"{metric} is better when {better} now, unlike in the baseline")
    if not reasons:
        shapes = [
            {isinstance(value, tuple) for value in values if value is not None}
            for values in (
                (document.values.get(metric) for document in result.documents),
                (value for repeated in baseline.scores[metric] for value in repeated),
            )
        ]
        if all(shapes) and (shapes[0] != shapes[1] or len(shapes[0]) > 1):
            reasons.append(f"{metric} is made of other values of the documents now than in the baseline")
    return [MismatchReason(kind=MismatchKind.METRIC, text=text) for text in reasons]


def _scores(
    paired: Sequence[tuple[int, DocumentScore]], rows: Sequence[Repeated], soft_rows: Sequence[tuple[float, ...]] | None, metric: str
) -> _Scores:
    before: dict[str, list[SampleValue]] = {}
    after: dict[str, list[SampleValue]] = {}
    repeats: dict[str, list[tuple[int, int]]] = {}
    soft_before: dict[str, list[float]] = {}
    soft_after: dict[str, list[float]] = {}
    clusters: dict[str, str | None] = {}
    one_sided: dict[str, None] = {}
    not_numbers: dict[str, None] = {}
    for row, document in paired:
        old = [value for value in rows[row] if value is not None]
        value = document.values.get(metric)
        if not old and value is None:
            continue
        if not old or value is None:
            one_sided[document.id] = None
        elif not all(_is_finite(score) for score in (*old, value)):
            not_numbers[document.id] = None
        else:
            before.setdefault(document.id, []).extend(old)
            after.setdefault(document.id, []).append(value)
            repeats.setdefault(document.id, []).append((len(old), 1))
            clusters[document.id] = document.cluster
            if soft_rows is not None and metric in document.soft:
                soft_before.setdefault(document.id, []).extend(soft_rows[row])
                soft_after.setdefault(document.id, []).append(document.soft[metric])
    reasons = []
    if one_sided:
        reasons.append(_listed(list(one_sided), f"documents have a score of {metric} on one side only"))
    if not_numbers:
        reasons.append(_listed(list(not_numbers), f"documents have a score of {metric} that is not a finite number"))
    for document_id in (*one_sided, *not_numbers):
        # it may have a score on both sides under another few-shot seed
        before.pop(document_id, None)
    ids = tuple(before)
    return _Scores(
        ids=ids,
        baseline=tuple(tuple(before[name]) for name in ids),
        candidate=tuple(tuple(after[name]) for name in ids),
        seeds=tuple(seeds_of(repeats[name]) for name in ids),
        clusters=tuple(clusters[name] for name in ids),
        soft=AlignedSoft(
            baseline=tuple(tuple(soft_before[name]) for name in ids),
            candidate=tuple(tuple(soft_after[name]) for name in ids),
        )
        if all(len(soft_after.get(name, ())) == len(after[name]) for name in ids)
        else None,
        reasons=tuple(MismatchReason(kind=MismatchKind.SCORES, text=text) for text in reasons),
    )


def _is_finite(value: SampleValue) -> bool:
    return isinstance(value, tuple) or math.isfinite(value)


def _listed(places: Sequence[_Place] | Sequence[str], what: str) -> str:
    """`3 documents ... (test:1, test:5, test:7)`: how many, and the first of them."""
    names = list(dict.fromkeys(place if isinstance(place, str) else place[0] for place in places))
    more = ", ..." if len(names) > _MOST_NAMED else ""
    return f"{len(places)} {what} ({', '.join(names[:_MOST_NAMED])}{more})"
