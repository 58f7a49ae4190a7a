"""Comparisons are one line each, the worst first, with their notes; documents are listed only when asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_lighteval.reports.junit import metric_properties
from pytest_lighteval.reports.rows import STYLES, gate_cell
from pytest_lighteval.reports.summary import summary_markdown
from pytest_lighteval.reports.verdict_lines import verdict_lines
from pytest_lighteval.types import Comparison, Flip, MetricResult, PairedVerdict, RunReport, Verdict
from tests.reports.samples import FULL

COMPARISON = Comparison(
    baseline=0.5, candidate=0.25, loss=0.25, lower=0.1, upper=0.4, p=0.01, n=8, lost=2, won=0, method="exact McNemar test"
)


def compared(outcome: Any, said: Any, *, waiver: str | None = None, **fields: Any) -> Verdict:
    red = said in ("failed", "waived") and outcome in ("REGRESSED", "STALE")
    paired = PairedVerdict(outcome=outcome, line=f"acc {outcome}", red=red, comparison=COMPARISON, **fields)
    return Verdict(metric="acc", outcome=said, message=f"acc {outcome}", value=0.25, stderr=0.1, n=8, paired=paired, waiver=waiver)


def report(**verdicts: Verdict) -> RunReport:
    return replace(FULL, verdicts={f"s|{name}|0": (verdict,) for name, verdict in verdicts.items()})


FLIPS = (Flip(id="test:1", before=0.0, after=1.0, is_loss=False), Flip(id="test:2", before=1.0, after=0.0, is_loss=True))
SEVERAL = report(
    a=compared("PASSED", "passed", notes=("a subset",)),
    b=compared("REGRESSED", "failed", flips=FLIPS),
    c=compared("INCONCLUSIVE", "inconclusive"),
    d=compared("REGRESSED", "waived", waiver="known (until 2027-01-01)"),
    e=compared("PASSED", "advisory", advisory=True),
    f=compared("REGRESSED", "advisory", advisory=True),
)


def test_the_worst_comes_first_and_what_is_advisory_only_where_it_lost() -> None:
    assert verdict_lines(SEVERAL, verbosity=0) == [
        ("compared with the baseline", "plain"),
        ("s|d|0: acc REGRESSED  [waived: known (until 2027-01-01)]", "open"),
        ("s|c|0: acc INCONCLUSIVE", "open"),
        ("s|a|0: acc PASSED  [a subset]", "passed"),
        ("s|f|0: advisory: acc REGRESSED", "plain"),
    ]


def test_what_failed_is_told_by_pytest_and_here_only_if_it_does_not() -> None:
    told = verdict_lines(SEVERAL, verbosity=0, repeats_failures=True)

    assert told[1] == ("s|b|0: acc REGRESSED", "failed")
    assert [told[0], *told[2:]] == verdict_lines(SEVERAL, verbosity=0)


def test_verbose_lists_everything_and_the_documents_that_were_lost_first() -> None:
    lines = [text for text, _ in verdict_lines(SEVERAL, verbosity=1)]

    assert lines[1:4] == ["s|b|0: acc: documents that flipped", "    lost  test:2  1.0000 -> 0.0000", "    won   test:1  0.0000 -> 1.0000"]
    assert "s|e|0: advisory: acc PASSED" in lines


@pytest.mark.parametrize(("verbosity", "documents"), [(1, 101), (2, 150)])
def test_a_hundred_documents_are_listed_unless_all_are_asked_for(verbosity: int, documents: int) -> None:
    flips = tuple(Flip(id=f"test:{row}", before=1.0, after=0.0, is_loss=True) for row in range(150))
    lines = verdict_lines(report(a=compared("REGRESSED", "failed", flips=flips)), verbosity=verbosity)

    assert len(lines) == 2 + documents
    assert (lines[-1][0] == "    and 50 more (-vv lists all)") is (verbosity == 1)


def test_a_waiver_that_is_not_needed_is_named() -> None:
    (_, (line, _)) = verdict_lines(report(a=compared("PASSED", "passed", waiver="known (until 2027-01-01)")), verbosity=0)

    assert line == "s|a|0: acc PASSED  [its waiver is not needed: known (until 2027-01-01)]"


def test_a_run_without_a_baseline_has_no_such_lines() -> None:
    assert verdict_lines(FULL, verbosity=2) == []


@pytest.mark.parametrize(
    ("verdict", "word"),
    [
        (compared("REGRESSED", "failed"), "REGRESSED"),
        (compared("IMPROVED", "passed"), "IMPROVED"),
        (replace(compared("PASSED", "passed"), min=0.2), "PASSED, min 0.2000"),
        (compared("REGRESSED", "waived"), "waived, paired REGRESSED"),
        (compared("PASSED", "advisory", advisory=True), "PASSED (advisory)"),
        (replace(compared("PASSED", "failed"), min=0.5), "failed, min 0.5000, paired PASSED"),
        (compared("NEW", "failed"), "failed, paired NEW"),
        (compared("INCONCLUSIVE", "failed"), "failed, paired INCONCLUSIVE"),
        (compared("NEW", "passed"), "passed, paired NEW"),
        (compared("REGRESSED", "passed", advisory=True), "passed, paired REGRESSED (advisory)"),
        (compared("PASSED", "waived"), "waived, paired PASSED"),
    ],
)
def test_the_table_says_it_in_a_word_that_its_colour_agrees_with(verdict: Verdict, word: str) -> None:
    assert gate_cell(verdict) == word
    (property_,) = [value for name, value in metric_properties({}, [verdict]) if name == "lighteval.acc.verdict"]
    assert property_ == verdict.outcome


@pytest.mark.parametrize("outcome", ["PASSED", "IMPROVED", "NEW", "INCONCLUSIVE"])
def test_a_comparison_that_is_well_is_not_red_beside_a_threshold_that_failed(outcome: str) -> None:
    failed = replace(compared(outcome, "passed"), outcome="failed", message="acc 0.2500 is below the floor 0.5000", min=0.5)
    run = report(a=failed)

    (_, (line, style)) = verdict_lines(run, verbosity=0)

    assert (line, style) == (f"s|a|0: acc {outcome}", {"NEW": "open", "INCONCLUSIVE": "open"}.get(outcome, "passed"))
    assert f"**s\\|a\\|0**: acc {outcome}" in summary_markdown(run).partition("### Compared with the baseline")[2]


def test_an_advisory_loss_is_not_green_beside_a_threshold_that_passed() -> None:
    (_, (line, style)) = verdict_lines(report(a=compared("REGRESSED", "passed", advisory=True)), verbosity=0)

    assert (line, style) == ("s|a|0: advisory: acc REGRESSED", "plain")
    assert STYLES["advisory"] == "plain"


def test_junit_has_the_numbers_of_a_comparison_as_properties() -> None:
    number = MetricResult(value=0.25, stderr=0.1, n=8, higher_is_better=True)

    assert metric_properties({"acc": number}, [compared("REGRESSED", "waived", waiver="known")]) == [
        ("lighteval.acc", 0.25),
        ("lighteval.acc.stderr", 0.1),
        ("lighteval.acc.n", 8),
        ("lighteval.acc.baseline", 0.5),
        ("lighteval.acc.delta", -0.25),
        ("lighteval.acc.p", 0.01),
        ("lighteval.acc.lower", 0.1),
        ("lighteval.acc.upper", 0.4),
        ("lighteval.acc.verdict", "waived"),
        ("lighteval.acc.paired", "REGRESSED"),
        ("lighteval.acc.line", "acc REGRESSED"),
        ("lighteval.acc.waiver", "known"),
    ]


def test_the_summary_has_what_failed_first_and_then_the_other_comparisons() -> None:
    text = summary_markdown(SEVERAL)

    failed, _, rest = text.partition("### Compared with the baseline")
    assert "- **s\\|b\\|0**: acc REGRESSED" in failed
    assert "s\\|b\\|0" not in rest.partition("###")[0]
    assert "- **s\\|c\\|0**: acc INCONCLUSIVE" in rest
    assert ", 1 gate failed, 1 gate passed, 1 gate inconclusive, 1 gate waived, " in failed
