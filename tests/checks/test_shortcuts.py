"""A shortcut is found by statistics; a sound task of the same form has none."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.types import PromptTemplate, Severity
from tests.checks.samples import choosing, found


def rows(count: int, gold_text: str = "abcd", *, place: int | None = None, seed: int = 0) -> list[dict[str, Any]]:
    """Four choices of four letters, of which the gold is another text at a random or a fixed place."""
    rng = random.Random(seed)
    made = []
    for number in range(count):
        gold = rng.randrange(4) if place is None else place
        choices = ["".join(rng.choices("efghij", k=3)) + "klmn"[other] + str(number) for other in range(4)]
        choices[gold] = gold_text + str(number)
        made.append({"q": number, "c": choices, "g": gold})
    return made


@pytest.mark.parametrize("seed", range(5))
def test_a_sound_task_shows_no_shortcut(tmp_path: Path, seed: int) -> None:
    assert found(choosing(tmp_path, rows(300, seed=seed))) == {}


@pytest.mark.parametrize(("gold", "kind"), [("abcdefgh", "gold-is-longest"), ("a", "gold-is-shortest")])
def test_a_gold_of_a_length_of_its_own_is_found(tmp_path: Path, gold: str, kind: str) -> None:
    finding = found(choosing(tmp_path, rows(60, gold)))[kind]

    assert (finding.severity, finding.count, finding.of) == (Severity.WARNING, 60, 60)
    assert finding.message.endswith("choice is right in 100.0%, where chance is 25.0%")


def test_a_few_documents_prove_nothing(tmp_path: Path) -> None:
    assert found(choosing(tmp_path, rows(8, "abcdefgh", place=0))) == {}


def test_a_gold_in_one_otheris_a_warning_only_where_the_prompt_lists_the_choices(tmp_path: Path) -> None:
    biased = rows(60, place=2)
    listed = [{**row, "q": " ".join(row["c"])} for row in biased]

    assert found(choosing(tmp_path, biased))["gold-in-one-place"].severity is Severity.NOTE
    assert found(choosing(tmp_path, listed))["gold-in-one-place"].severity is Severity.WARNING


@pytest.mark.parametrize(("share", "severity"), [(0.5, None), (0.7, Severity.NOTE), (0.95, Severity.WARNING)])
def test_a_label_that_is_mostly_right_is_found(tmp_path: Path, share: float, severity: Severity | None) -> None:
    task = choosing(tmp_path, [{"q": n, "c": [" yes", " no"], "g": int(n >= share * 400)} for n in range(400)])

    finding = found(task).get("one-label-dominates")

    assert (finding and finding.severity) == severity
    assert finding is None or finding.message.startswith("the constant answer ' yes' is right in")


def test_letters_of_tasks_with_four_and_five_choices_are_labels(tmp_path: Path) -> None:
    made = [{"q": f"{n}: A, B, C, D or E", "c": ["A", "B", "C", "D", "E"][: 4 + n % 2], "g": 0} for n in range(60)]

    assert set(found(choosing(tmp_path, made))) == {"one-label-dominates"}


def test_the_one_choice_that_stands_in_the_query_is_a_shortcut(tmp_path: Path) -> None:
    made = [{**row, "q": f"Which is {row['c'][row['g']]}"} for row in rows(60)]

    assert found(choosing(tmp_path, made))["gold-in-query"].count == 60


def test_a_query_that_lists_all_choices_gives_nothing_away(tmp_path: Path) -> None:
    made = [{**row, "q": ", ".join(row["c"])} for row in rows(60)]

    assert found(choosing(tmp_path, made)) == {}


@pytest.mark.parametrize("metric", ["loglikelihood_acc", "exact_match"])
def test_the_length_of_an_option_counts_where_the_choices_are_letters(tmp_path: Path, metric: str) -> None:
    """As in MMLU: the prompt lists the options, and the answer is compared or written."""
    made = []
    for row in rows(60, "abcdefgh"):
        options = "\n".join(f"{letter}. {text}" for letter, text in zip("ABCD", row["c"], strict=True))
        made.append({"q": f"Which?\n{options}\nAnswer:", "c": [" A", " B", " C", " D"], "g": row["g"]})

    finding = found(choosing(tmp_path, made, metric=metric))["gold-is-longest"]

    assert finding.count == 60
    assert finding.examples[0].text.startswith("gold 'abcdefgh")


def test_the_choice_with_which_the_prompt_ends_is_a_shortcut_for_labels_too(tmp_path: Path) -> None:
    made = [{"q": f"Is {n} even? Answer: {['no', 'yes'][n % 2]}", "c": [" no", " yes"], "g": n % 2} for n in range(60)]
    prompt = PromptTemplate(query="{{ q }}", choices="{{ c }}", gold="{{ g }}")

    finding = found(choosing(tmp_path, made, prompt=prompt))["answer-ends-prompt"]

    assert (finding.count, finding.of) == (60, 60)
