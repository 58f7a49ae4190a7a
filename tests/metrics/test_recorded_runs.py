"""Our metrics on the answers that a real model gave in Lighteval v0.9.2: every document's value and every aggregate as recorded."""

from __future__ import annotations

import json
import math
from functools import cache
from typing import Any

import pytest

from pytest_lighteval.common.statistics import aggregate, standard_error
from pytest_lighteval.metrics import metric
from pytest_lighteval.types import Ask, Doc, GenerateResponse, LoglikelihoodResponse, Metric, PerplexityResponse, RequestKind, Response
from tests.metrics.test_golden import ROWS, plain
from tests.shared import GOLDEN, SHARED, needs_shared

pytestmark = needs_shared

RECORDED_NAMES = {reported: recorded for recorded, reported in ROWS.items()}
RUNS = sorted(path.stem for path in (GOLDEN / "e2e").glob("*.jsonl"))


@cache
def declared_metrics() -> dict[str, tuple[str, ...]]:
    """`suite|task` -> the metrics of Lighteval's task."""
    tasks = json.loads((SHARED / "reference" / "tasks_v092_core.json").read_text("utf-8"))["tasks"]
    return {
        f"{suite}|{task['name']}": tuple(name.removeprefix("dyn:") for name in task["metrics"]) for task in tasks for suite in task["suite"]
    }


def recorded_doc(line: dict[str, Any]) -> Doc:
    choices = tuple(line["choices"] or ())
    gold = tuple(line["gold_index"] if isinstance(line["gold_index"], list) else [line["gold_index"]])
    if choices and isinstance(choices[0], list):  # TriviaQA: one choice that is all accepted answers
        choices = tuple(choices[0])
        gold = tuple(range(len(choices)))
    specific = line.get("specific_after") or {}
    return Doc(id=line["sample_index"], query=line["context"], choices=choices, gold=gold if choices else (), specific=specific)


def recorded_response(entry: Metric, line: dict[str, Any]) -> Response:
    if entry.ask.kind is RequestKind.GENERATE:
        sampled = entry.ask is Ask.SAMPLES
        texts = next(request["generated_text"] for request in line["requests"] if request.get("do_sample") is sampled)
        return GenerateResponse(texts=tuple(texts), finish_reasons=("stop",) * len(texts))
    asked = [request for request in line["requests"] if "logprob_sum" in request]
    if entry.ask is Ask.TEXT:
        return PerplexityResponse(logprob=asked[0]["logprob_sum"])
    return LoglikelihoodResponse(
        logprobs=tuple(request["logprob_sum"] for request in asked),
        greedy=tuple(request["greedy_match"] for request in asked),
        token_counts=tuple(len(request["continuation_token_ids"]) for request in asked),
    )


@pytest.mark.parametrize("name", RUNS)
def test_a_recorded_run_scores_as_it_did(name: str) -> None:
    summary = json.loads((GOLDEN / "e2e" / "summary.json").read_text("utf-8"))[name]
    lines = [json.loads(line) for line in (GOLDEN / "e2e" / f"{name}.jsonl").read_text("utf-8").splitlines()]
    compared = set()
    for entry in [metric(one) for one in declared_metrics()["|".join(summary["spec"].split("|")[:2])]]:
        for reported, corpus in entry.corpus.items():
            recorded = RECORDED_NAMES.get(reported, reported)
            compared.add(recorded)
            expected = [plain(line["metrics"][recorded]) for line in lines]
            values = [entry.sample(recorded_doc(line), recorded_response(entry, line))[reported] for line in lines]
            if entry.ask is Ask.TEXT:
                values = expected  # their units are counted in the page before its preparation, which is not recorded

            assert values == [pytest.approx(value, rel=1e-9, abs=1e-9) for value in expected], recorded
            scored = [value for value in values if value is not None]
            assert aggregate(scored, corpus) == pytest.approx(summary["results"][recorded], rel=1e-9)
            error = summary["results"].get(f"{recorded}_stderr")
            if error is not None and corpus.is_mean:
                assert standard_error(scored, corpus) == pytest.approx(error, rel=1e-9, abs=1e-12)
            elif error is not None:
                assert standard_error(scored, corpus) == pytest.approx(error * math.sqrt(1000), rel=0.25)
    assert compared == {recorded for recorded in summary["results"] if not recorded.endswith("_stderr")}
