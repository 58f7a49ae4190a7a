"""A letter counts where the text announces it as its answer, in whatever brackets and fonts, and nowhere else."""

from __future__ import annotations

import pytest

from benchmarks.corrected_cases import ANNOUNCED, SILENT
from pytest_lighteval.metrics.corrected.letters import announced_letter
from pytest_lighteval.metrics.languages import LANGUAGES
from tests.metrics.corrected.scoring import values


@pytest.mark.parametrize(("text", "letter"), ANNOUNCED)
def test_an_announced_letter_is_found(text: str, letter: str) -> None:
    assert announced_letter(text, 4) == letter


@pytest.mark.parametrize("text", SILENT)
def test_a_text_that_announces_no_letter_has_none(text: str) -> None:
    assert announced_letter(text, 4) is None


@pytest.mark.parametrize(("text", "letter"), ANNOUNCED)
def test_the_metrics_take_the_announced_letter_and_no_other(text: str, letter: str) -> None:
    for gold, right in enumerate("ABCD"):
        greedy = values("gpqa_instruct_metric_corrected", text, choices="ABCD", gold=[gold])
        sampled = values("gpqa_instruct_pass_at_1_4n_corrected", [text, text, "", "A B C D"], choices="ABCD", gold=[gold])
        assert greedy == {"extractive_match": float(right == letter)}
        assert sampled == {"gpqa_pass@1:4_samples": 0.5 * (right == letter)}


@pytest.mark.parametrize(
    ("language", "text", "index"),
    [
        ("chinese", "答案是B。", 1),
        ("chinese", "答案：B", 1),
        ("russian", "Ответ: Б", 1),
        ("french", "La réponse est (B).", 1),
        ("german", "Die Antwort ist: **C**", 2),
        ("spanish", "Respuesta: D", 3),
        ("arabic", "الإجابة: ب", 1),
        ("hindi", "उत्तर: ख", 1),
        ("korean", "답: B", 1),
        ("korean", "정답은 B입니다.", 1),
        ("japanese", "正解はBです。", 1),
        ("chinese", "故选B。", 1),
        ("spanish", "La respuesta correcta es B.", 1),
        ("french", "La réponse correcte est B.", 1),
        ("italian", "La risposta corretta è C.", 2),
        ("portuguese", "A resposta correta é D.", 3),
        ("german", "Die richtige Antwort lautet B.", 1),
        ("arabic", "الإجابة الصحيحة هي ب", 1),
        ("russian", "Правильный ответ: В", 2),
    ],
)
def test_other_languages_announce_with_their_own_word(language: str, text: str, index: int) -> None:
    choices = LANGUAGES[language].letters[:4]
    name = f"extractive_match_indices_{language}_corrected"

    scores = [values(name, text, choices=choices, gold=[gold])["extractive_match"] for gold in range(4)]
    assert scores == [float(gold == index) for gold in range(4)]
    assert values(name, "?", choices=choices, gold=[0]) == {"extractive_match": 0.0}
