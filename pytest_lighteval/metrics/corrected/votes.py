"""Majority votes in which only texts with an answer vote, as in Wang et al. 2022 (self-consistency, arXiv:2203.11171)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from pytest_lighteval.common.statistics import MEAN
from pytest_lighteval.metrics.corrected import boxes
from pytest_lighteval.metrics.corrected.canonical import canonical
from pytest_lighteval.metrics.corrected.numerals import Readings, answer_number
from pytest_lighteval.types import Ask, Doc, GenerateResponse, Metric

Answer = TypeVar("Answer")


def winner(answers: Sequence[Answer | None], are_same: Callable[[Answer, Answer], bool]) -> Answer | None:
    """The most frequent answer; of equally frequent ones, the one seen first. Equal answers in other words vote together.

    None: no text has an answer.
    """
    groups: list[list[Answer]] = []
    for answer in answers:
        if answer is None:
            continue
        group = next((one for one in groups if are_same(one[0], answer)), None)
        if group is None:
            groups.append([answer])
        else:
            group.append(answer)
    return max(groups, key=len)[0] if groups else None


def _vote(
    name: str,
    reported: str,
    k: int,
    answer_of: Callable[[str], Answer | None],
    are_same: Callable[[Answer, Answer], bool],
    is_right: Callable[[Sequence[str], Answer], bool],
) -> Metric:
    def sample(doc: Doc, response: GenerateResponse) -> dict[str, float]:
        chosen = winner([answer_of(text) for text in response.texts[:k]], are_same)
        return {reported: float(chosen is not None and is_right(doc.golds, chosen))}

    return Metric(name=name, ask=Ask.SAMPLES, sample=sample, corpus={reported: MEAN}, num_samples=k)


def _number(text: str) -> Readings | None:
    return answer_number(text) or None


def _plain(text: str) -> str | None:
    return " ".join(canonical(text).split()) or None


METRICS = (
    _vote("maj_at_4_math_corrected", "maj@4", 4, boxes.boxed_answer, boxes.are_same, boxes.is_right),
    _vote(
        "maj_at_8_gsm8k_corrected",
        "maj@8",
        8,
        _number,
        lambda one, other: bool(one & other),
        lambda golds, number: any(number & answer_number(gold) for gold in golds),
    ),
    *(
        _vote(
            f"maj_at_{k}_corrected",
            f"maj@{k}",
            k,
            _plain,
            lambda one, other: one == other,
            lambda golds, text: any(_plain(gold) == text for gold in golds),
        )
        for k in (5, 8)
    ),
)
