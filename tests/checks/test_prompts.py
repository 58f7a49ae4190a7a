"""Few-shot examples and lengths."""

from __future__ import annotations

from pathlib import Path

from pytest_lighteval.checks.check import check_task
from pytest_lighteval.evaluate import EvaluationSettings
from pytest_lighteval.types import Prompt, Severity
from tests.checks.samples import choosing, faults, found, written


class Words:
    """A tokenizer that splits at white space, of a model of eight tokens."""

    max_length = 8
    is_known = True

    def count_tokens(self, prompt: Prompt) -> int:
        return len(str(prompt).split())

    def head(self, text: str, count: int) -> str:
        return " ".join(text.split()[:count])


def test_an_example_that_is_the_document_in_other_white_space_is_an_error(tmp_path: Path) -> None:
    rows, pool = [{"q": "Why  me?", "a": "x"}], [{"q": "why me?", "a": "x"}, {"q": "who?", "a": "y"}]
    task = written(tmp_path, rows, pool=pool)

    assert "example-is-document" not in found(task)  # no example is asked for
    findings = found(task, few_shots=(0, 1))

    assert findings["example-is-document"].severity is Severity.ERROR
    assert findings["example-is-document"].examples[0].text.startswith("example train:0 is the document")
    assert findings["document-among-examples"].count == 1


def test_examples_from_the_documents_themselves_leave_the_document_out(tmp_path: Path) -> None:
    rows = [{"q": n, "a": "x"} for n in range(5)]

    assert found(written(tmp_path, rows), few_shots=(3,)) == {}


def test_every_few_shot_seed_is_looked_at(tmp_path: Path) -> None:
    rows, pool = [{"q": "Why?", "a": "x"}], [{"q": "who?", "a": "y"}, {"q": "why?", "a": "x"}]
    task = written(tmp_path, rows, pool=pool)

    assert "example-is-document" not in found(task, few_shots=(1,))
    assert found(task, few_shots=(1,), settings=EvaluationSettings(few_shot_seeds=2))["example-is-document"].count == 1


def test_what_the_examples_show_must_score_too(tmp_path: Path) -> None:
    """As in MGSM, whose examples show a worked answer that a stop sequence would cut."""
    task = written(tmp_path, [{"q": "5 + 6", "a": "11"}], pool=[{"q": "2 + 3", "a": "2 + 3 = 5"}], stop_sequence=("=",))

    finding = found(task)["example-cut-by-stop"]

    assert (finding.severity, finding.count, finding.of, finding.examples[0].id) == (Severity.WARNING, 1, 1, "train:0")


def test_examples_that_cannot_be_had_are_an_error_where_they_are_asked_for(tmp_path: Path) -> None:
    task = written(tmp_path, [{"q": 1, "a": "x"}], data_files={"test": "test.jsonl", "train": "gone.jsonl"}, few_shots_split="train")

    without = check_task(task, few_shots=(0,))
    assert faults(without) == ()
    assert any(line.startswith("few-shot examples: ") and "gone.jsonl" in line for line in without.not_checked)
    assert "gone.jsonl" in found(task, few_shots=(2,))["no-few-shots"].message


def test_prompts_that_are_longer_than_the_model_are_counted_with_room_for_the_answer(tmp_path: Path) -> None:
    rows = [{"q": "one two three four", "a": "x"}, {"q": "one two three", "a": "x"}]  # and "Q:", "A:"
    task = written(tmp_path, rows, generation_size=3)

    finding = found(task, tokens=Words())["prompt-too-long"]

    assert (finding.count, finding.of, finding.examples[0].text) == (1, 2, "6 tokens, and 3 for the answer")


def test_the_longest_choice_needs_room(tmp_path: Path) -> None:
    rows = [{"q": n, "c": ["a b c d e f"[: 2 * n], "z"], "g": 1} for n in (5, 6)]

    assert found(choosing(tmp_path, rows), tokens=Words())["prompt-too-long"].count == 1


def test_what_was_not_measured_is_said(tmp_path: Path) -> None:
    task = written(tmp_path, [{"q": 1, "a": "x"}], generation_size=3)

    assert check_task(task, few_shots=(0,)).not_checked == (
        "the limit of 3 new tokens: without a tokenizer, a word counts as one token",
        "the length of prompts: no model was named",
    )
    assert check_task(task, few_shots=(0,), tokens=Words()).not_checked == ()
