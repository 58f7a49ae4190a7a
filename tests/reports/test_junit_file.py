"""The JUnit file of a run that no pytest session made."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

from pytest_lighteval.reports.junit_file import junit_xml
from pytest_lighteval.types import RunReport
from tests.reports.samples import GSM8K, MMLU, verdict

FIRST, SECOND = map(str, (MMLU[0].key, MMLU[1].key))
RUN = RunReport(
    run_id="run", started="2026-01-02T03:04:05+00:00", seconds=1.5, backend={}, settings={}, environment={}, results=(GSM8K, *MMLU),
    groups={}, verdicts={
        str(GSM8K.key): (verdict("qem", "failed", 0.35, floor=0.42),),
        FIRST: (replace(verdict("acc", "failed", 0.35, floor=0.42), outcome="waived"),),
        SECOND: (verdict("acc", "passed", 0.5, floor=0.42),),
        "pooled": (verdict("pooled", "failed", 0.5, floor=0.6),),
    },
    errors={"a|b|0": "no data"}, skipped={"a|c|0": "too slow"},
)  # fmt: skip


def cases_of(report: RunReport, problems: dict[str, str]) -> tuple[dict[str, str], dict[str, ElementTree.Element]]:
    root = ElementTree.fromstring(junit_xml(report, problems=problems))
    suite = root.find("testsuite")
    assert suite is not None
    return dict(suite.attrib), {case.attrib["name"]: case for case in suite.iter("testcase")}


def ending(case: ElementTree.Element) -> tuple[str, str] | None:
    found = [(child.tag, child.attrib["message"]) for child in case if child.tag != "properties"]
    return found[0] if found else None


def test_each_task_superset_and_report_is_a_test_case_that_ends_as_it_was_judged() -> None:
    suite, cases = cases_of(RUN, {"pooled": "pooled: lost", "a|gone|0": "a|gone|0: no run has it"})

    assert {name: suite[name] for name in ("tests", "failures", "errors", "skipped", "time")} == {
        "tests": "7", "failures": "3", "errors": "1", "skipped": "2", "time": "1.500",
    }  # fmt: skip
    assert {name: ending(case) and ending(case)[0] for name, case in cases.items()} == {  # type: ignore[index]
        str(GSM8K.key): "failure",
        FIRST: "skipped",
        SECOND: None,
        "a|b|0": "error",
        "a|c|0": "skipped",
        "pooled": "failure",
        "a|gone|0": "failure",
    }
    properties = {entry.attrib["name"]: entry.attrib["value"] for entry in cases[str(GSM8K.key)].iter("property")}
    assert properties["lighteval.task"] == str(GSM8K.key)
    assert properties["lighteval.qem.verdict"] == "failed"


def test_texts_that_xml_cannot_hold_are_shown_safely() -> None:
    _, cases = cases_of(replace(RUN, errors={"a|b|0": "an \x1b[31mescape\x00 & <tag>"}), {})

    assert ending(cases["a|b|0"]) is not None
    assert "<tag>" in (ending(cases["a|b|0"]) or ("", ""))[1]
