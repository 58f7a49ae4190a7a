"""What answer extraction must know of a language: its word for "answer", its punctuation, and how it letters choices.

The words and marks are those of Lighteval's templates, so that extraction finds what its prompts ask for.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """One language's conventions."""

    code: str
    """ISO 639-3."""
    answer: str
    """The word that announces an answer, lower case."""
    full_stop: str = "."
    comma: str = ","
    colon: str = ":"
    has_spaces: bool = True
    """Words are divided by spaces."""
    letters: tuple[str, ...] = tuple(string.ascii_uppercase)
    """Of the choices of a question, in order."""


_CYRILLIC = tuple("АБВГДЕ")

ENGLISH = Language(code="eng", answer="answer")

LANGUAGES: Mapping[str, Language] = {
    "arabic": Language(code="ara", answer="إجابة", comma="،", letters=("أ", "ب", "ج", "د", "هـ", "و", "ز", "ح")),
    # the reference raises for Bengali and Korean, for which it has no word
    "bengali": Language(code="ben", answer="উত্তর", full_stop="।", letters=tuple("কখগঘঙচ")),
    "chinese": Language(code="zho", answer="答案", full_stop="。", comma="，", colon="：", has_spaces=False),
    "dutch": Language(code="nld", answer="antwoord"),
    "english": ENGLISH,
    "french": Language(code="fra", answer="réponse"),
    "german": Language(code="deu", answer="antwort"),
    "hindi": Language(code="hin", answer="उत्तर", full_stop="।", letters=tuple("कखगघङच")),
    "italian": Language(code="ita", answer="risposta"),
    "japanese": Language(code="jpn", answer="回答", full_stop="。", comma="、", colon="：", has_spaces=False),
    "korean": Language(code="kor", answer="답"),
    "portuguese": Language(code="por", answer="resposta"),
    "russian": Language(code="rus", answer="ответ", letters=_CYRILLIC),
    "spanish": Language(code="spa", answer="respuesta"),
    "swahili": Language(code="swa", answer="jibu"),
    "telugu": Language(code="tel", answer="జవాబు", letters=("ఎ", "బి", "సి", "డి", "ఇ")),
    "thai": Language(code="tha", answer="คำตอบ", letters=tuple("๑๒๓๔๕๖๗๘๙๐")),
    "turkish": Language(code="tur", answer="cevap"),
    "ukrainian": Language(code="ukr", answer="відповідь", letters=_CYRILLIC),
    "vietnamese": Language(code="vie", answer="trả lời"),
}
"""By the English name."""
