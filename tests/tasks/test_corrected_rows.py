"""Corrected tasks whose data sets are gated or not at hand: of made-up rows the published answers score 1, and others 0."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_lighteval.metrics import metric
from pytest_lighteval.prompts.documents import render_docs
from pytest_lighteval.tasks.catalogue import Catalogue
from pytest_lighteval.tasks.task_spec import TaskPattern
from pytest_lighteval.types import Doc, GenerateResponse, Task

GPQA = {"Question": "Which?", "Correct Answer": "right", **{f"Incorrect Answer {number}": f"wrong {number}" for number in (1, 2, 3)}}
BAC: dict[str, Any] = {"enonce": "Soit un triangle.", "instruction": "Calculer.", "reponse": None, "choix": None, "choix correct": None}


def task(name: str) -> Task:
    (found,) = Catalogue().find(TaskPattern(suite="corrected", task=name))
    return found


def document(name: str, row: dict[str, Any], *, few_shots: bool = False) -> Doc:
    (doc,) = render_docs(task(name), [(0, row)], "train", few_shots=few_shots).docs
    return doc


def score(name: str, doc: Doc, text: str) -> float:
    entry = metric(task(name).metrics[0])
    (value,) = entry.sample(doc, GenerateResponse(texts=(text,) * entry.num_samples, finish_reasons=())).values()
    assert isinstance(value, float)
    return value


@pytest.mark.parametrize("part", ["diamond", "extended", "main"])
def test_gpqa(part: str) -> None:
    name = f"lighteval.gpqa:{part}"
    doc = document(name, GPQA)
    letter = doc.golds[0]

    assert f"\n{letter}) right" in doc.query
    assert score(name, doc, f"Hm. Data are missing.\n\nAnswer: **{letter}**") == 1
    assert score(name, doc, f"Answer: {'ABCD'[('ABCD'.index(letter) + 1) % 4]}") == 0


def test_aimo() -> None:
    name = "community.aimo_progress_prize_1"
    doc = document(name, {"id": 0, "problem": "What is 50 + 2?", "answer": 52})

    assert (doc.query, doc.golds) == ("What is 50 + 2?", ("52",))
    assert score(name, doc, doc.golds[0]) == score(name, doc, r"It is $\boxed{52}$.") == 1
    assert score(name, doc, r"It is $\boxed{53}$.") == 0


def test_a_question_of_the_baccalaureate_with_choices_shows_them() -> None:
    name = "community.bac-fr"
    row = {**BAC, "choix": ["un", "deux"], "choix correct": "deux"}
    doc = document(name, row)

    assert doc.query == (
        "Enoncé: Soit un triangle.\nCalculer.\nA. un\nB. deux\n"
        "La dernière ligne de votre réponse doit être de la forme « Réponse : $RÉPONSE »."
    )
    assert doc.golds == ("\nRéponse : deux",)
    assert [score(name, doc, text) for text in (doc.golds[0], "Réponse : B", "Réponse : **deux**")] == [1, 1, 1]
    assert [score(name, doc, text) for text in ("Réponse : A", "Réponse : un", "deux ou un", "")] == [0, 0, 0, 0]


def test_a_question_of_the_baccalaureate_without_choices() -> None:
    name = "community.bac-fr"
    doc = document(name, {**BAC, "reponse": "1,5"})

    assert "\nA. " not in doc.query
    assert [score(name, doc, text) for text in (doc.golds[0], "On a 3/2.\nRéponse : $1,5$", r"$\boxed{\frac{3}{2}}$")] == [1, 1, 1]
    assert [score(name, doc, text) for text in ("Réponse : 2", "", "Réponse : 15")] == [0, 0, 0]


def test_numeracy() -> None:
    name = "helm.numeracy:plane_standard"
    doc = document(name, {"equation": "z = x - y", "vars": [1, 6], "output": -5})

    assert (doc.query, doc.golds) == ("z = x - y, x 1, y 6, z", ("-5",))
    assert score(name, doc, " -5") == 1
    assert score(name, doc, " 5") == 0
