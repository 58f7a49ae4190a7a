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
    spacy: str
    """The language whose word rules spaCy has: its own, or the nearest (ISO 639-1)."""
    answer: str
    """The word that announces an answer, lower case."""
    full_stop: str = "."
    comma: str = ","
    colon: str = ":"
    has_spaces: bool = True
    """Words are divided by spaces."""
    letters: tuple[str, ...] = tuple(string.ascii_uppercase)
    """Of the choices of a question, in order."""
    articles: str | None = None
    """Those that quasi-exact match leaves out, as alternatives of a regular expression. None: the language joins them, or has none."""


_CYRILLIC = tuple("АБВГДЕ")

ENGLISH = Language(code="eng", spacy="en", answer="answer", articles="a|an|the")

LANGUAGES: Mapping[str, Language] = {
    "arabic": Language(code="ara", spacy="ar", answer="إجابة", comma="،", letters=("أ", "ب", "ج", "د", "هـ", "و", "ز", "ح")),
    # the reference raises for Bengali and Korean, for which it has no word
    "bengali": Language(code="ben", spacy="bn", answer="উত্তর", full_stop="।", letters=tuple("কখগঘঙচ")),
    "chinese": Language(code="zho", spacy="zh", answer="答案", full_stop="。", comma="，", colon="：", has_spaces=False),
    "dutch": Language(code="nld", spacy="nl", answer="antwoord", articles="de|het|een"),
    "english": ENGLISH,
    "french": Language(code="fra", spacy="fr", answer="réponse", articles="le|la|les|l'|un|une|des"),
    "german": Language(code="deu", spacy="de", answer="antwort", articles="der|die|das|den|dem|des|ein|eine|einer|eines|einem|einen"),
    "hindi": Language(code="hin", spacy="hi", answer="उत्तर", full_stop="।", letters=tuple("कखगघङच")),
    "italian": Language(code="ita", spacy="it", answer="risposta", articles="il|lo|la|i|gli|le|un|uno|una"),
    "japanese": Language(code="jpn", spacy="ja", answer="回答", full_stop="。", comma="、", colon="：", has_spaces=False),
    "korean": Language(code="kor", spacy="ko", answer="답"),
    "portuguese": Language(code="por", spacy="pt", answer="resposta", articles="o|a|os|as|um|uma|uns|umas"),
    "russian": Language(code="rus", spacy="ru", answer="ответ", letters=_CYRILLIC),
    "spanish": Language(code="spa", spacy="es", answer="respuesta", articles="el|la|los|las|un|una|unos|unas"),
    "swahili": Language(code="swa", spacy="en", answer="jibu"),
    "telugu": Language(code="tel", spacy="te", answer="జవాబు", letters=("ఎ", "బి", "సి", "డి", "ఇ")),
    "thai": Language(code="tha", spacy="th", answer="คำตอบ", letters=tuple("๑๒๓๔๕๖๗๘๙๐")),
    "turkish": Language(code="tur", spacy="tr", answer="cevap", articles="bir"),
    "ukrainian": Language(code="ukr", spacy="uk", answer="відповідь", letters=_CYRILLIC),
    "vietnamese": Language(code="vie", spacy="vi", answer="trả lời"),
}
"""By the English name."""
