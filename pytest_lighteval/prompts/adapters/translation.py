"""Rows of translation test sets, as lighteval/sacrebleu_manual stores those of sacreBLEU (https://aclanthology.org/W18-6319)."""

from __future__ import annotations

import ast
from typing import Any

LANGUAGES = {
    "ar": "Arabic", "cs": "Czech", "de": "German", "en": "English", "es": "Spanish", "et": "Estonian", "fi": "Finnish",
    "fr": "French", "gu": "Gujarati", "hi": "Hindi", "hu": "Hungarian", "it": "Italian", "iu": "Inuktitut", "ja": "Japanese",
    "kk": "Kazakh", "km": "Khmer", "ko": "Korean", "lt": "Lithuanian", "lv": "Latvian", "pl": "Polish", "ps": "Pushto",
    "ro": "Romanian", "ru": "Russian", "ta": "Tamil", "tr": "Turkish", "zh": "Chinese",
}  # fmt: skip
"""Two-letter code -> English name, both of ISO 639."""


def name_languages(row: dict[str, Any]) -> dict[str, Any]:
    """`texts` and `languages`, by code. `translation` is a mapping or, as a Python literal, one of lists, of which the first counts."""
    translation = row["translation"]
    if isinstance(translation, str):
        translation = ast.literal_eval(translation)
    texts = {code: text if isinstance(text, str) else text[0] for code, text in translation.items()}
    return {**row, "texts": {code: text.rstrip() for code, text in texts.items()}, "languages": LANGUAGES}
