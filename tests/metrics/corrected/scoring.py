"""A metric's values for one text, or several, with the accepted answers alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_lighteval.metrics import metric
from pytest_lighteval.types import Doc, GenerateResponse, SampleValue


def values(
    name: str,
    texts: str | Sequence[str],
    *,
    golds: Sequence[str] = (),
    choices: Sequence[str] = (),
    gold: Sequence[int] = (),
    specific: Mapping[str, Any] | None = None,
) -> Mapping[str, SampleValue | None]:
    """Of a document whose choices are the golds, or `choices` with those of the indices `gold` right."""
    said = (texts,) if isinstance(texts, str) else tuple(texts)
    doc = Doc(id="test:0", query="", choices=tuple(choices or golds), gold=tuple(gold or range(len(golds))), specific=specific or {})
    return metric(name).sample(doc, GenerateResponse(texts=said, finish_reasons=("stop",) * len(said)))
