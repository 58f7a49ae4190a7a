"""Recorded answers to tasks whose rows are not at hand: what each text is worth. The tests of the metrics read them too."""

from __future__ import annotations

from collections.abc import Sequence

ANNOUNCED: Sequence[tuple[str, str]] = [
    ("Option A fails because of spin. Choice C cannot be, too.\n\nAnswer: $B$", "B"),
    ("I rule out option A. Next, C is too large.\nAnswer: $B", "B"),
    ("Option A is wrong. The answer is (B).", "B"),
    ("Option A is wrong, and D as well.\nThe final answer is $\\boxed{B}$.", "B"),
    ("Let me think. A hydrogen atom is small.\n\nB", "B"),
    ("A is wrong since it is odd. C is wrong since it is big. D is negative. Therefore: B.", "B"),
    ("Answer: **B**", "B"),
    ("**Answer: B**", "B"),
    ("**Answer:** B", "B"),
    ("Answer: $\\text{(B)}$", "B"),
    ("Answer: $\\mathbf{B}$", "B"),
    ("Answer: \\(B\\)", "B"),
    ("Answer: [B]", "B"),
    ("Answer: 'B'", "B"),
    ("answer: b", "B"),
    ("Answer:\n\n**B**", "B"),
    ("### Answer\nB", "B"),
    ("Answer: Ｂ", "B"),
    ("Answer: B) 42 m", "B"),
    ("Answer: Choice B", "B"),
    ("**Answer**: B", "B"),
    ("**Final Answer**\n\n**B**", "B"),
    ("ANSWER: B", "B"),
    ("Answer : B", "B"),
    ("Answer: B (42 m)", "B"),
    ("Answer: B. All of the above", "B"),
    ('{"answer": "B"}', "B"),
    ("<answer>B</answer>", "B"),
    ("Correct option: B", "B"),
    ("The correct choice is (B).", "B"),
    ("The answer is $\\boxed{\\textbf{(B)}}$", "B"),
    ("Both terms vanish, as for A.\nB) 42 m", "B"),
    ("(B) 42 m", "B"),
    ("Answer: A", "A"),
    ("Answer: A because it is light", "A"),
    ("The answer is B because it is light", "B"),
    ("The correct answer is option C.", "C"),
    ("The answer is therefore B.", "B"),
    ("Answer: B, though A was near", "B"),
    ("Thus, option B is correct.", "B"),
    ("B is the correct answer.", "B"),
    ("I would choose B.", "B"),
    ("A and B are wrong, C too. So, D.", "D"),
    ("Final Answer: The final answer is $\\boxed{C}$. I hope it is correct.", "C"),
    ("The answer is A? No. Answer: C", "C"),
    ("Answer: A. Wait, that is wrong.\nAnswer: C", "C"),
    ("Answer: D\n\nNote: A would hold if x.", "D"),
    *((form, "D") for form in ("D", "D.", "(D)", "**D**", "$D$", "\\boxed{D}", "[D]", "d")),
]
"""Texts that answer a question of four choices, and the letter that they say."""

SILENT: Sequence[str] = [
    "",
    "Don't know the answer, sorry.",
    "Difficult question",
    "D'accord",
    "I cannot answer",
    "A difficult question. I do not know.",
    "Answer: None of them. Data is missing.",
    "The final answer is Boron, which is no option letter.",
    "Answer: A hydrogen atom",
    "The answer is not A.",
    "The answer is A or B",
    "Answer: A, B",
    "Answer: Both A and B",
    "Answer: between B and C",
    "Answer: Cannot be determined",
    "A) 3\nB) 4\nC) 5\nD) 6",
    "The option A is wrong, and the choice B too",
    "Option A, option B or option C may hold.",
    "Answer A is wrong.",
    "So A is wrong.",
    "Option C is the lightest one",
    "I considered (A) and (C), but nothing fits",
    "A. 3\nB. 4\nC. 5\nD. 6",
    "Candidates: A, B, C, D",
    "I don't think there is an answer. Maybe A?",
    "Answer: E",
    "Answer: $LETTER where LETTER is one of ABCD",
]
"""Texts that say no letter, or several."""

BACCALAUREATE: Sequence[tuple[list[str], int, str, bool]] = [
    (["12"], 0, "On calcule.\nRéponse : 12", True),
    (["12"], 0, "Réponse : 13", False),
    ([r"\frac{1}{2}"], 0, "Réponse : $0,5$", True),
    ([r"\frac{1}{2}"], 0, r"La réponse est \boxed{0.5}", True),
    (["Victor Hugo"], 0, "Réponse : Victor Hugo.", True),
    (["Victor Hugo"], 0, "Réponse : Hugo Victor", False),
    (["un", "deux", "trois"], 1, "Réponse : B", True),
    (["un", "deux", "trois"], 1, "Réponse : deux", True),
    (["un", "deux", "trois"], 1, "Réponse : A", False),
    (["un", "deux", "trois"], 1, "Réponse : un", False),
    (["un", "deux", "trois"], 1, "", False),
]
"""Choices (one: the answer), the right one, a text, and whether it is right."""

AIMO: Sequence[tuple[str, str, bool]] = [
    ("52", "So the remainder is $\\boxed{52}$.", True),
    ("250", "Hence the sum is\n\n$$\\boxed{250}$$", True),
    ("52", "The answer is 52.", True),
    ("52", "**Answer: 52**", True),
    ("52", "\\boxed{053}", False),
    ("52", "We compute 52 first, then \\boxed{21}.", False),
    ("52", "The answer is -52.", False),
    ("52", "I cannot solve this.", False),
]
"""The published answer, a text, and whether it is right."""

NUMERACY: Sequence[tuple[str, str, bool]] = [
    ("-5", "-5", True),
    ("-5", "\N{MINUS SIGN}5", True),
    ("-5", "5", False),
    ("5", "-5", False),
    ("314", "3.14", False),
    ("12", "12.", True),
    ("12", "\uff11\uff12", True),
    ("12", "1.2", False),
    ("12", "13", False),
]
"""The published value of a function, a text, and whether it is right."""
