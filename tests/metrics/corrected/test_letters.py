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


@pytest.mark.parametrize(
    "text",
    [
        *("The answer is (A) or (B)", "Answer: **A** or **B**", "Answer: $A$ or $B$", "Answer: (A), (B)", "(A) or (B)", r"\boxed{A, B}"),
        *(r"\boxed{A \text{ or } B}", "<answer>A or B</answer>", "Answer: (A) and (B)", r"\boxed{\text{A}, \text{B}}"),
        *("Neither A nor B is correct.", "I would not choose B.", "Don't choose D.", "I can't choose A", "I don't think the answer is B."),
        *(
            "It's not true that the answer is A.",
            "Answer: B is incorrect",
            "I doubt the answer is B.",
            "If it's B, the sum is odd.",
            "It's not B.",
        ),
        *("Answer: D-glucose", "Answer: C-14", "Answer: C=O bond", "Answer: D orbitals", "Answer: B vitamins", "Answer: D.C."),
        *(r"\boxed{D is wrong}", r"\boxed{A hydrogen}", "A or B is correct.", "Answer: B isn't right", "The wrong answer is B."),
        "I do not know.\n\nQuestion: next one?\nAnswer: C",
    ],
)
def test_several_letters_denied_ones_and_those_of_words_are_no_answer(text: str) -> None:
    assert announced_letter(text, 4) is None


@pytest.mark.parametrize(
    "text",
    [
        *(
            "It's B.",
            "I think it's B",
            "Both vanish.\nB. 42 m",
            "Answer: $LETTER B",
            "Answer: $LETTER: **B**",
            "It is not A, so the answer is B.",
        ),
        *(
            "Answer: B\n\nQuestion: next one?\nAnswer: C",
            "Answer: (B) orbitals overlap",
            "There is no doubt the answer is B.",
            "Answer: B is right",
        ),
        *("A is wrong, and B is correct.", "Answer: B because C is wrong", "Not A. The answer is B, A is wrong.", "Answer: B - orbitals"),
    ],
)
def test_a_letter_is_found_beside_other_words(text: str) -> None:
    assert announced_letter(text, 4) == "B"


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
        ("french", "La bonne réponse est la B.", 1),
        ("french", "La réponse est l'option B.", 1),
        ("spanish", "La respuesta correcta es la B", 1),
        ("portuguese", "A resposta correta é a B.", 1),
        ("german", "Die richtige Antwort ist die B.", 1),
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


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("chinese", "答案是A或B"),
        ("chinese", "我不认为答案是B"),
        ("french", "La réponse est A ou B"),
        ("spanish", "No creo que la respuesta es B"),
    ],
)
def test_other_languages_name_several_or_deny(language: str, text: str) -> None:
    assert announced_letter(text, 4, LANGUAGES[language]) is None


@pytest.mark.parametrize(
    ("choices", "gold", "text", "right"),
    [
        (["(1,2)"], 0, r"\boxed{(1;2)}", True),
        (["(1,2)"], 0, r"\boxed{(2;1)}", False),
        (["(1,2)"], 0, r"\boxed{\left(1 ; 2\right)}", True),
        (["1,2"], 0, r"\boxed{1;2}", False),
        (["un", "deux", "trois"], 1, "La bonne réponse est la B.", True),
        (["un", "deux", "trois"], 1, "La bonne réponse est la C.", False),
    ],
)
def test_a_baccalaureate_answer_in_french_writing(choices: list[str], gold: int, text: str, right: bool) -> None:
    assert values("exact_match_bac_fr_corrected", text, choices=choices, gold=[gold]) == {"em": float(right)}
