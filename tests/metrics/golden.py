"""The recorded metric tables of Lighteval v0.9.2, as documents and answers that our metrics read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pytest_lighteval.types import Ask, Doc, GenerateResponse, LoglikelihoodResponse, Metric, PerplexityResponse, Response
from tests.shared import GOLDEN

TABLES = GOLDEN / "metrics"
NOT_TABLES = frozenset({"normalizers", "stderr", "class_level", "judge_reply_parsers"})
"""Files of another layout."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One file."""

    name: str
    head: dict[str, Any]
    samples: tuple[dict[str, Any], ...]
    corpora: tuple[dict[str, Any], ...]


def read_table(name: str) -> Table:
    head, *lines = [json.loads(line) for line in (TABLES / f"{name}.jsonl").read_text("utf-8").splitlines()]
    return Table(
        name=name,
        head=head,
        samples=tuple(line for line in lines if line["kind"] == "sample"),
        corpora=tuple(line for line in lines if line["kind"] == "corpus"),
    )


def table_names() -> list[str]:
    """Sorted; empty where the recordings are not."""
    return sorted({path.stem for path in TABLES.glob("*.jsonl")} - NOT_TABLES)


def read_lines(name: str) -> list[dict[str, Any]]:
    """A file that is not a table. Empty where the recordings are not."""
    path = TABLES / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []


def build_doc(given: dict[str, Any]) -> Doc:
    golds = given.get("golds", given.get("reference_texts", []))
    choices = given.get("choices", golds)
    gold = given.get("gold_ixs")
    if gold is None and "choices" in given:
        index = given.get("gold_index", 0)
        gold = index if isinstance(index, list) else [index]
    return Doc(
        id="test:0",
        query=given.get("query", given["reference_texts"][0] if "reference_texts" in given else ""),
        choices=tuple(choices),
        gold=tuple(range(len(choices)) if gold is None else gold),
        specific=given.get("specific") or {},
    )


def build_response(metric: Metric, given: dict[str, Any]) -> Response:
    if metric.ask is Ask.TEXT:
        return PerplexityResponse(logprob=float(given["logprobs"][0]))
    if metric.ask is Ask.GOLDS:
        return LoglikelihoodResponse(
            logprobs=tuple(given["logprobs"]),
            greedy=tuple(given["argmax_logits_eq_gold_list"]),
            token_counts=tuple(len(tokens) for tokens in given["target_tokens"]),
        )
    if metric.ask in (Ask.CHOICES, Ask.CHOICES_PMI):
        logprobs = tuple(float(logprob) for logprob in given["choices_logprob"])
        return LoglikelihoodResponse(
            logprobs=logprobs,
            greedy=(False,) * len(logprobs),
            token_counts=tuple(len(tokens) for tokens in given.get("choices_tokens", [])),
            unconditioned_logprobs=None if given.get("unconditioned_logprob") is None else tuple(given["unconditioned_logprob"]),
        )
    return GenerateResponse(texts=tuple(given["predictions"]), finish_reasons=("stop",) * len(given["predictions"]))
