"""Recorded answers and the score that is right for each: forms of a right answer count, near misses and other answers do not."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.corrected_cases import BACCALAUREATE
from tests.metrics.corrected.scoring import values

GSM8K = " He pays 30*2=60 and 9 more.\n#### 69"
BOX = r"The sum is $\frac{4}{8}$, that is $\boxed{\frac{1}{2}}$."

Case = tuple[str, Any, str, bool]
"""Metric, golds (DROP: spans), text, whether it is right."""

NUMBERS: list[Case] = [
    *(
        ("quasi_exact_match_gsm8k_corrected", [GSM8K], text, True)
        for text in (
            GSM8K,
            " 60+9=69\n#### 69",
            " 60+9=69\n#### 69.",
            "#### 69.00",
            "#### $69",
            "#### **69**",
            "#### $69.00$",
            "#### 69 dollars",
            "#### \\boxed{69}",
            "#### 60+9=69",
            "####69",
            " 60+9=69\n#### 69\n\nQuestion: Ann has 3 apples.\nAnswer: She has 3.\n#### 3",
            " 60+9=69\n#### 69Question: Ann has 3 apples.",
            "So he pays \\boxed{69} dollars for 2 books.",
            "The answer is $69.",
            "**Answer: 69**",
            "Answer:\n69",
            "The answer is 60 + 9 = 69. He bought 2 books.",
            "He pays 60 for 2 books.\nTogether with 9 that is 69.",
            "The answer is found by adding 60 and 9, which gives 69.",
            "The answer: 69 = 60 + 9",
            "#### Answer: 69",
            "**#### 69**",
            "#### £69",
            "#### 69,",
            "#### ６９",
            "#### ٦٩",
            "69",
        )
    ),
    *(
        ("quasi_exact_match_gsm8k_corrected", [GSM8K], text, False)
        for text in (
            "",
            "#### -69",
            "#### 690",
            "#### 6.9",
            "#### 6",
            "#### 70\nor 69",
            "He has 69 books.\n#### 71",
            "The answer is 71, not 69",
            "It is more than 69.\nI cannot tell.",
            "69 books are there.\nThat leaves 71",
            "Question: how much is 69?",
            "####",
            "no number",
            "#### 69/2",
            "67. Add the books. 68. Find the others. 69.",
            "67. Add the books.\n68. Find the others.\n69.",
        )
    ),
    *(
        ("quasi_exact_match_gsm8k_corrected", [gold], text, right)
        for gold, text, right in (
            ("1234", r"\boxed{1{,}234}", True),
            ("1", r"\boxed{1{,}234}", False),
            ("1234", r"\boxed{1\,234}", True),
            ("1234", r"\boxed{1,\!234}", True),
            ("1", r"\boxed{\frac{1}{2}}", False),
            ("2", r"\boxed{\frac{1}{2}}", False),
            ("0.5", r"\boxed{\dfrac{1}{2}}", True),
            ("-0.5", r"\boxed{-\frac12}", True),
            ("2.5", r"\boxed{2\frac{1}{2}}", True),
            ("2.5", "The answer is 2 1/2.", True),
            ("2", "The answer is 2 1/2.", False),
            ("2", "The answer is 2½.", False),
            ("2", r"\boxed{2^{10}}", False),
            ("1024", r"\boxed{2^{10}}", True),
            ("2", r"\boxed{\frac{\pi}{2}}", False),
            ("2", r"\boxed{2\pi}", False),
            ("16", r"\boxed{\sqrt{16}}", False),
            ("1", "#### 1e3", False),
            ("1000", "#### 1e3", True),
            ("3000", r"#### 3 \times 10^3", True),
            ("3", r"#### 3 \times 10^3", False),
            ("10", "The answer is 10^2.", False),
            ("2", "The answer is 10^2.", False),
            ("100", "The answer is 10^2.", True),
            ("10", "The answer is 10².", False),
            ("2", "The answer is 2:30 pm", False),
            ("30", "It ends at 2:30 pm", False),
            ("6", "The answer is 6-4", False),
            ("4", "He has 6-4", False),
            ("6", "The answer is 6 or 7.", False),
            ("12", "The area is 3 x 4 = 12 m^2", True),
            ("12", "The area is 12 cm^2.", True),
            ("12", "The area is 12 cm2.", True),
            ("2", "The area is 3 x 4 = 12 m^2", False),
            ("52", r"So $x \equiv 52 \pmod{1000}$.", True),
            ("52", "So x = 52 (mod 1000).", True),
            ("1000", r"So $x \equiv 52 \pmod{1000}$.", False),
            ("69", "So he pays 69 dollars (3 of them twice).", True),
            ("3", "So he pays 69 dollars (3 of them twice).", False),
            ("7", "The answer is 7.\nNote that the answer is not 8.", True),
            ("8", "The answer is 7.\nNote that the answer is not 8.", False),
            ("8", "The answer isn't 8.", False),
            ("7", "He has 7, not 8.", True),
            ("69", "So it is \\(x = 69\\).", True),
            ("69", "#### 69 - well done", True),
        )
    ),
    ("exact_match_number_zh_corrected", ["8"], "答案是7。\n答案不是8。", False),
    ("quasi_exact_match_gsm8k_corrected", ["#### 1,234"], "#### 1234", True),
    ("quasi_exact_match_gsm8k_corrected", ["#### 1,234"], "#### $1,234.", True),
    ("quasi_exact_match_gsm8k_corrected", ["#### 1,234"], "#### 1.234", False),
    ("quasi_exact_match_gsm8k_corrected", ["#### -5"], "#### \N{MINUS SIGN}5", True),
    ("quasi_exact_match_gsm8k_corrected", ["#### -5"], "#### -$5", True),
    ("quasi_exact_match_gsm8k_corrected", ["#### -5"], "#### 5", False),
    ("quasi_exact_match_gsm8k_corrected", ["#### 0.5"], "#### 1/2", True),
    ("quasi_exact_match_gsm8k_corrected", ["#### 5"], "#### 10-5", False),
    ("exact_match_number_en_corrected", [" 9"], " First we add 5 + 4 = 9. The answer is 9.", True),
    ("exact_match_number_en_corrected", [" 9"], "9", True),
    ("exact_match_number_en_corrected", [" 9"], " First we add 5 + 4 = 9. The answer is 10.", False),
    ("exact_match_number_en_corrected", [" 9"], " First we add 5 + 4 ", False),
    ("exact_match_number_de_corrected", ["29"], " 9 + 20 =29 Computer. Die Antwort lautet 29.", True),
    ("exact_match_number_de_corrected", ["1200"], "Die Antwort ist 1.200.", True),
    ("exact_match_number_de_corrected", ["1200"], "Die Antwort ist 1,2.", False),
    ("exact_match_number_fr_corrected", ["1200"], "La réponse est 1\N{NARROW NO-BREAK SPACE}200.", True),
    ("exact_match_number_ru_corrected", ["11"], "5 + 6 = 11. Ответ — 11.", True),
    ("exact_match_number_zh_corrected", ["11"], "5 + 6 = 11。答案是 11。", True),
    ("exact_match_number_zh_corrected", ["11"], "答案是１１。", True),
    ("exact_match_number_ja_corrected", ["39"], "74-35=39個のチョコレートが残っている。答えは39個。", True),
    ("exact_match_number_th_corrected", ["11"], "5 + 6 = 11 คำตอบคือ ๑๑", True),
    ("exact_match_number_bn_corrected", ["29"], "9 + 20 = 29টি। উত্তর হল ২৯।", True),
    ("exact_match_number_bn_corrected", ["29"], "9 + 20 = 29টি। উত্তর হল ২৮।", False),
    ("exact_match_number_te_corrected", ["39"], "సమాధానం 39.చాక్లెట్", True),
    ("exact_match_number_sw_corrected", ["9"], "7 + 2 = 9. Jibu ni 9.", True),
    ("exact_match_number_es_corrected", ["9"], "7 + 2 = 9 juguetes. La respuesta es 9.", True),
    ("extractive_match_expr_arabic_corrected", ["25"], "الإجابة: ٢٥", True),
    ("extractive_match_expr_arabic_corrected", ["25"], "الإجابة: ٢٦", False),
    ("extractive_match_expr_chinese_corrected", ["18"], "答案：１８", True),
    ("extractive_match_expr_chinese_corrected", ["18"], "答案：１９", False),
]
MATH: list[Case] = [
    *(
        ("quasi_exact_match_math_corrected", [gold], text, right)
        for gold, text, right in (
            (BOX, BOX, True),
            (BOX, r"So $\boxed{\frac12}$.", True),
            (BOX, r"So $\boxed{0.5}$.", True),
            (BOX, r"\boxed{1}, no: \boxed{\dfrac{1}{2}}", True),
            (BOX, r"\boxed{\frac{1}{2}}, no: \boxed{1}", False),
            (BOX, r"\boxed{\frac{1}{3}}", False),
            (BOX, r"It is $\frac{1}{2}$", False),
            (BOX, r"The answer is $\frac{1}{2}$.", True),
            (BOX, "", False),
            (BOX, r"\boxed{", False),
            (BOX, r"\boxed{}", False),
            (r"$\boxed 5$", r"so \boxed{5}", True),
            (r"\boxed{5}", r"so $\boxed 5$", True),
            (r"\boxed{115,000}", r"\boxed{115000}", True),
            (r"\boxed{115,000}", r"\boxed{115{,}000}", True),
            (r"\boxed{(1,200)}", r"\boxed{(1,201)}", False),
            (r"\boxed{-5}", "\\boxed{\N{MINUS SIGN}5}", True),
            (r"\boxed{-5}", r"\boxed{5}", False),
            (r"\boxed{4}", r"\boxed{4\sqrt(2)}", False),
            (r"\boxed{\text{Evelyn}}", r"\boxed{Evelyn}", True),
            (r"\boxed{\text{Evelyn}}", r"\boxed{\text{Carla}}", False),
            (r"\boxed{\text{(B)}}", r"\boxed{B}", True),
            (r"\boxed{x=5}", r"\boxed{5}", True),
            (r"\boxed{5}", r"\boxed{5\text{ units}}", True),
            (r"\boxed{\text{5 units}}", r"\boxed{5}", True),
            (r"\boxed{5\text{ units}}", r"\boxed{6\text{ units}}", False),
            (r"\boxed{\text{Even}}", r"\boxed{even}", True),
            (r"\boxed{\text{even}}", r"\boxed{odd}", False),
            (r"\boxed{\text{east}}", r"\boxed{seat}", False),
            (r"\boxed{(1,2)}", r"\boxed{\left(1, 2\right)}", True),
            (r"\boxed{(1,2)}", r"\boxed{(2,1)}", False),
            (r"\boxed{[2,5)}", r"\boxed{(2,5)}", False),
            (r"\boxed{50}", r"\boxed{50\%}", True),
            (r"\boxed{1,234}", r"\boxed{1.234}", False),
            (r"\boxed{\frac{17}{2}}", r"\boxed{8\frac{1}{2}}", True),
            (r"no box", r"no box", False),
        )
    ),
    ("exact_match_number_en_corrected", ["52"], "We add up.\nSo the remainder is $\\boxed{52}$.", True),
    ("exact_match_number_en_corrected", ["52"], "We add up.\nSo the remainder is $\\boxed{53}$, near 52.", False),
]
WORDS: list[Case] = [
    ("quasi_exact_match_corrected", ["314"], "3.14", False),
    ("quasi_exact_match_corrected", ["3.14"], "3.140", True),
    ("quasi_exact_match_corrected", ["-5"], "\N{MINUS SIGN}5", True),
    ("quasi_exact_match_corrected", ["-5"], "5", False),
    ("quasi_exact_match_corrected", ["5"], "-5", False),
    ("quasi_exact_match_corrected", ["5"], "5.", True),
    ("quasi_exact_match_corrected", ["5"], "５", True),
    ("quasi_exact_match_corrected", ["25"], "٢٥", True),
    ("quasi_exact_match_corrected", ["1,000"], "1000", True),
    ("quasi_exact_match_corrected", ["$3.00"], "3", True),
    ("quasi_exact_match_corrected", ["$3.00"], "300", False),
    ("quasi_exact_match_corrected", ["10²"], "102", False),
    ("quasi_exact_match_corrected", ["(about $129,800)"], "about 129800.", True),
    ("quasi_exact_match_corrected", ["45%"], "45 %", True),
    ("quasi_exact_match_corrected", ["5$"], "$5", True),
    ("quasi_exact_match_corrected", [".5"], "0.5", True),
    ("quasi_exact_match_corrected", ["1.5kg"], "15kg", False),
    ("quasi_exact_match_corrected", ["Rock 'n' Roll"], "Rock \N{RIGHT SINGLE QUOTATION MARK}n\N{RIGHT SINGLE QUOTATION MARK} Roll", True),
    ("quasi_exact_match_corrected", ["Rock 'n' Roll"], "\N{LEFT DOUBLE QUOTATION MARK}Rock 'n' Roll\N{RIGHT DOUBLE QUOTATION MARK}", True),
    ("quasi_exact_match_corrected", ["10 apples"], "10\napples", True),
    ("quasi_exact_match_corrected", ["10 apples"], "10\N{NO-BREAK SPACE}apples", True),
    ("quasi_exact_match_corrected", ["10 apples"], "10apples", False),
    ("quasi_exact_match_corrected", ["Beyonc\u00e9"], "beyonce\u0301", True),
    ("quasi_exact_match_corrected", ["Beyonc\u00e9"], "Beyonce", False),
    ("quasi_exact_match_corrected", ["The cat"], "a cat", True),
    ("quasi_exact_match_corrected", ["A"], "the", False),
    ("quasi_exact_match_corrected", ["A"], "a.", True),
    ("quasi_exact_match_corrected", ["A"], "", False),
    ("quasi_exact_match_corrected", ["!"], "?", False),
    ("quasi_exact_match_corrected", ["> ) }"], " > ) }", True),
    ("quasi_exact_match_corrected", ["> ) }"], " > ) ]", False),
    ("prefix_quasi_exact_match_corrected", ["(A)"], "A", True),
    ("prefix_quasi_exact_match_corrected", ["(A)"], "(B)", False),
    ("prefix_quasi_exact_match_corrected", ["(A)"], "apple", False),
    ("prefix_quasi_exact_match_corrected", ["(A)"], "A. The first", True),
    ("prefix_quasi_exact_match_corrected", ["(A)"], "a difficult question", False),
    ("prefix_quasi_exact_match_corrected", ["(I)"], "I cannot answer this.", False),
    ("prefix_quasi_exact_match_corrected", ["(I)"], "(I) a circle", True),
    ("quasi_exact_match_corrected", ["x=-5"], "x=5", False),
    ("quasi_exact_match_corrected", ["x=-5"], "x = -5", True),
    ("quasi_exact_match_corrected", ["(-5,3)"], "(\N{MINUS SIGN}5,3)", True),
    ("quasi_exact_match_corrected", ["(-5,3)"], "(5,3)", False),
    ("quasi_exact_match_corrected", ["U.S."], "US", True),
    ("quasi_exact_match_corrected", ["well-known"], "well known", True),
    ("quasi_exact_match_corrected", ["1990-1995"], "1990\N{EN DASH}1995", True),
    ("exact_match_corrected", ["caf\u00e9"], " cafe\u0301\n", True),
    ("exact_match_corrected", ["-5"], "\N{MINUS SIGN}5", True),
    ("exact_match_corrected", ["Paris"], "paris", False),
    ("prefix_exact_match_corrected", ["1"], "10", False),
    ("prefix_exact_match_corrected", ["1"], "1.5", False),
    ("prefix_exact_match_corrected", [" A"], "A difficult question", False),
    ("prefix_exact_match_corrected", [" A"], "A. The first", True),
    ("prefix_exact_match_corrected", [" D"], "Don't know", False),
    ("prefix_exact_match_corrected", ["1"], "1. And so on", True),
    ("prefix_quasi_exact_match_corrected", ["the cat"], "Cat sits", True),
    ("prefix_quasi_exact_match_corrected", ["the cat"], "Cats sit", False),
    ("quasi_exact_match_triviaqa_corrected", ["Montrea", "Montreal"], " Montreal", True),
    ("quasi_exact_match_triviaqa_corrected", ["Washington, D.C."], " Washington, D.C.\n\nQuestion: next", True),
    ("quasi_exact_match_triviaqa_corrected", ["J. K. Rowling"], "J. K. Rowling. She wrote it.", True),
    ("quasi_exact_match_triviaqa_corrected", ["Sinclair Lewis"], "The answer is: Sinclair Lewis.", True),
    ("quasi_exact_match_triviaqa_corrected", ["Paris"], "Paris, the capital", True),
    ("quasi_exact_match_triviaqa_corrected", ["D\u00fcsseldorf"], "Du\u0308sseldorf", True),
    ("quasi_exact_match_triviaqa_corrected", ["Schindler's List"], "Schindler\N{RIGHT SINGLE QUOTATION MARK}s List", True),
    ("quasi_exact_match_triviaqa_corrected", ["Paris"], "London, not Paris", False),
    ("quasi_exact_match_triviaqa_corrected", ["Paris"], "Parisian", False),
    ("quasi_exact_match_triviaqa_corrected", ["Paris"], "It may be London. Or Paris", False),
    ("quasi_exact_match_triviaqa_corrected", ["The The"], "The The", True),
    ("quasi_exact_match_triviaqa_corrected", ["+-*/"], "+-*/", True),
    ("quasi_exact_match_triviaqa_corrected", ["+-*/"], "!", False),
    ("quasi_exact_match_triviaqa_corrected", ["Paris"], "", False),
]
OPERATORS: list[Case] = [
    *(
        ("quasi_exact_match_corrected", [gold], text, right)
        for gold, text, right in (
            ("12", "1/2", False),
            ("1/2", "1 / 2", True),
            ("23", "2^3", False),
            ("23", "2*3", False),
            ("1030", "10:30", False),
            ("10:30", "10:30.", True),
            ("5", "5%", False),
            ("5", "+5", True),
            ("5", "**5**", True),
            ("5", "<5", False),
            ("5%", "5 %.", True),
            ("x+1", "x1", False),
            ("x+1", "x + 1", True),
            ("C++", "C", False),
            ("C++", "c++.", True),
            ("C#", "C", False),
            ("C#", "C#.", True),
            ("510", "5'10", False),
            ("1000", "1'000", True),
            ("x12", "x1}{2", False),
            ("10", "10#", True),
        )
    ),
    *(
        (metric, [gold], text, right)
        for metric in ("prefix_exact_match_corrected", "prefix_quasi_exact_match_corrected")
        for gold, text, right in (
            *(("1", text, False) for text in ("1/2", "1 / 2", "1:30", "1-2", "1%", "1^2", "1+2", "1*2", "1 + 2", "1=2")),
            *(("A", text, False) for text in ("A-level", "A's", "A/B", "A, B", "A or B", "A and B", "A & B", "A++", "A; C")),
            *(("A", text, True) for text in ("A", "A.", "A, because", "A\nB is wrong", "A: the first", "A - the first", "A. A dog")),
            *(("A", text, True) for text in ("A. I think so", "A, I think", "A, a dog", "A, A dog barks")),
            ("B", "B-plan", False),
            ("B", "B. Plan", True),
            ("1", "1 apple", True),
            ("1", "1, then 2", True),
            ("Paris", "Paris, the capital", True),
            ("well", "well-known", False),
        )
    ),
]


@pytest.mark.parametrize(("metric", "golds", "text", "right"), [*NUMBERS, *MATH, *WORDS, *OPERATORS])
def test_an_answer_has_the_right_score(metric: str, golds: list[str], text: str, right: bool) -> None:
    assert list(values(metric, text, golds=golds).values()) == [float(right)]


@pytest.mark.parametrize(
    ("answers", "text", "em", "f1"),
    [
        pytest.param([["12.5"]], "12.5", 1.0, 1.0, id="a decimal number"),
        pytest.param([["12.5"]], "12.5.", 1.0, 1.0, id="and a closing period"),
        pytest.param([["12.5"]], "12", 0.0, 0.0, id="its whole part"),
        pytest.param([["12.5"]], "$12.5", 1.0, 1.0, id="a currency"),
        pytest.param([["12.5"]], "12.5%", 1.0, 1.0, id="a percentage"),
        pytest.param([["125"]], "12.5", 0.0, 0.0, id="no point is lost"),
        pytest.param([["5"]], "-5", 0.0, 0.0, id="another sign"),
        pytest.param([["10"]], "10\nPassage", 0.0, 0.67, id="a line end divides words"),
        pytest.param([["10"]], "The answer is 10.", 1.0, 1.0, id="announced"),
        pytest.param([["Smith", "Jones"]], "Smith, Jones", 1.0, 1.0, id="two spans"),
        pytest.param([["Smith", "Jones"]], "Jones and Smith", 1.0, 1.0, id="in another order"),
        pytest.param([["Smith", "Jones"]], "Jones\nSmith", 1.0, 1.0, id="in lines"),
        pytest.param([["Smith", "Jones"]], "Smith", 0.0, 0.5, id="one of two"),
        pytest.param([["Smith"]], "Smith, Jones", 0.0, 0.67, id="one too many"),
        pytest.param([["Smith", "Jones"]], "Smith, Miller", 0.0, 0.5, id="one of two is another"),
        pytest.param([["Baltimore, Maryland", "Paris"]], "Paris, Baltimore, Maryland", 1.0, 1.0, id="a comma within a span"),
        pytest.param([["1,000", "2,000"]], "1,000 and 2,000", 1.0, 1.0, id="thousands"),
        pytest.param([["3 yards"]], "4 yards", 0.0, 0.0, id="words without the number"),
        pytest.param([["a"], ["Jones"]], "jones", 1.0, 1.0, id="any of the accepted answers"),
        pytest.param([["Jones"]], "", 0.0, 0.0, id="nothing"),
        pytest.param([[" "]], "anything", 0.0, 0.0, id="no gold"),
    ],
)
def test_drop_scores_spans_one_to_one(answers: list[list[str]], text: str, em: float, f1: float) -> None:
    assert values("drop_corrected", text, golds=["x"], specific={"spans": answers}) == {"em": em, "f1": f1}


@pytest.mark.parametrize(
    ("metric", "golds", "texts", "right"),
    [
        ("maj_at_8_gsm8k_corrected", [GSM8K], ["", "no", "?", "I do not know", "...", "#### 69", "69", "#### 69."], True),
        ("maj_at_8_gsm8k_corrected", [GSM8K], ["#### 70"] * 4 + ["#### 69"] * 3 + [""], False),
        ("maj_at_8_gsm8k_corrected", [GSM8K], ["#### 70"] * 3 + ["#### 69", "$69", "69.0", "**69**", ""], True),
        ("maj_at_8_gsm8k_corrected", [GSM8K], [""] * 8, False),
        ("maj_at_4_math_corrected", [BOX], ["?", "", r"\boxed{\frac12}", "none"], True),
        ("maj_at_4_math_corrected", [BOX], [r"\boxed{3}", r"\boxed{0.5}", r"\boxed{3}", r"\boxed{\frac{1}{2}}"], False),
        ("maj_at_4_math_corrected", [BOX], [r"\boxed{3}", r"\boxed{0.5}", r"\boxed{1/2}", r"\boxed{\frac{1}{2}}"], True),
        ("maj_at_4_math_corrected", [BOX], ["?", "", "none", "."], False),
        ("maj_at_5_corrected", ["Paris"], ["", " ", "", "Paris", ""], True),
        ("maj_at_5_corrected", ["Paris"], ["Rome", "Rome", "", "Paris", ""], False),
        ("maj_at_8_corrected", ["caf\u00e9"], ["cafe\u0301", "caf\u00e9", "tea", "", "", "", "", ""], True),
    ],
)
def test_texts_without_an_answer_do_not_vote(metric: str, golds: list[str], texts: list[str], right: bool) -> None:
    assert list(values(metric, texts, golds=golds).values()) == [float(right)]


@pytest.mark.parametrize(
    ("choices", "gold", "text", "right"),
    BACCALAUREATE,
)
def test_an_answer_of_the_baccalaureate(choices: list[str], gold: int, text: str, right: bool) -> None:
    assert values("exact_match_bac_fr_corrected", text, choices=choices, gold=[gold]) == {"em": float(right)}


@pytest.mark.parametrize("name", ["rouge1", "rouge2", "rougeL", "rougeLsum"])
def test_rouge_reads_every_script(name: str) -> None:
    def score(gold: str, text: str) -> Any:
        return values(f"{name}_corrected", text, golds=[gold])[name]

    for text in ("今天天气很好", "Сегодня хорошая погода", "आज मौसम अच्छा है", "اليوم الطقس جميل", "วันนี้อากาศดี", "The weather is good"):
        assert score(text, text) == 1.0
        assert score(text, text[: len(text) // 2]) < 1.0
        assert score(text, "completely different words") == 0.0
    assert score("Сегодня хорошая погода", "Сегодня плохая погода") < 1.0
    assert values(f"{name}_corrected", "two words", golds=["other text", "two words"]) == {name: 1.0}
    assert score("naïve café", "nai\u0308ve cafe\u0301") == 1.0


def test_rouge_is_that_of_the_library_for_ascii_texts() -> None:
    golds, texts = ["The cat sat on the mat. It sat!", "a b-c 12.5"], ["a cat sat on my mat\nit sat", "12 b c 5 a"]

    for name in ("rouge1", "rouge2", "rougeL", "rougeLsum"):
        for gold, text in zip(golds, texts, strict=True):
            assert values(f"{name}_corrected", text, golds=[gold]) == values(name, text, golds=[gold])


def test_f1_counts_a_repeated_word_as_often_as_it_is_there() -> None:
    assert values("f1_score_quasi_corrected", "New York", golds=["New York New York"]) == {"f1_score_quasi": pytest.approx(2 / 3)}
    assert values("f1_score_quasi_corrected", "-5 points", golds=["5 points"]) == {"f1_score_quasi": 0.5}
