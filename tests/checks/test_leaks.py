"""A prompt that holds its own answer is found; one that holds everybody's is sound."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.types import PromptTemplate, Severity, Task
from tests.checks.samples import choosing, found, written

NAMES = ["".join(parts) for parts in itertools.product(("bar", "mel", "tor"), ("an", "ib", "ov", "ul"), ("dex", "mit", "sor"))]


def asked(folder: Path, rows: list[dict[str, Any]], query: str = "{{ q }}") -> Task:
    return written(folder, rows, prompt=PromptTemplate(query=query, choices=("{{ a }}",)))


def sums(count: int = 50) -> list[dict[str, Any]]:
    """Sums of two numbers below 20: the right one is in no question, and often in those of others."""
    rng = random.Random(0)
    pairs = [(rng.randrange(20), rng.randrange(20)) for _ in range(count)]
    return [{"q": f"Question {number + 100}: {one} + {two}?", "a": str(one + two)} for number, (one, two) in enumerate(pairs)]


@pytest.mark.parametrize(
    ("query", "answer", "kind"),
    [
        ("What is it? The answer is mercury", "mercury", "answer-ends-prompt"),
        ("The planet that is nearest to the sun is small. Which is it?", "planet that is nearest to the sun", "answer-in-prompt"),
        ("Is mercury near?", "mercury", None),
        ("How much is 4 + 4", "4", None),
    ],
)
def test_one_prompt_that_holds_the_written_answer(tmp_path: Path, query: str, answer: str, kind: str | None) -> None:
    """The end and a long gold are told of a single document; nothing else is proved by one."""
    task = asked(tmp_path, [{"q": query, "a": answer}, {"q": "who?", "a": "nobody"}, {"q": "when?", "a": "never"}])

    assert set(found(task)) == ({kind} if kind else set())


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("Answer key: {{ a }}.\nQ: {{ q }}", "behind 'answer key'"),
        ("Q: {{ q }} (solution **{{ a }}**)\nA:", "behind 'solution'"),
        ("{{ a }}) Q: {{ q }}", "at the beginning of the prompt"),
    ],
)
def test_a_key_of_short_answers_is_a_warning(tmp_path: Path, query: str, where: str) -> None:
    finding = found(asked(tmp_path, sums(), query))["answer-in-prompt"]

    assert (finding.severity, finding.count, finding.of) == (Severity.WARNING, 50, 50)
    assert finding.message.startswith(f"the gold stands {where} in 100.0%, where chance is ")


def test_a_sound_task_of_numbers_gives_nothing_away(tmp_path: Path) -> None:
    assert found(asked(tmp_path, sums(300))) == {}


def test_answers_that_stand_in_some_prompts_are_a_warning(tmp_path: Path) -> None:
    """27 characters in 30 of 70 prompts, each at another place."""
    rng = random.Random(1)
    rows = []
    for number in range(70):
        text = " ".join(rng.choices(NAMES, k=12)).split()
        answer = f"the town of {NAMES[number % 36]} in {1000 + number} AD"
        text[rng.randrange(12)] += f" {answer}" if number < 30 else ""
        rows.append({"q": " ".join(text) + "?", "a": answer})

    finding = found(asked(tmp_path, rows))["answer-in-prompt"]

    assert (finding.severity, finding.count, finding.of) == (Severity.WARNING, 30, 70)
    assert finding.message.startswith("the prompt holds its own gold in 42.9%, where chance is 0.")


def test_a_benchmark_of_quotations_is_a_note(tmp_path: Path) -> None:
    rng = random.Random(2)
    rows = []
    for _ in range(60):
        text = rng.sample(NAMES, 12)
        rows.append({"q": " ".join(text) + ". Who is meant?", "a": rng.choice(text)})

    assert found(asked(tmp_path, rows))["answer-in-prompt"].severity is Severity.NOTE


def lettered(folder: Path, query: str, count: int = 150, metric: str = "loglikelihood_acc") -> Task:
    """Four options under letters; each prompt begins with a text about the right one and a wrong one."""
    rng = random.Random(3)
    rows = []
    for _ in range(count):
        gold, other = rng.sample(range(4), 2)
        options = "\n".join(f"{letter}. {name}" for letter, name in zip("ABCD", rng.sample(NAMES, 4), strict=True))
        text = query.format(gold="ABCD"[gold], other="ABCD"[other])
        rows.append({"q": f"{text} Which is it, {' '.join(rng.sample(NAMES, 3))}?\n{options}", "c": [" A", " B", " C", " D"], "g": gold})
    return choosing(folder, rows, metric=metric)


@pytest.mark.parametrize("metric", ["loglikelihood_acc", "exact_match"])
def test_a_letter_that_is_announced_is_a_warning(tmp_path: Path, metric: str) -> None:
    finding = found(lettered(tmp_path, "The answer is {gold}.", metric=metric))["answer-in-prompt"]

    assert (finding.severity, finding.count, finding.of) == (Severity.WARNING, 150, 150)
    assert finding.message.startswith("the gold stands behind 'answer is' in 100.0%, where chance is 2")


@pytest.mark.parametrize("query", ["", "The answer is not {other}.", "The answer is A, B, C or D.", "The answer is A."])
def test_letters_that_say_nothing_are_sound(tmp_path: Path, query: str) -> None:
    assert "answer-in-prompt" not in found(lettered(tmp_path, query))


def test_a_long_gold_is_found_as_a_text(tmp_path: Path) -> None:
    """More words than are looked up one by one."""
    grid = " ".join(str(number % 7) for number in range(40))
    task = asked(tmp_path, [{"q": f"Turn {grid} round.", "a": grid}, *({"q": f"What is {n}?", "a": f"x{n}"} for n in range(20))])

    finding = found(task)["answer-in-prompt"]

    assert (finding.severity, finding.count, finding.of) == (Severity.WARNING, 1, 21)
    assert finding.message == "the prompt holds a gold of 30 characters or more"
