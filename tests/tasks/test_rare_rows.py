"""What the reference does with rows that no recording of it holds."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_lighteval.prompts.documents import render_docs
from pytest_lighteval.prompts.templates import compile_expression
from pytest_lighteval.tasks.catalogue import Catalogue, shipped_suites
from pytest_lighteval.types import Task


def declared(file: str, name: str) -> Task:
    return next(task for task in Catalogue().load(shipped_suites() / file) if task.name == name)


@pytest.mark.parametrize(
    ("file", "name", "row", "query", "choices", "gold"),
    [
        pytest.param(
            "helm/boolq.yaml", "boolq", {"passage": "P", "question": "Is it??", "answer": "No"},
            "Passage: P\nQuestion: Is it?\nAnswer:", (" Yes", " No"), (1,), id="a doubled question mark loses one",
        ),
        pytest.param(
            "helm/boolq.yaml", "boolq", {"passage": "P", "question": "Is it???", "answer": "Yes"},
            "Passage: P\nQuestion: Is it??\nAnswer:", (" Yes", " No"), (0,), id="and no more than one",
        ),
        pytest.param(
            "community/serbian.yaml", "serbian_evals:boolq", {"passage": "P", "question": "Da li??", "answer": "Ne"},
            "Passage: P\nQuestion: Da li?\nAnswer:", (" Da", " Ne"), (1,), id="in Serbian, too",
        ),
        pytest.param(
            "community/serbian.yaml", "serbian_evals:oz_task", {"questions": "Ko?", "options": list("uvxyz"), "answer": "C"},
            "Pitanje: Ko?\n\n    Ponuđeni odgovori:\n    A. u\n    B. v\n    C. x\n    D. y\n    E. z\n\n    Krajnji odgovor:",
            tuple("ABCDE"), (2,), id="the columns of Oz Eval",
        ),
    ],
)  # fmt: skip
def test_a_row_becomes_the_references_document(
    file: str, name: str, row: dict[str, Any], query: str, choices: tuple[str, ...], gold: tuple[int, ...]
) -> None:
    (doc,) = render_docs(declared(file, name), [(0, row)], "test").docs

    assert (doc.query, doc.choices, doc.gold) == (query, choices, gold)


def test_wikitext_leaves_out_empty_lines_and_headings_that_begin_the_line() -> None:
    is_wanted = compile_expression(declared("lighteval/wikitext.yaml", "wikitext:2").hf_filter or "")

    assert [text for text in ("", "= Title =", " = Title = \n", "text", " ") if is_wanted({"text": text})] == [" = Title = \n", "text", " "]


def test_the_contrast_set_of_boolq_asks_each_changed_question_that_has_an_answer() -> None:
    changed = [("was it red", "TRUE"), ("was it blue?", "FALSE"), ("", ""), ("was it green", "")]
    row = {
        "paragraph": "P",
        "question": "was it",
        "perturbed_questions": [{"perturbed_q": text, "answer": right} for text, right in changed],
    }

    docs = render_docs(declared("helm/boolq.yaml", "boolq:contrastset_labelled"), [(0, row)], "test").docs

    assert [(doc.query, doc.golds, doc.cluster) for doc in docs] == [
        ("Passage: P\nQuestion: was it red?\nAnswer:", (" Yes",), "P"),
        ("Passage: P\nQuestion: was it blue?\nAnswer:", (" No",), "P"),
    ]


@pytest.mark.parametrize(("name", "count"), [("ade_corpus_v2", 2), ("banking_77", 77), ("one_stop_english", 3)])
def test_a_label_of_raft_is_the_name_with_its_number_in_the_instruction(name: str, count: int) -> None:
    task = declared("helm/raft.yaml", f"raft_train:{name}")
    columns = dict.fromkeys(("Sentence", "Query", "Article"), "text")
    rendered = render_docs(task, [(number, {**columns, "Label": number}) for number in range(count + 1)], "train")

    assert rendered.unlabeled == ("train:0",)  # no label is number 0
    assert len(rendered.docs) == count
    for number, doc in enumerate(rendered.docs, start=1):
        (label,) = doc.golds
        assert f"\n{number}. {label}\n" in f"{doc.query}\n"
