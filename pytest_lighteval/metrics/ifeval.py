"""IFEval's four accuracies: of whole prompts and of single instructions, judged strictly and loosely (arXiv:2311.07911, section 3)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_lighteval.common.statistics import MEAN, resampled_sums
from pytest_lighteval.errors import DataError
from pytest_lighteval.metrics.instructions import INSTRUCTIONS
from pytest_lighteval.types import Ask, CorpusMetric, Doc, GenerateResponse, Metric, SampleValue

Followed = tuple[int, int]
"""How many of a document's instructions were followed, and how many there are."""


def _share(values: Sequence[Followed]) -> float:
    return sum(followed for followed, _ in values) / sum(count for _, count in values)


def _resampled_share(values: Sequence[Followed], indices: Any) -> npt.NDArray[np.float64]:
    sums = resampled_sums(values, indices)
    return sums[:, 0] / sums[:, 1]


_SHARE = CorpusMetric(aggregate=_share, higher_is_better=True, range=(0.0, 1.0), is_mean=False, bootstrap=_resampled_share)


def loose_variants(text: str) -> tuple[str, ...]:
    """The text and seven others: without its first, its last, or both lines, and each of the four without stars."""
    lines = text.split("\n")
    cut = (text, "\n".join(lines[1:]).strip(), "\n".join(lines[:-1]).strip(), "\n".join(lines[1:-1]).strip())
    return (*cut, *(variant.replace("*", "") for variant in cut))


def _follows(doc: Doc, instruction: str, arguments: dict[str, Any], texts: Sequence[str]) -> bool:
    """Does one of the texts follow it? An empty text follows nothing."""
    if instruction not in INSTRUCTIONS:
        raise DataError(f"{doc.id}: instruction {instruction!r} is none of IFEval's {len(INSTRUCTIONS)}")
    try:
        return any(text.strip() and INSTRUCTIONS[instruction](text, arguments) for text in texts)
    except KeyError as error:
        raise DataError(f"{doc.id}: instruction {instruction!r} has no argument {error.args[0]!r}") from error
    except re.error as error:
        raise DataError(f"{doc.id}: instruction {instruction!r}: {error.pattern!r} is not a regular expression: {error}") from error


def _sample(doc: Doc, response: GenerateResponse) -> dict[str, SampleValue]:
    """`specific` holds `instructions_id_list`, and in `kwargs` a mapping for each, whose None values are absent."""
    values: dict[str, SampleValue] = {}
    text = response.texts[0]
    given = [{name: value for name, value in kwargs.items() if value is not None} for kwargs in doc.specific["kwargs"]]
    for mode, texts in (("strict", (text,)), ("loose", loose_variants(text))):
        followed = [
            _follows(doc, instruction, arguments, texts)
            for instruction, arguments in zip(doc.specific["instructions_id_list"], given, strict=True)
        ]
        values[f"prompt_level_{mode}_acc"] = float(all(followed))
        values[f"inst_level_{mode}_acc"] = (sum(followed), len(followed))
    return values


METRICS = (
    Metric(
        name="ifeval_metric",
        ask=Ask.GENERATION,
        sample=_sample,
        corpus={
            "prompt_level_strict_acc": MEAN,
            "inst_level_strict_acc": _SHARE,
            "prompt_level_loose_acc": MEAN,
            "inst_level_loose_acc": _SHARE,
        },
        judges_answers=False,
    ),
)
