"""A JUnit file of a run that no pytest session made: a test case for each task, superset and report, with the properties of `junit`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from xml.etree import ElementTree

from pytest_lighteval.reports.junit import Property, metric_properties, properties
from pytest_lighteval.reports.printable import printable
from pytest_lighteval.types import RunReport, Verdict


def junit_xml(report: RunReport, *, problems: Mapping[str, str]) -> str:
    """The file's text, in the format that pytest writes (`xunit2`), with properties of test cases.

    Args:
        report: the run, with its verdicts.
        problems: what failed beside the verdicts of tasks, by the name of a superset, a task, or what else it is about.
    """
    cases: list[ElementTree.Element] = []
    for result in report.results:
        key = str(result.key)
        verdicts = report.verdicts.get(key, ())
        failed = [verdict.message for verdict in verdicts if verdict.outcome == "failed"]
        case = _case(result.key.suite, key, properties(result, verdicts, attempts=report.attempts.get(key, ())))
        cases.append(_ended(case, "failure", "; ".join(failed)) if failed else _waived(case, verdicts))
    for element, reasons in (("error", report.errors), ("skipped", report.skipped)):
        cases += [_ended(_case(key.partition("|")[0], key, ()), element, reason) for key, reason in reasons.items()]
    tasks = {str(result.key) for result in report.results}
    for name in dict.fromkeys([*(key for key in report.verdicts if key not in tasks), *problems]):
        verdicts = report.verdicts.get(name, ()) if name not in tasks else ()
        case = _case("lighteval", name, metric_properties(report.groups.get(name, {}), verdicts) if verdicts else ())
        cases.append(_ended(case, "failure", problems[name]) if name in problems else _waived(case, verdicts))
    suite = ElementTree.Element(
        "testsuite",
        name="pytest-lighteval",
        tests=str(len(cases)),
        failures=str(_count(cases, "failure")),
        errors=str(_count(cases, "error")),
        skipped=str(_count(cases, "skipped")),
        time=f"{report.seconds:.3f}",
        timestamp=report.started,
    )
    suite.extend(cases)
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _case(classname: str, name: str, about: Iterable[Property]) -> ElementTree.Element:
    case = ElementTree.Element("testcase", classname=printable(classname), name=printable(name))
    listed = [ElementTree.Element("property", name=key, value=printable(str(value))) for key, value in about]
    if listed:
        ElementTree.SubElement(case, "properties").extend(listed)
    return case


def _ended(case: ElementTree.Element, element: str, message: str) -> ElementTree.Element:
    ElementTree.SubElement(case, element, message=printable(message))
    return case


def _waived(case: ElementTree.Element, verdicts: Sequence[Verdict]) -> ElementTree.Element:
    """An expected failure is a skip for JUnit, as pytest writes it."""
    messages = [verdict.message for verdict in verdicts if verdict.outcome == "waived"]
    return _ended(case, "skipped", "; ".join(messages)) if messages else case


def _count(cases: Iterable[ElementTree.Element], element: str) -> int:
    return sum(case.find(element) is not None for case in cases)
