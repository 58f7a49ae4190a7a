"""Values survive the way from a worker to its controller."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path, PurePosixPath
from typing import Any

import execnet
import msgspec
import numpy as np
import pytest

from pytest_lighteval.reports.serialize import task_result_from_plain, to_json, to_plain, verdict_from_plain
from pytest_lighteval.types import Ask, Comparison, DocumentScore, Flip, Message, PairedVerdict, SoftVerdict, TaskResult
from tests.reports.samples import GSM8K, WIKITEXT, number, result, verdict


class Level(IntEnum):
    HIGH = 3


@dataclass(frozen=True)
class Odd:
    name: str

    def __str__(self) -> str:
        return f"<{self.name}>"


class Arguments(msgspec.Struct):
    pretrained: str
    dtype: Path | None = None


class Opaque:
    def __str__(self) -> str:
        return "torch.float16"


SCORES = (
    DocumentScore(id="test:0", prompt_digest="0123456789ab", values={"acc": 1.0, "f1": (1, 0, ("a", 2.5, None), [True, "é"])}),
    DocumentScore(
        id="test:1",
        prompt_digest="ba9876543210",
        values={"acc": None, "f1": ()},
        few_shot_seed=1,
        cluster="p1",
        truncated=True,
        soft={"f1": 0.5},
    ),
    DocumentScore(id="test:2", prompt_digest="aaaaaaaaaaaa", values={"other": math.inf}),
)


@pytest.mark.parametrize(
    "measured",
    [GSM8K, WIKITEXT, result("a|b:c|5|1", SCORES, acc=number(0.5, None), f1=number(math.inf)), replace(GSM8K, max_samples=None)],
    ids=["plain", "stderr unknown", "documents", "no limit"],
)
def test_a_result_comes_back_from_a_worker_as_it_left(measured: TaskResult) -> None:
    wire = execnet.dumps(to_plain(measured))

    assert task_result_from_plain(execnet.loads(wire)) == measured


def test_a_result_comes_back_from_json_too() -> None:
    measured = result("a|b|0", (DocumentScore(id="test:0", prompt_digest="0" * 12, values={"acc": 1.0, "pair": (1, 2)}),), acc=number(1.0))

    assert task_result_from_plain(msgspec.json.decode(to_json(measured))) == measured


def test_a_score_that_is_not_a_number_stays_one() -> None:
    scores = (DocumentScore(id="test:0", prompt_digest="0" * 12, values={"ppl": math.nan}),)

    back = task_result_from_plain(execnet.loads(execnet.dumps(to_plain(result("a|b|0", scores, ppl=number(math.nan, math.nan))))))

    assert math.isnan(back["ppl"])
    assert math.isnan(back.metrics["ppl"].stderr or 0.0)
    assert str(back.documents[0].values) == "{'ppl': nan}"


def test_numpy_scores_leave_as_pythons_own() -> None:
    values: dict[str, Any] = {"acc": np.float64(0.5), "hits": (np.int64(2), np.bool_(True)), "em": True}
    scores = (DocumentScore(id="test:0", prompt_digest="0" * 12, values=values),)

    back = task_result_from_plain(execnet.loads(execnet.dumps(to_plain(result("a|b|0", scores, acc=number(np.float64(0.25)))))))

    assert back.documents[0].values == {"acc": 0.5, "hits": (2, True), "em": 1.0}
    assert type(back["acc"]) is float


def test_all_of_mmlu_travels_in_little_more_than_a_megabyte() -> None:
    scores = tuple(
        DocumentScore(id=f"test:{row}", prompt_digest=f"{row:012x}", values={"acc": float(row % 2)}, soft={"acc": row / 2})
        for row in range(14_042)
    )
    measured = result("leaderboard|mmlu|5", scores, acc=number(0.5, n=14_042))

    wire = execnet.dumps(to_plain(measured))

    assert len(wire) < 1_250_000
    assert task_result_from_plain(execnet.loads(wire)) == measured


def test_a_verdict_comes_back_from_a_worker_as_it_left() -> None:
    judged = verdict("acc", "failed", 0.35, floor=0.42)

    assert verdict_from_plain(execnet.loads(execnet.dumps(to_plain(judged)))) == judged


NUMBERS: dict[str, Any] = {
    "baseline": 0.5,
    "candidate": 0.25,
    "loss": 0.25,
    "lower": 0.1,
    "upper": 0.4,
    "p": 0.01,
    "n": 8,
    "lost": 2,
    "won": 0,
}
NUMBERS["method"] = "exact McNemar test"
NULLS: dict[str, Any] = dict.fromkeys(
    (
        *NUMBERS, "p_adjusted", "max_drop", "min_effect", "alpha", "certify_alpha", "soft_alpha", "soft", "margin_change",
        "detectable", "documents_needed", "repeats_needed",
    )
)  # fmt: skip
SOFT: dict[str, Any] = {"loss": 0.02, "p": 0.001, "alpha": 0.025, "is_certain": True, "answers_fell": True, "is_large": True}
COMPARED = PairedVerdict(
    outcome="REGRESSED",
    line="acc",
    red=True,
    comparison=Comparison(**NUMBERS),
    candidate=0.25,
    n=8,
    alpha=0.025,
    soft_alpha=0.025,
    soft=SoftVerdict(**SOFT),
    flips=(Flip(id="test:1", before=1.0, after=0.0, is_loss=True, margins=(1.5, -0.25)),),
    margin_change=0.5,
)


@pytest.mark.parametrize(
    ("paired", "numbers"),
    [
        (
            COMPARED,
            {
                **NUMBERS,
                "alpha": 0.025,
                "soft_alpha": 0.025,
                "soft": SOFT,
                "flips": [{"id": "test:1", "before": 1.0, "after": 0.0, "is_loss": True, "margins": [1.5, -0.25]}],
                "margin_change": 0.5,
            },
        ),
        (PairedVerdict(outcome="NEW", line="acc", red=False, candidate=0.25, n=8), {"candidate": 0.25, "n": 8}),
        (PairedVerdict(outcome="STALE", line="acc", red=True, notes=("a note",)), {"notes": ["a note"]}),
    ],
    ids=lambda value: value.outcome if isinstance(value, PairedVerdict) else "",
)
def test_the_numbers_of_a_comparison_are_fields_of_its_verdict_and_come_back(paired: PairedVerdict, numbers: dict[str, Any]) -> None:
    judged = replace(verdict("acc", "failed", 0.25, floor=0.42), paired=paired)
    written = json.loads(to_json(judged))

    expected = {
        **NULLS,
        "outcome": paired.outcome,
        "line": "acc",
        "red": paired.red,
        "advisory": False,
        "used": None,
        "blind": False,
        "flips": [],
        "notes": [],
        **numbers,
    }
    assert written["paired"] == expected
    assert verdict_from_plain(written) == judged
    assert {name: getattr(paired, name) for name in NUMBERS} == {name: expected[name] for name in NUMBERS}


def test_something_else_is_no_result() -> None:
    with pytest.raises(msgspec.ValidationError, match="missing required field `key`"):
        task_result_from_plain({"version": 1})


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (None, None),
        (True, True),
        (Level.HIGH, 3),
        (Ask.CHOICES, "choices"),
        (PurePosixPath("/data/model"), "/data/model"),
        (Odd(name="a"), {"name": "a"}),
        (Arguments(pretrained="a"), {"pretrained": "a", "dtype": None}),
        (Message(role="user", content="Hi"), {"role": "user", "content": "Hi"}),
        ((1, [2, {"a": (3,)}]), (1, [2, {"a": (3,)}])),
        ({1: "a", Ask.TEXT: "b"}, {"1": "a", "text": "b"}),
        (frozenset({"b", "a"}), ["a", "b"]),
        (np.float32(0.5), 0.5),
        (np.float64(0.5), 0.5),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (Opaque(), "torch.float16"),
        (b"raw", b"raw"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_value_becomes_builtins(value: Any, plain: Any) -> None:
    assert to_plain(value) == plain
    assert repr(to_plain(value)) == repr(plain)


def test_json_has_no_bare_nan() -> None:
    text = to_json({"b": [math.nan, -math.inf], "a": (math.inf, 0.1, b"\x01")}, sort_keys=True)

    assert text == '{"a":["inf",0.1,"01"],"b":["nan","-inf"]}'


def test_a_lone_surrogate_of_a_data_set_can_be_written_as_utf8(tmp_path: Path) -> None:
    text = to_json({"query": "half \ud83d of 中"})

    assert text == '{"query":"half \\ud83d of 中"}'
    assert msgspec.json.decode(text.replace("\\ud83d", "?").encode()) == {"query": "half ? of 中"}
