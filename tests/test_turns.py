"""Conversations: each turn is asked with the answers before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.backends.chunked import ChunkedBackend
from pytest_lighteval.backends.chunks import ChunkLimits
from pytest_lighteval.backends.fake import FakeBackend
from pytest_lighteval.common.files import write_atomic
from pytest_lighteval.errors import FileError, RequestsFailedError
from pytest_lighteval.evaluate import EvaluationSettings, evaluate
from pytest_lighteval.prompts.reasoning import DEFAULT_TAGS
from pytest_lighteval.tasks.catalogue import Catalogue
from pytest_lighteval.types import Detail, GenerateRequest, GenerateResponse, Message, Task

SUITE = """\
suite: mine
tasks:
  - name: talk
    data_files: {test: talk.jsonl}
    evaluation_splits: [test]
    prompt: {query: "{{ q }}", turns: "{{ more }}", choices: ["{{ a }}"]}
    metrics: [METRIC]
"""
ROWS = """\
{"q": "one", "more": ["two", "three"], "a": "said three"}
{"q": "uno", "more": [], "a": "said uno"}
{"q": "eins", "more": ["zwei"], "a": "other"}
"""


def talk(folder: Path, metric: str = "exact_match") -> Task:
    folder.mkdir(exist_ok=True)
    write_atomic(folder / "talk.jsonl", ROWS)
    write_atomic(folder / "talk.yaml", SUITE.replace("METRIC", metric))
    (task,) = Catalogue((folder,)).load(folder / "talk.yaml")
    return task


class Echo(FakeBackend):
    """Says what it was told last, after some thoughts, and keeps what it was asked. It answers backwards."""

    learn: Any = None

    def __init__(self, *, fails_at: str = "", **arguments: Any) -> None:
        super().__init__(**arguments)
        self.asked: list[list[GenerateRequest]] = []
        self.fails_at = fails_at

    def generate(self, requests: Sequence[GenerateRequest]) -> Iterator[tuple[int, GenerateResponse]]:
        self.asked.append([*requests])
        for index, request in reversed([*enumerate(requests)]):
            assert not isinstance(request.prompt, str)
            told = request.prompt[-1].content
            if told == self.fails_at:
                yield index, GenerateResponse(error="lost")
                continue
            yield index, GenerateResponse(texts=(f"<think>hm {told}</think>said {told}",), finish_reasons=("stop",))


def said(requests: Sequence[GenerateRequest]) -> list[list[str]]:
    return [[turn.content for turn in request.prompt if isinstance(turn, Message)] for request in requests]


def test_turns_are_asked_in_rounds_and_the_last_answer_is_scored(tmp_path: Path) -> None:
    backend, details = Echo(), list[Detail]()
    settings = EvaluationSettings(reasoning_tags=DEFAULT_TAGS)

    result = evaluate(talk(tmp_path), backend, few_shots=0, settings=settings, on_detail=details.append)

    assert [sorted(said(round_)) for round_ in backend.asked] == [
        [["eins"], ["one"], ["uno"]],
        # without the model's thoughts
        [["eins", "said eins", "zwei"], ["one", "said one", "two"]],
        [["one", "said one", "two", "said two", "three"]],
    ]
    assert {detail.doc.query: detail.values["em"] for detail in details} == {"one": 1.0, "uno": 1.0, "eins": 0.0}
    assert {detail.doc.query: len(detail.turns) for detail in details} == {"one": 3, "uno": 0, "eins": 2}
    assert result["em"] == pytest.approx(2 / 3)
    assert {request.prompt[-1].role for request in backend.asked[2] if not isinstance(request.prompt, str)} == {"user"}


def test_later_turns_are_a_part_of_the_prompts_digest(tmp_path: Path) -> None:
    before = evaluate(talk(tmp_path), Echo(), few_shots=0).prompt_digest
    write_atomic(tmp_path / "talk.jsonl", ROWS.replace("three", "four"))

    assert evaluate(talk_of(tmp_path), Echo(), few_shots=0).prompt_digest != before


def talk_of(folder: Path) -> Task:
    (task,) = Catalogue((folder,)).load(folder / "talk.yaml")
    return task


def test_a_failed_turn_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(RequestsFailedError, match="1 of 3 documents have no answer; the first is test:0: turn 2: lost"):
        evaluate(talk(tmp_path), Echo(fails_at="two"), few_shots=0)


def test_shards_answer_their_own_conversations_to_the_end(tmp_path: Path) -> None:
    task, rounds, documents = talk(tmp_path), [], 0
    for number in (1, 2):
        backend = Echo()
        in_parts = ChunkedBackend(backend, limits=ChunkLimits(size=1, per_stem=0, most=1, rows=1), share=(number, 2))
        documents += len(evaluate(task, in_parts, few_shots=0, share=(number, 2)).documents)
        rounds += [turns for asked in backend.asked for turns in said(asked)]

    assert documents == 3
    assert sorted(len(turns) for turns in rounds) == [1, 1, 1, 3, 3, 5]


def test_a_metric_of_log_likelihoods_is_refused_in_a_conversation(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"metrics\[0\]: loglikelihood_acc scores choices, and a task with turns has texts"):
        talk(tmp_path, "loglikelihood_acc")
