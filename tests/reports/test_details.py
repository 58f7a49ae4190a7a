"""Every document's line is complete, and what was measured before something broke is kept."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.errors import LightevalError
from pytest_lighteval.reports.details import DetailsWriter, details_path
from pytest_lighteval.types import (
    Ask,
    Detail,
    Doc,
    GenerateRequest,
    GenerateResponse,
    LoglikelihoodRequest,
    LoglikelihoodResponse,
    Message,
)
from tests.reports.samples import key
from tests.shared import ROOT

ARC = key("leaderboard|arc:challenge|25")
TURNS = (Message(role="system", content="Be short."), Message(role="user", content="2 + 2?"))


def _detail(number: int = 0) -> Detail:
    """A document that was asked to be continued and whose golds were scored."""
    return Detail(
        doc=Doc(id=f"test:{number}", query="2 + 2?", choices=("4", "四"), gold=(0,), specific={"level": 1}),
        prompt=TURNS,
        few_shot_ids=("train:3", "train:1"),
        few_shot_seed=0,
        requests={
            Ask.GENERATION: GenerateRequest(prompt=TURNS, stop_sequence=("\n",), max_new_tokens=9),
            Ask.GOLDS: LoglikelihoodRequest(prompt="another", choices=("4",)),
        },
        responses={
            Ask.GENERATION: GenerateResponse(texts=("<think>hm</think> 4",), token_ids=((7, 8),), finish_reasons=("stop",)),
            Ask.GOLDS: LoglikelihoodResponse(logprobs=(float("-inf"),), greedy=(False,), token_counts=(1,), prompt_token_ids=(1, 2)),
        },
        scored_texts={Ask.GENERATION: ("4",)},
        values={"em": 1.0, "f1": (1, 2.5)},
        prompt_digest="0123456789ab",
    )


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("leaderboard|arc:challenge|25", "leaderboard/arc.challenge.25-shot.jsonl"),
        ("leaderboard|gsm8k|5|1", "leaderboard/gsm8k.5-shot.trunc.jsonl"),
        ("original|arc:c:letters|0", "original/arc.c.letters.0-shot.jsonl"),
        ("my-suite_2|a_b-c:D|0", "my-suite_2/a_b-c.D.0-shot.jsonl"),
        ("a.b|a.b|0", "a%2Eb/a%2Eb.0-shot.jsonl"),
        ("a:b|a:b|0", "a.b/a.b.0-shot.jsonl"),
        ("../up|../../etc/a b\n|0", "%2E%2E%2Fup/%2E%2E%2F%2E%2E%2Fetc%2Fa%20b%0A.0-shot.jsonl"),
        ("::|:a::b:|0", "%3A%3A/%3Aa.%3Ab%3A.0-shot.jsonl"),
    ],
    ids=["colon", "truncation", "two colons", "all plain characters", "point", "colon in a suite", "hostile", "colons alone"],
)
def test_an_items_details_have_a_name_of_their_own(text: str, name: str) -> None:
    assert details_path(Path("reports/run"), key(text)) == Path("reports/run/details") / name


def test_a_line_holds_all_that_is_known_of_a_document(tmp_path: Path) -> None:
    with DetailsWriter(tmp_path, ARC) as writer:
        writer.write(_detail())

    (line,) = _lines(details_path(tmp_path, ARC))
    assert line.pop("seconds") >= 0
    assert line == {
        "id": "test:0",
        "few_shot_seed": 0,
        "doc": {
            "id": "test:0",
            "query": "2 + 2?",
            "choices": ["4", "四"],
            "gold": [0],
            "instruction": "",
            "original_query": None,
            "unconditioned_query": None,
            "fewshot_sorting_class": None,
            "specific": {"level": 1},
            "cluster": None,
        },
        "prompt": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "2 + 2?"}],
        "prompt_digest": "0123456789ab",
        "few_shot_ids": ["train:3", "train:1"],
        "answers": {
            "generation": {
                "request": {"stop_sequence": ["\n"], "max_new_tokens": 9, "num_samples": 1, "do_sample": False},
                "response": {
                    "texts": ["<think>hm</think> 4"],
                    "token_ids": [[7, 8]],
                    "finish_reasons": ["stop"],
                    "prompt_token_ids": None,
                    "truncated_tokens": 0,
                    "error": None,
                },
                "scored_texts": ["4"],
            },
            "golds": {
                "request": {"prompt": "another", "choices": ["4"], "unconditioned_prompt": None},
                "response": {
                    "logprobs": ["-inf"],
                    "greedy": [False],
                    "token_counts": [1],
                    "unconditioned_logprobs": None,
                    "prompt_token_ids": [1, 2],
                    "choice_token_ids": None,
                    "truncated_tokens": 0,
                    "error": None,
                },
            },
        },
        "scores": {"em": 1.0, "f1": [1, 2.5]},
        "baseline_scores": None,
        "truncated": False,
        "error": None,
    }


def test_a_metric_that_gave_up_is_named_with_its_reason(tmp_path: Path) -> None:
    with DetailsWriter(tmp_path, ARC) as writer:
        writer.write(replace(_detail(), not_judged={"ter": "too long"}))

    (line,) = _lines(details_path(tmp_path, ARC))
    assert line["not_judged"] == {"ter": "too long"}


def test_lines_are_there_before_the_item_is_complete_but_under_another_name(tmp_path: Path) -> None:
    with DetailsWriter(tmp_path, ARC) as writer:
        writer.write(_detail(0))
        writer.write(_detail(1))

        assert [line["id"] for line in _lines(writer.partial)] == ["test:0", "test:1"]
        assert not writer.path.exists()

    assert [path.name for path in writer.path.parent.iterdir()] == ["arc.challenge.25-shot.jsonl"]


def test_what_was_measured_before_an_abort_is_kept_as_partial(tmp_path: Path) -> None:
    writer = DetailsWriter(tmp_path, ARC)
    with contextlib.suppress(KeyboardInterrupt), writer:
        writer.write(_detail())
        raise KeyboardInterrupt

    assert [path.name for path in writer.path.parent.iterdir()] == ["arc.challenge.25-shot.partial.jsonl"]
    assert len(_lines(writer.partial)) == 1


def test_an_item_that_fails_before_its_first_document_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(LightevalError), DetailsWriter(tmp_path, ARC) as writer:
        raise LightevalError("no data")

    assert list(writer.path.parent.iterdir()) == []


def test_two_writers_of_one_item_do_not_mix(tmp_path: Path) -> None:
    with DetailsWriter(tmp_path, ARC) as first, DetailsWriter(tmp_path, ARC) as second:
        first.write(_detail(1))
        second.write(_detail(2))

        assert second.partial.name == "arc.challenge.25-shot.2.partial.jsonl"
        assert [line["id"] for line in _lines(first.partial)] == ["test:1"]
        assert [line["id"] for line in _lines(second.partial)] == ["test:2"]

    assert [line["id"] for line in _lines(first.path)] == ["test:1"]


def test_a_folder_that_cannot_be_made_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "details").write_text("in the way")

    with pytest.raises(LightevalError, match=r"details.*: the details cannot be written: (File exists|Not a directory)$"):
        DetailsWriter(tmp_path, ARC).__enter__()


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from tests.reports.test_details import ARC, DetailsWriter, _detail

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
with DetailsWriter(Path(sys.argv[1]), ARC) as writer:
    for number in range(100):
        writer.write(_detail(number))
"""


def test_a_disk_that_fills_up_costs_no_line_that_was_whole(tmp_path: Path) -> None:
    """The process may write files of 3000 bytes, which ends a write in its middle as a full disk does."""
    root = ROOT
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], cwd=root, env=os.environ, capture_output=True, text=True, check=False
    )

    partial = tmp_path / "details/leaderboard/arc.challenge.25-shot.partial.jsonl"
    assert (
        done.stderr.splitlines()[-1] == f"pytest_lighteval.errors.LightevalError: {partial}: the details cannot be written: File too large"
    )
    assert [line["id"] for line in _lines(partial)] == ["test:0", "test:1"]
