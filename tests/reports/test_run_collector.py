"""What items report becomes one run, whichever process they ran in and however often."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from pytest_lighteval.reports.run_collector import RunCollector, use_of_all
from pytest_lighteval.reports.serialize import to_plain
from pytest_lighteval.types import Attempt, Calibration, RunReport, TaskResult
from tests.reports.samples import GSM8K, MMLU, verdict

KEY = "leaderboard|gsm8k|5"
PASSED = verdict("qem", "passed", 0.35, floor=0.3)
AGAIN = replace(GSM8K, seconds=99.0)


def scored(*results: TaskResult) -> dict[str, Any]:
    """The payload of items that measured this."""
    return {"outcomes": {str(result.key): {"result": to_plain(result), "verdicts": to_plain([PASSED])} for result in results}}


def collected(*payloads: dict[str, Any], **how: Any) -> RunCollector:
    collector = RunCollector()
    for payload in payloads:
        collector.take(payload, nodeid="suites/leaderboard.yaml::gsm8k[5]", **how)
    return collector


def report_of(collector: RunCollector) -> RunReport:
    return collector.run_report(
        run_id="20260102-030405-fake",
        started=datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
        ended=datetime(2026, 1, 2, 3, 5, 5, 678, tzinfo=UTC),
        settings={"max_samples": 100},
        environment={"python": "3.11.7"},
        arguments={"accuracy": 0.5},
        reference_arguments={"accuracy": 0.25},
        groups={},
        calibration={},
        exit_status="ok",
    )


def test_a_collector_that_took_nothing_is_not_used_and_reports_an_empty_run() -> None:
    collector = RunCollector()

    assert not collector.is_used
    assert report_of(collector) == RunReport(
        run_id="20260102-030405-fake",
        started="2026-01-02T03:04:05+00:00",
        seconds=60.0,
        backend={},
        settings={"max_samples": 100},
        environment={"python": "3.11.7"},
        results=(),
        groups={},
        verdicts={},
        errors={},
        skipped={},
        cache={"hits": 0, "recalled": 0, "misses": 0},
    )


@pytest.mark.parametrize(
    "payload",
    [
        scored(GSM8K),
        {"errors": {KEY: "no split"}},
        {"skipped": {KEY: "it cannot generate"}},
        {"own_runs": [to_plain(GSM8K)]},
        {"references": {KEY: to_plain(GSM8K)}},
    ],
    ids=lambda payload: next(iter(payload)),
)
def test_whatever_an_evaluation_ended_in_makes_the_collector_used(payload: dict[str, Any]) -> None:
    assert collected(payload).is_used


def test_lookups_in_the_cache_and_facts_of_a_backend_alone_are_no_evaluation() -> None:
    assert not collected({"backend": {"use": {}}, "cache": [{"hits": 1, "recalled": 1, "misses": 0, "problem": None}]}).is_used


def test_results_come_back_as_they_were_sent_sorted_by_key() -> None:
    report = report_of(collected(scored(MMLU[1]), scored(GSM8K), scored(MMLU[0])))

    assert report.results == (GSM8K, *MMLU)
    assert list(report.verdicts.items()) == [(str(result.key), (PASSED,)) for result in (GSM8K, *MMLU)]


@pytest.mark.parametrize("ending", ["errors", "skipped"])
def test_a_rerun_with_a_score_replaces_the_error_or_skip_before_it(ending: str) -> None:
    report = report_of(collected({ending: {KEY: "lost"}}, scored(GSM8K)))

    assert (report.results, report.errors, report.skipped) == ((GSM8K,), {}, {})


@pytest.mark.parametrize("ending", ["errors", "skipped"])
def test_a_rerun_without_a_score_leaves_nothing_of_the_try_before_it(ending: str) -> None:
    first = scored(GSM8K) | {"repeats": {KEY: [to_plain(AGAIN)]}}

    report = report_of(collected(first, {ending: {KEY: "lost"}}))

    assert getattr(report, ending) == {KEY: "lost"}
    assert (report.results, report.verdicts, report.repeats) == ((), {}, {})


def test_a_score_joins_the_attempts_that_were_judged_and_all_are_kept() -> None:
    first = {"result": to_plain(GSM8K), "verdicts": [to_plain(PASSED)], "error": None}
    lost: dict[str, Any] = {"result": None, "verdicts": [], "error": "lost"}

    better = replace(AGAIN, metrics={name: replace(number, value=number.value + 0.2) for name, number in GSM8K.metrics.items()})

    collector = collected(scored(better) | {"attempts": {KEY: [first, lost]}})

    (result,) = report_of(collector).results
    assert result.documents == better.documents
    assert [number.value for number in result.metrics.values()] == [pytest.approx(number.value + 0.1) for number in GSM8K.metrics.values()]
    assert report_of(collector).attempts == {
        KEY: (Attempt(result=GSM8K, verdicts=(PASSED,)), Attempt(error="lost"), Attempt(result=better, verdicts=(PASSED,)))
    }
    assert collector.earlier == {GSM8K.key: (GSM8K,)}
    assert collector.unjoined == {}


def test_attempts_in_processes_that_know_nothing_of_each_other_are_to_be_judged_together() -> None:
    collector = collected(scored(GSM8K), {"errors": {KEY: "the worker died"}}, scored(AGAIN))

    assert collector.earlier == {GSM8K.key: (GSM8K,)}
    assert collector.unjoined == {GSM8K.key: AGAIN}
    assert [attempt.error for attempt in report_of(collector).attempts[KEY]] == [None, "the worker died", None]


def test_own_runs_are_kept_by_test_and_apart_from_results() -> None:
    report = report_of(collected({"own_runs": [to_plain(GSM8K), to_plain(AGAIN)]}))

    assert report.own_runs == {"suites/leaderboard.yaml::gsm8k[5]": (GSM8K, AGAIN)}
    assert report.results == ()


def test_all_runs_of_a_repeated_task_are_together_with_the_judged_one_first() -> None:
    collector = collected(scored(GSM8K) | {"repeats": {KEY: [to_plain(AGAIN)]}}, {"repeats": {"leaderboard|other|0": [to_plain(AGAIN)]}})

    assert collector.runs == {KEY: [GSM8K, AGAIN]}


def test_references_are_returned_once_measured_and_reported_apart() -> None:
    collector = RunCollector()

    taken = collector.take({"references": {KEY: to_plain(GSM8K)}, "reference_backend": {"name": "fake"}}, nodeid="x")

    assert taken == (GSM8K,)
    assert collector.take(scored(AGAIN), nodeid="x") == ()
    report = report_of(collector)
    assert (report.references, report.results) == ((GSM8K,), (AGAIN,))
    assert report.reference_backend == {"name": "fake", "arguments": {"accuracy": 0.25}}


@pytest.mark.parametrize(("is_reference", "left"), [(True, {}), (False, {f"{KEY} (reference)": "out of memory"})])
def test_only_a_rerun_of_the_references_own_item_replaces_its_error(is_reference: bool, left: dict[str, str]) -> None:
    collector = collected({"errors": {f"{KEY} (reference)": "out of memory"}})

    collector.take({"references": {KEY: to_plain(GSM8K)}}, nodeid="x", is_reference=is_reference)

    assert collector.errors == left


def test_the_use_of_all_workers_is_reported_and_each_counts_with_its_last_figure() -> None:
    collector = RunCollector()
    for worker, tokens in (("gw0", 3), ("gw1", 10), ("gw0", 5)):
        collector.take({"backend": {"name": "fake", "use": {"tokens": tokens}}}, nodeid="x", worker=worker)

    assert report_of(collector).backend == {"name": "fake", "use": {"tokens": 15}, "arguments": {"accuracy": 0.5}}


def test_lookups_in_the_cache_add_up_and_each_problem_is_kept_once() -> None:
    lookups = [
        {"hits": 2, "recalled": 1, "misses": 1, "problem": None},
        {"hits": 0, "recalled": 0, "misses": 4, "problem": "the disk is full"},
    ]
    collector = collected({"cache": lookups}, {"cache": lookups})

    assert collector.cache == {"hits": 4, "recalled": 2, "misses": 10}
    assert collector.cache_problems == ["the disk is full"]


def test_groups_calibration_and_exit_status_go_into_the_report_as_given() -> None:
    calibration = {KEY: {"qem": Calibration(runs=2, n=100, values=(0.35, 0.36), discordance=0.01)}}

    report = RunCollector().run_report(
        run_id="x",
        started=datetime(2026, 1, 2, tzinfo=UTC),
        ended=datetime(2026, 1, 2, tzinfo=UTC),
        settings={},
        environment={},
        arguments=None,
        groups={"all": GSM8K.metrics},
        calibration=calibration,
        exit_status="interrupted",
    )

    assert (report.groups, report.calibration, report.exit_status) == ({"all": GSM8K.metrics}, calibration, "interrupted")


def test_counts_add_up_and_of_peaks_and_reduced_batches_the_worst_is_kept() -> None:
    first = {"tokens_scored": 5, "peak_memory_bytes": 70, "out_of_memory_rows": 8, "unknown": None}
    second = {"tokens_scored": 2, "peak_memory_bytes": 90, "out_of_memory_rows": 4, "unknown": None, "requests": 1}

    assert use_of_all([first, second]) == {
        "tokens_scored": 7,
        "peak_memory_bytes": 90,
        "out_of_memory_rows": 4,
        "unknown": None,
        "requests": 1,
    }
    assert use_of_all([]) == {}
