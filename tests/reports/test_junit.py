"""JUnit gets one scalar a property."""

from __future__ import annotations

import execnet

from pytest_lighteval.reports.junit import metric_properties, properties
from tests.reports.samples import FULL, GSM8K, WIKITEXT, verdict


def test_every_metric_has_value_error_count_and_what_its_gate_says() -> None:
    assert properties(GSM8K, [verdict("qem", "failed", 0.35, floor=0.42)]) == [
        ("lighteval.task", "leaderboard|gsm8k|5"),
        ("lighteval.version", 1),
        ("lighteval.effective_few_shots", 5.0),
        ("lighteval.qem", 0.35),
        ("lighteval.qem.stderr", 0.0479),
        ("lighteval.qem.n", 100),
        ("lighteval.qem.min", 0.42),
        ("lighteval.qem.verdict", "failed"),
    ]


def test_what_is_unknown_has_no_property() -> None:
    assert properties(WIKITEXT, ()) == [
        ("lighteval.task", "lighteval|wikitext:2|0"),
        ("lighteval.version", 1),
        ("lighteval.truncated", 2),
        ("lighteval.word_perplexity", 23.4512),
        ("lighteval.word_perplexity.n", 1),
    ]


def test_a_group_has_the_same_properties_without_a_tasks_identity() -> None:
    key = "leaderboard|mmlu:_average|5"

    assert metric_properties(FULL.groups[key], FULL.verdicts[key]) == [
        ("lighteval.acc", 0.3),
        ("lighteval.acc.stderr", 0.025),
        ("lighteval.acc.n", 301),
        ("lighteval.acc.min", 0.3),
        ("lighteval.acc.verdict", "passed"),
    ]


def test_properties_travel_from_a_worker() -> None:
    found = properties(GSM8K, [verdict("qem", "passed", 0.35, floor=0.2)])

    assert execnet.loads(execnet.dumps(found)) == found
