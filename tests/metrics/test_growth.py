"""A model that loops stalls no suite: every metric takes about linear time, or gives up on the document and says why."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from pytest_lighteval.errors import NotJudgedError
from pytest_lighteval.metrics import overlap, translation
from pytest_lighteval.metrics.libraries import split_words_of
from tests.shared import ROOT


def test_no_metric_takes_quadratic_time_for_a_text_that_repeats_itself() -> None:
    """Judged by CPU time with a wide margin: quadratic time takes three times the limit and more, linear time a tenth of it or less."""
    pytest.importorskip("spacy")
    done = subprocess.run([sys.executable, "-m", "tests.metrics.growth"], cwd=ROOT, capture_output=True, text=True, check=False)
    ends = {line["case"]: line["end"] for line in map(json.loads, done.stdout.splitlines())}

    assert done.stderr == ""
    assert {case: end for case, end in ends.items() if end != "judged"} == {
        "rougeL, one word": "rougeL would take 1,249,950,000 steps for a text of 300,000 characters; at most 1,000,000,000 are taken",
        "rougeLsum, other lines": "rougeLsum would take 555,544,444 steps for a text of 98,140 characters; at most 10,000,000 are taken",
        "ter": "ter takes over 20,000,000 steps with a gold of 16,666 words, as when a text repeats itself",
        "words of spaCy, (": "300,000 characters without white space, most of them marks, take too long to split into words",
    }


def test_the_steps_of_ter_are_those_of_all_its_shifts(monkeypatch: pytest.MonkeyPatch) -> None:
    gold, text = "a b c d e f g h", "h g f e d c b a"
    score = translation._scorer("TER").sentence_score(text, [gold, "h g"])
    assert translation._count_ter(text, [gold, "h g"]) == (score.num_edits, score.ref_length)

    monkeypatch.setattr(translation, "MOST_TER_STEPS", 500)

    with pytest.raises(NotJudgedError, match="ter takes over 500 steps with a gold of 8 words"):
        translation._count_ter(text, [gold])


def test_a_text_of_letters_without_white_space_is_split_and_one_of_marks_is_not() -> None:
    pytest.importorskip("spacy")

    assert split_words_of("a" * 10_000, "en") == ["a" * 10_000]
    assert len(split_words_of("(" * 1000, "en")) == 1000
    with pytest.raises(NotJudgedError, match="10,000 characters without white space"):
        split_words_of("(" * 10_000, "en")


@pytest.mark.parametrize("name", ["rougeL", "rougeLsum"])
def test_own_common_subsequences_give_the_librarys_rouge(name: str) -> None:
    golds = ["The cat sat.\nThe dog, too.\n\nThe cat", "a b a b a b\nb a b a", "", "!", "one"]
    texts = ["the cat\nsat the the cat\nthe cat", "b a b a b\na b a\nb a b\na b a", "", "?", "one two"]
    library = overlap._rouge_scorer(name, overlap._rouge_words)

    assert [[overlap.rouge([gold], text, name) for gold in golds] for text in texts] == [
        [library.score(gold, text)[name].fmeasure for gold in golds] for text in texts
    ]
