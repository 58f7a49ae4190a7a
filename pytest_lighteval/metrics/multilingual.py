"""Quasi-exact match and F1 of words in many languages, without their articles, with words split by their own rules."""

from __future__ import annotations

import re
import string
import unicodedata
from functools import partial

from pytest_lighteval.metrics.languages import LANGUAGES, Language
from pytest_lighteval.metrics.libraries import split_words_of
from pytest_lighteval.metrics.matches import Compare, best_over_golds, is_match, word_f1
from pytest_lighteval.types import Metric

COMPARISONS: tuple[Compare, ...] = ("full", "prefix", "suffix")


def normalize(text: str, language: Language) -> str:
    """Lower case without articles and punctuation, one space between words. Only articles in lower case are removed."""
    if language.articles is not None:
        text = re.sub(rf"\b({language.articles})\b", " ", text)
    bare = "".join(letter for letter in text if letter not in string.punctuation and not unicodedata.category(letter).startswith("P"))
    return " ".join(split_words_of(bare.lower(), language.spacy))


def _exact(name: str, language: Language, compare: Compare) -> Metric:
    normalizer = partial(normalize, language=language)
    score = partial(is_match, compare=compare, gold_normalizer=normalizer, prediction_normalizer=normalizer)
    return best_over_golds(f"multilingual_quasi_em_{compare}_{name}", f"exact_match_{language.code}_{compare}", score)


def _f1(name: str, language: Language) -> Metric:
    def score(gold: str, text: str) -> float:
        return word_f1(normalize(gold, language), normalize(text, language))

    return best_over_golds(f"multilingual_quasi_f1_{name}", f"f1_{language.code}", score)


# spaCy needs a dictionary of its own for each of the others
_SPLIT_BY_RULES = {name: language for name, language in LANGUAGES.items() if name not in ("japanese", "korean", "thai", "vietnamese")}

METRICS = (
    *(_exact(name, language, compare) for name, language in _SPLIT_BY_RULES.items() for compare in COMPARISONS),
    *(_f1(name, language) for name, language in _SPLIT_BY_RULES.items()),
)
