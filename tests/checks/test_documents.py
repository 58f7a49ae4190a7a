"""Documents that repeat or contradict each other, and choices that cannot be told apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_lighteval.checks.check import check_task
from pytest_lighteval.checks.options import listed_options
from pytest_lighteval.types import Doc, Severity
from tests.checks.samples import Rows, choosing, faults, found, written


def test_an_equal_document_is_counted_once_less(tmp_path: Path) -> None:
    rows = [{"q": q, "a": "x"} for q in "abab" + "a"]

    finding = found(written(tmp_path, rows))["duplicate-document"]

    assert (finding.severity, finding.count, finding.of) == (Severity.WARNING, 3, 5)
    assert finding.examples[0].id == "test:2"
    assert "the same as test:0" in finding.examples[0].text


def test_the_same_question_with_another_gold_cannot_be_right_twice(tmp_path: Path) -> None:
    rows = [{"q": "a", "a": "x"}, {"q": "a", "a": "y"}]

    finding = found(written(tmp_path, rows))["contradicting-golds"]

    assert (finding.severity, finding.count) == (Severity.ERROR, 1)
    assert finding.examples[0].text == r"gold 'y' here and 'x' in test:0; query 'Q: a\nA:'"


def test_golds_with_a_common_answer_do_not_contradict_each_other(tmp_path: Path) -> None:
    rows = [{"q": "a", "a": ["x", "y"]}, {"q": "a", "a": ["y", "z"]}]

    assert found(written(tmp_path, rows)) == {}


def test_the_same_query_with_other_choices_is_another_question(tmp_path: Path) -> None:
    """As in BLiMP, where every query is empty."""
    rows = [{"q": "", "c": ["v", "w"], "g": 0}, {"q": "", "c": ["x", "y"], "g": 1}]

    assert found(choosing(tmp_path, rows)) == {}


def test_the_same_choices_in_another_order_are_the_same_question(tmp_path: Path) -> None:
    rows = [{"q": "", "c": ["v", "w"], "g": 0}, {"q": "", "c": ["w", "v"], "g": 0}]

    assert set(found(choosing(tmp_path, rows))) == {"contradicting-golds"}


def test_choices_that_differ_in_case_alone_are_a_note(tmp_path: Path) -> None:
    finding = found(choosing(tmp_path, [{"q": 1, "c": ["Rr", "rr ", "x"], "g": 0}]))["similar-choices"]

    assert finding.severity is Severity.NOTE


def test_spaces_that_change_the_tokens_are_told(tmp_path: Path) -> None:
    rows = [{"q": 1, "c": [" a", "b"], "g": 0}]

    assert found(choosing(tmp_path, rows))["uneven-spaces"].count == 1


def test_a_row_that_becomes_no_document_is_one_error_and_the_rest_is_looked_at(tmp_path: Path) -> None:
    rows: Rows = [{"q": 1, "a": "x"}, {"q": None, "a": "y"}, {"q": 3, "a": "x. y"}]

    check = check_task(written(tmp_path, rows, stop_sequence=(".",)), few_shots=(0,))

    assert [(finding.kind, finding.count, finding.of) for finding in faults(check)] == [("broken-row", 1, 3), ("gold-cut-by-stop", 1, 2)]
    assert faults(check)[0].examples[0].id == "test:1"
    assert "the column 'q' is null" in check.findings[0].examples[0].text


def test_rows_without_a_published_gold_are_a_warning_and_an_error_if_nothing_is_left(tmp_path: Path) -> None:
    rows = [{"q": 1, "c": ["a", "b"], "g": -1}, {"q": 2, "c": ["a", "b"], "g": 1}]

    assert found(choosing(tmp_path, rows))["no-gold"].severity is Severity.WARNING
    nothing = found(choosing(tmp_path, rows[:1]))
    assert (nothing["no-gold"].severity, nothing["no-document"].severity) == (Severity.ERROR, Severity.ERROR)


def test_a_perplexity_task_is_looked_at_for_repeated_texts_alone(tmp_path: Path) -> None:
    task = written(tmp_path, [{"q": "a", "a": "x"}, {"q": "a", "a": "y"}], metrics=("word_perplexity",))

    check = check_task(task, few_shots=(0,))

    assert check.findings == ()
    assert "word_perplexity: no best value is known" in check.not_checked


@pytest.mark.parametrize(
    ("query", "choices", "options"),
    [
        ("Which?\nA. one\nB. two\nAnswer:", [" A", " B"], ("one", "two")),
        ("Which?\n (A) one\n (B) two: B. three", ["(A)", "(B)"], ("one", "two: B. three")),
        ("a) one\nb) two", ["a", "b"], ("one", "two")),
        ("Which?\nA. one\nB.\n", ["A", "B"], None),
        ("Which?\nA. one\nB. two\n", ["yes", "no"], None),
        ("Which?\nB. one\nA. two\n", ["B", "A"], None),
    ],
)
def test_letters_stand_for_the_options_that_the_prompt_lists(query: str, choices: list[str], options: tuple[str, ...] | None) -> None:
    assert listed_options(Doc(id="test:0", query=query, choices=tuple(choices), gold=(0,))) == options


def test_two_letters_for_one_text_are_told(tmp_path: Path) -> None:
    rows = [{"q": "Which?\nA. one\nB. two\nC. one", "c": ["A", "B", "C"], "g": 2}]

    assert set(found(choosing(tmp_path, rows))) == {"equal-options"}


@pytest.mark.parametrize(
    ("query", "count"), [("Is A. one or B. two right?", 0), ("Is it a bee?", 1), ("A. one\nB. two\nC", 0), ("A. ABC", 1)]
)
def test_a_letter_that_the_prompt_does_not_name_is_told(tmp_path: Path, query: str, count: int) -> None:
    """As in HELM's OpenBookQA, whose choices are A to E where the prompt lists A to D."""
    findings = found(choosing(tmp_path, [{"q": query, "c": ["A", "B"], "g": 0}]))

    assert len(findings) == count
    assert count == 0 or "no " in findings["unnamed-choice"].examples[0].text
