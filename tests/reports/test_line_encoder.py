"""The fast way to write a line gives the bytes of the slow one."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_lighteval.reports.details import detail_line
from pytest_lighteval.reports.line_encoder import encode_line
from pytest_lighteval.reports.serialize import to_json
from pytest_lighteval.types import (
    Ask,
    Detail,
    Doc,
    GenerateRequest,
    GenerateResponse,
    LoglikelihoodRequest,
    LoglikelihoodResponse,
    Message,
    PerplexityRequest,
    PerplexityResponse,
)


class _Text(str):
    __slots__ = ()


CHARACTERS = "".join(map(chr, range(0x2100))) + "😀\u2028"
NUMBERS = (0.1, -0.0, 1e-5, -2.5e-7, 1e16, 1e22, 5e-324, 123456789.125, -1e-300, 1.0)


def detail_of(**changes: Any) -> Detail:
    doc = Doc(id="test:1", query="2 + 2?", choices=(" 4", " 5"), gold=(0,), specific=changes.pop("specific", {}), cluster="c")
    given: dict[str, Any] = {
        "doc": doc,
        "prompt": "2 + 2?",
        "few_shot_ids": ("train:1",),
        "few_shot_seed": 0,
        "requests": {
            Ask.CHOICES: LoglikelihoodRequest(prompt="2 + 2?", choices=(" 4", " 5")),
            Ask.GENERATION: GenerateRequest(prompt=(Message(role="user", content="x"),), stop_sequence=("\n",)),
            Ask.TEXT: PerplexityRequest(text="2 + 2?"),
        },
        "responses": {
            Ask.CHOICES: LoglikelihoodResponse(logprobs=NUMBERS, greedy=(True, False), choice_token_ids=((1, 2), ())),
            Ask.GENERATION: GenerateResponse(texts=("a", "b"), token_ids=((1,), (2, 3)), finish_reasons=("stop", "length")),
            Ask.TEXT: PerplexityResponse(logprob=-1e-7, token_count=3),
        },
        "values": {"acc": 1.0, "small": 1e-7, "none": None, "pair": (1, 2.5), "label": (3, ("a", 4))},
        "prompt_digest": "0123456789ab",
    }
    return Detail(**given | changes)


DETAILS: dict[str, Detail] = {
    "usual": detail_of(),
    "every character": detail_of(prompt=CHARACTERS, specific={"text": CHARACTERS}),
    "half a surrogate pair": detail_of(prompt="half \ud83d of 中"),
    "turns": detail_of(prompt=(Message(role="system", content="Be short."), Message(role="user", content="2?"))),
    "not a number": detail_of(values={"acc": math.nan, "pair": (math.inf, 1)}),
    "infinite": detail_of(responses={Ask.CHOICES: LoglikelihoodResponse(logprobs=(-math.inf, -1e-9))}),
    "nothing": detail_of(requests={Ask.GOLDS: LoglikelihoodRequest(prompt="", choices=())}, responses={}, values={}, few_shot_ids=()),
    "failed": detail_of(responses={Ask.CHOICES: LoglikelihoodResponse(error="no answer")}, error="no answer"),
    "baseline": detail_of(baseline={"acc": (1.0, None, 1e-7), "pair": ((1, 2),)}),
    "thoughts": detail_of(scored_texts={Ask.GENERATION: ("4", "")}),
    "not judged": detail_of(not_judged={"ter": "too long"}, cut_in_thoughts=True),
    "refused": detail_of(responses={Ask.GENERATION: GenerateResponse(texts=("",), empty_reasons=("refused",))}),
    "odd members of a row": detail_of(
        specific={
            "day": date(2020, 1, 2),
            "bytes": b"\x01",
            "set": {3, 1},
            "numpy": [np.float64(1e-7), np.int64(3), np.arange(2)],
            "path": Path("a/b"),
            "ask": Ask.TEXT,
            "text": _Text("x"),
            "keys": {None: 1, True: 2, 1e-7: 3, 4: [1e16, {"deep": (1e-5,)}]},
            "large": 2**80,
        }
    ),
    "numbers of numpy": detail_of(
        responses={
            Ask.CHOICES: LoglikelihoodResponse(logprobs=(np.float64(-1e-7), np.float32(0.5)), token_counts=(np.int64(3),)),  # type: ignore[arg-type]
            Ask.GENERATION: GenerateResponse(texts=(_Text("x"),), token_ids=([1, 2],)),  # type: ignore[arg-type]
        },
        values={"acc": np.float64(1e-7), "flag": np.True_, "count": True},
    ),
}


@pytest.mark.parametrize("name", DETAILS)
def test_a_line_has_the_bytes_of_to_json(name: str) -> None:
    line = detail_line(DETAILS[name], seconds=1.2345)

    assert encode_line(line) == (to_json(line) + "\n").encode()


def test_numbers_of_any_size_have_the_bytes_of_to_json() -> None:
    stream = random.Random(1)
    numbers = tuple(stream.choice([-1, 1]) * stream.random() * 10 ** stream.randrange(-30, 30) for _ in range(5000))
    line = detail_line(replace(detail_of(), values={"acc": numbers[0], "all": numbers}), seconds=0.0)

    assert encode_line(line) == (to_json(line) + "\n").encode()
