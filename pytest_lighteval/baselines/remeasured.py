"""Two measurements of one task, that of a file and that of a run: whether they measure the same, and their scores side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pytest_lighteval.baselines.align import AlignedScores, grader_change, seeds_of
from pytest_lighteval.baselines.model import BaselineTask
from pytest_lighteval.types import SampleValue


def other_measurement(old: BaselineTask, new: BaselineTask) -> list[str]:
    """What makes them measurements of different things, one line each; empty if their scores may be compared.

    An imported baseline knows neither its version nor its data nor its prompts: then nothing of these is compared.
    """
    found = []
    if old.version is not None and old.version != new.version:
        found.append(f"version {new.version} instead of {old.version}")
    if old.dataset_fingerprint is not None and old.dataset_fingerprint != new.dataset_fingerprint:
        found.append("the data changed")
    if (graded := grader_change(old.grader, new.grader)) is not None:
        found.append(graded)
    if old.prompt_digests is not None and new.prompt_digests is not None:
        prompts = dict(zip(zip(new.ids, new.few_shot_seeds, strict=True), new.prompt_digests, strict=True))
        places = zip(old.ids, old.few_shot_seeds, strict=True)
        others = sum(prompts.get(place, prompt) != prompt for place, prompt in zip(places, old.prompt_digests, strict=True))
        if others:
            found.append(f"{others} documents have another prompt")
    for name, number in new.metrics.items():
        if name in old.metrics and old.metrics[name].higher_is_better != number.higher_is_better:
            found.append(f"{name} is better when {'higher' if number.higher_is_better else 'lower'} now")
    return found


def align_measurements(
    old: BaselineTask, new: BaselineTask, metric: str, *, clusters: Mapping[str, str | None], rows: Mapping[str, str]
) -> AlignedScores | str:
    """The scores of the documents that both have, or why they cannot be compared, in one line.

    Args:
        old: its documents are `AlignedScores.baseline`.
        new: of the same task, with the same metric.
        metric: a reported name of both.
        clusters: document id -> its cluster. A document that is not in it has none.
        rows: document id -> its row, as `AlignedScores.rows`. A document that is not in it shares its row with none.
    """
    measured = {place: row for row, place in enumerate(zip(new.ids, new.few_shot_seeds, strict=True))}
    before: dict[str, list[SampleValue]] = {}
    after: dict[str, list[SampleValue]] = {}
    repeats: dict[str, list[tuple[int, int]]] = {}
    unfit = 0
    for place, then in zip(zip(old.ids, old.few_shot_seeds, strict=True), old.scores[metric], strict=True):
        if (row := measured.get(place)) is None:
            continue
        scores = [[value for value in repeats if value is not None] for repeats in (then, new.scores[metric][row])]
        if not any(scores):
            continue
        if all(scores) and all(isinstance(value, tuple) or math.isfinite(value) for values in scores for value in values):
            before.setdefault(place[0], []).extend(scores[0])
            after.setdefault(place[0], []).extend(scores[1])
            repeats.setdefault(place[0], []).append((len(scores[0]), len(scores[1])))
        else:
            unfit += 1
    if unfit:
        return f"{unfit} documents have a score of {metric} on one side only, or one that is not a finite number"
    if not before:
        return f"no document has a score of {metric} on both sides"
    if len({isinstance(value, tuple) for values in (*before.values(), *after.values()) for value in values}) > 1:
        return f"{metric} is made of other values of the documents now"
    ids = tuple(before)
    names = tuple(clusters.get(name) for name in ids)
    return AlignedScores(
        key=new.key,
        metric=metric,
        higher_is_better=new.metrics[metric].higher_is_better,
        ids=ids,
        rows=tuple(rows.get(name, f"{new.key}|{name}") for name in ids),
        baseline=tuple(tuple(before[name]) for name in ids),
        candidate=tuple(tuple(after[name]) for name in ids),
        seeds=tuple(seeds_of(repeats[name]) for name in ids),
        clusters=names if any(name is not None for name in names) else None,
        notes=(),
    )
