"""Documents that share a passage are noticed where no cluster is declared; forms and instructions are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_lighteval.backends.fake import FakeBackend
from pytest_lighteval.data.data_sets import DataSets
from pytest_lighteval.evaluate import evaluate
from pytest_lighteval.prompts.documents import render_docs
from pytest_lighteval.prompts.shared_contexts import shared_context_note, shares_context
from pytest_lighteval.tasks.catalogue import Catalogue, shipped_suites
from pytest_lighteval.tasks.suite_file import load_suite
from pytest_lighteval.types import Doc
from tests.shared import HUB, needs_shared

STORY = (
    "Once there was a person number {number}, who lived in a house at the end of a long road, and who told everybody who came by "
    "the same old tale of a dog, a cat and a bird."
)


def passage(number: int) -> str:
    return STORY.format(number=number)


def docs(*queries: str, cluster: str | None = None, instruction: str = "") -> list[Doc]:
    return [
        Doc(id=f"test:{row}", query=instruction + query, choices=(" a",), gold=(0,), instruction=instruction, cluster=cluster)
        for row, query in enumerate(queries)
    ]


def test_a_passage_in_a_line_or_at_the_beginning_is_a_shared_context() -> None:
    in_lines = [f"Question: what {number}?\nPassage: {passage(number // 2)}" for number in range(8)]
    at_the_beginning = [f"{passage(number // 2)} What {number}?" for number in range(8)]

    assert shares_context(in_lines) == [True] * 8
    assert shares_context([f"In short: {text}" for text in at_the_beginning]) == [True] * 8
    assert shares_context([*at_the_beginning[:2], "short", passage(77)]) == [True, True, False, False]


def test_what_most_texts_have_is_a_form() -> None:
    form = "Read the following sentence with care, and then say which of the two words in it is the one that its author has meant to write."

    assert shares_context([f"{form}\nSentence {number}" for number in range(8)]) == [False] * 8
    assert shares_context([f"Sentence {number}\n{form}" for number in range(8)]) == [False] * 8
    assert shares_context([]) == []


def test_the_note_counts_the_documents_and_ends_with_a_declared_cluster() -> None:
    shared = [f"{passage(number // 2)} What {number}?" for number in range(6)]
    others = [f"Question {number}" for number in range(44)]

    assert shared_context_note(docs(*shared, *others)) == (
        "6 of 50 documents share a long text with another one, and the suite declares no cluster: if it is a passage with several "
        "questions, the standard error is too small, and a gate may be red by chance (docs/suites.md: cluster)"
    )
    assert shared_context_note(docs(*shared, *others, cluster="p")) is None
    assert shared_context_note(docs(*shared, *others, *others)) is None  # below a tenth
    assert shared_context_note(docs(*shared)) is None  # too few to say anything
    assert shared_context_note(docs(*others, instruction=passage(0))) is None


def test_a_run_notes_it_and_a_declared_cluster_widens_the_standard_error(tmp_path: Path) -> None:
    rows = [{"passage": passage(row // 4), "question": f"what {row}?", "answer": row % 2} for row in range(80)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    suite = tmp_path / "s.yaml"
    suite.write_text("""
suite: s
defaults:
  data_files: {test: rows.jsonl}
  evaluation_splits: [test]
  prompt: {query: "{{ passage }}\\n{{ question }}", choices: [" no", " yes"], gold: "{{ answer }}"}
  metrics: [loglikelihood_acc]
tasks:
  - {name: plain}
  - {name: column, cluster: passage}
  - {name: template, cluster: "{{ passage | beginning(60) }}"}
""")
    # every question about one passage is answered alike
    wrong = tuple(f"test:{row}" for row in range(80) if row // 4 % 2)

    plain, column, template = (evaluate(task, FakeBackend(accuracy=1.0, wrong=wrong), few_shots=0) for task in load_suite(suite))

    assert [note for note in plain.notes if "share a long text" in note] != []
    assert column.notes == template.notes == ()
    assert plain["acc"] == column["acc"] == template["acc"] == 0.5
    errors = [result.metrics["acc"].stderr for result in (plain, column, template)]
    assert errors == [pytest.approx((0.25 / 79) ** 0.5), pytest.approx((0.25 / 19) ** 0.5), pytest.approx((0.25 / 19) ** 0.5)]


@needs_shared
@pytest.mark.parametrize(
    ("file", "name", "sources"),
    [
        ("lighteval/super_glue.yaml", "super_glue:multirc", 83),
        ("lighteval/super_glue.yaml", "super_glue:boolq", 2939),
        ("lighteval/coqa.yaml", "coqa", 500),
        ("lighteval/drop.yaml", "drop", 405),
        ("lighteval/agieval.yaml", "agieval:lsat-rc", 40),
        ("lighteval/agieval.yaml", "agieval:sat-en", 44),
        ("lighteval/ethics.yaml", "ethics:virtue", 995),
        ("lighteval/bigbench.yaml", "bigbench:tracking_shuffled_objects_five_objects", 50),
        ("helm/lsat_qa.yaml", "lsat_qa", 80),
        ("helm/babi_qa.yaml", "babi_qa", 220),
        ("leaderboard/mmlu.yaml", "mmlu:high_school_us_history", 66),
        ("leaderboard/mmlu.yaml", "mmlu:anatomy", 135),
        ("harness/bbh.yaml", "bbh:logical_deduction_seven_objects", 95),
    ],
)
def test_shipped_tasks_know_their_sources(file: str, name: str, sources: int) -> None:
    task = next(task for task in Catalogue().load(shipped_suites() / file) if task.name == name)
    data_sets = DataSets(data_home=HUB)

    rendered = [doc for split in task.evaluation_splits for doc in render_docs(task, data_sets.rows(task, split), split).docs]

    alone = sum(doc.cluster is None for doc in rendered)
    assert len({doc.cluster for doc in rendered} - {None}) + alone == sources
    assert shared_context_note(rendered) is None
