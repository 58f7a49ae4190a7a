"""The views of what the linter found: the same for the same findings, and safe whatever a data set holds."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from pytest_lighteval.reports.checks import check_lines, check_properties, checks_json, checks_markdown, failure_text
from pytest_lighteval.types import CheckReport, Example, Finding, Severity, TaskCheck

CUT = Finding(
    kind="gold-cut-by-stop",
    severity=Severity.ERROR,
    message="the stop sequence '.' cuts it",
    count=2,
    of=4,
    examples=(Example(id="test:0", text="gold '2.5' | <b>[x](http://x)"),),
)
TWICE = Finding(kind="duplicate-document", severity=Severity.WARNING, message="twice", count=1, of=4)
NOTE = Finding(kind="similar-choices", severity=Severity.NOTE, message="alike", count=1, of=4)
KNOWN = Finding(kind="no-gold", severity=Severity.WARNING, message="none", count=3, of=7, accepted="a hidden test set")


def check(task: str, *findings: Finding) -> TaskCheck:
    return TaskCheck(task=task, few_shots=(0, 5), documents=4, findings=findings, not_checked=("lengths",), seconds=1.5)


REPORT = CheckReport(
    run_id="run",
    started="2026-01-02T03:04:05+00:00",
    seconds=2.0,
    checks=(check("s|clean"), check("s|cut", CUT, TWICE, NOTE), check("s|known", KNOWN), check("s|twice", TWICE)),
    errors={"s|gone": "no such file"},
    skipped={"s|never": "needs a judge"},
    fail_on=Severity.ERROR,
    settings={"use_chat_template": False},
    idle=("accepted.yaml:3: s|t has no no-gold: remove the entry",),
)


def test_the_terminal_has_open_errors_and_warnings_the_worst_last_then_the_counts() -> None:
    lines = list(check_lines(REPORT, width=100))

    assert lines == [
        ("task     error  warn  note   docs  worst finding", "plain"),
        ("s|twice      0     1     0      4  duplicate-document 1/4", "open"),
        ("s|cut        1     1     1      4  gold-cut-by-stop 2/4", "failed"),
        ("4 tasks checked: 1 with errors, 1 with warnings alone, 2 with neither; 1 task could not be checked; 1 task skipped", "failed"),
        ("accepted.yaml:3: s|t has no no-gold: remove the entry", "open"),
    ]


@pytest.mark.parametrize("width", [80, 120])
def test_a_long_name_leaves_room_for_the_numbers(width: int) -> None:
    report = CheckReport(
        run_id="r",
        started="",
        seconds=0,
        checks=(check(f"s|{'long' * 40}", CUT),),
        errors={},
        skipped={},
        fail_on=Severity.ERROR,
        settings={},
    )

    header, row, _ = [line for line, _ in check_lines(report, width=width)]

    assert max(len(header), len(row)) < width
    assert row.startswith("s|long")
    assert row.endswith("-stop 2/4")


def test_json_has_everything_and_times_apart() -> None:
    content = json.loads(checks_json(REPORT))

    assert content["tasks"]["s|cut"]["findings"][0] == {
        "kind": "gold-cut-by-stop",
        "severity": "error",
        "message": "the stop sequence '.' cuts it",
        "count": 2,
        "of": 4,
        "examples": [{"id": "test:0", "text": "gold '2.5' | <b>[x](http://x)"}],
        "accepted": None,
    }
    assert content["tasks"]["s|known"]["findings"][0]["accepted"] == "a hidden test set"
    assert (content["errors"], content["skipped"], content["fail_on"]) == (
        {"s|gone": "no such file"},
        {"s|never": "needs a judge"},
        "error",
    )
    assert content["run"]["task_seconds"]["s|cut"] == 1.5
    assert "seconds" not in content["tasks"]["s|cut"]


def test_markdown_is_worst_first_and_shows_texts_of_data_sets_as_they_are() -> None:
    page = checks_markdown(REPORT)

    assert page.index("s\\|cut") < page.index("s\\|twice") < page.index("s\\|known")
    assert "| s\\|cut | error | gold-cut-by-stop | 2 | 4 | the stop sequence '.' cuts it |" in page
    assert "accepted: a hidden test set" in page
    assert "<b>" not in page
    assert "://" not in page


def test_junit_counts_documents_by_finding() -> None:
    assert check_properties(check("s|x", CUT, KNOWN)) == [
        ("lighteval.task", "s|x"),
        ("lighteval.documents", 4),
        ("lighteval.check.gold-cut-by-stop", 2),
        ("lighteval.check.no-gold.accepted", 3),
    ]


def test_a_failure_begins_with_what_failed() -> None:
    lines = [
        "gold-cut-by-stop: 2 of 4: the stop sequence '.' cuts it (error)",
        "    test:0: gold '2.5' | <b>[x](http://x)",
    ]

    assert failure_text(check("s|cut", CUT), [CUT]).splitlines() == lines
    corrected = replace(check("s|cut", CUT), corrected_by="corrected|s.cut")
    assert failure_text(corrected, [CUT]).splitlines() == [*lines, "the sound version is corrected|s.cut"]
    assert "- the sound version is corrected\\|s.cut" in checks_markdown(replace(REPORT, checks=(corrected,)))
