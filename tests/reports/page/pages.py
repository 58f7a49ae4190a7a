"""Reads a page back as its own script does, and makes runs for one."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pytest_lighteval.reports.details import DetailsWriter
from pytest_lighteval.types import (
    Ask,
    Detail,
    Doc,
    GenerateRequest,
    GenerateResponse,
    LoglikelihoodRequest,
    LoglikelihoodResponse,
    TaskKey,
)

_BLOCK = re.compile(r'<script type="application/octet-stream" id="([^"]+)">([A-Za-z0-9+/=]*)</script>')


def blocks(page: Path) -> dict[str, Any]:
    """Name -> content of every block of data."""
    return {
        name: json.loads(zlib.decompress(base64.b64decode(text, validate=True))) for name, text in _BLOCK.findall(page.read_text("utf-8"))
    }


def choice_detail(row: int, logprobs: Sequence[float], *, gold: int = 0, query: str = "", **more: Any) -> Detail:
    """A multiple-choice document with one few-shot example."""
    choices = tuple(f" choice {place}" for place in range(len(logprobs)))
    query = query or f"Question {row}?"
    prompt = f"An example.\n\n{query}"
    best = logprobs.index(max(logprobs))
    return Detail(
        doc=Doc(id=f"test:{row}", query=query, choices=choices, gold=(gold,)),
        prompt=prompt,
        few_shot_ids=("dev:0",),
        few_shot_seed=0,
        requests={Ask.CHOICES: LoglikelihoodRequest(prompt=prompt, choices=choices)},
        responses={
            Ask.CHOICES: LoglikelihoodResponse(
                logprobs=tuple(logprobs),
                greedy=tuple(place == best for place in range(len(logprobs))),
                token_counts=(2,) * len(logprobs),
                prompt_token_ids=(1, 2, 3),
            )
        },
        values={"acc": float(best == gold)},
        **more,
    )


def text_detail(row: int, text: str, *, gold: str = " yes", score: float | None = None, **more: Any) -> Detail:
    """A document whose answer is generated."""
    prompt = f"Question {row}?"
    responses = more.pop("response", GenerateResponse(texts=(text,), token_ids=((1, 2, 3, 4),), finish_reasons=("stop",)))
    return Detail(
        doc=Doc(id=f"test:{row}", query=prompt, choices=(gold,), gold=(0,)),
        prompt=prompt,
        few_shot_ids=(),
        few_shot_seed=0,
        requests={Ask.GENERATION: GenerateRequest(prompt=prompt, max_new_tokens=8)},
        responses={Ask.GENERATION: responses},
        values={"em": float(text == gold) if score is None else score},
        **more,
    )


def write_details(folder: Path, key: str, details: Iterable[Detail]) -> None:
    parsed = TaskKey.parse(key)
    assert parsed is not None
    with DetailsWriter(folder, parsed) as writer:
        for detail in details:
            writer.write(detail)
