"""Quasi-exact match and F1 of words in many languages, without their articles, with words split by their own rules."""

from __future__ import annotations

import re
import string
import unicodedata
from functools import partial

from pytest_lighteval.metrics.libraries import split_words_of
from pytest_lighteval.metrics.matches import Compare, best_over_golds, is_match, word_f1
from pytest_lighteval.metrics.word_rules import WORD_RULES, WordRules
from pytest_lighteval.types import Metric

COMPARISONS: tuple[Compare, ...] = ("full", "prefix", "suffix")


def normalize(text: str, rules: WordRules) -> str:
    """Lower case without articles and punctuation, one space between words. Only articles in lower case are removed.

    Raises MissingExtraError if the package that knows the language's words is not installed.
    """
    if rules.articles is not None:
        text = re.sub(rf"\b({rules.articles})\b", " ", text)
    bare = "".join(letter for letter in text if letter not in string.punctuation and not unicodedata.category(letter).startswith("P"))
    return " ".join(bare.lower().split() if rules.spacy is None else split_words_of(bare.lower(), rules.spacy))


def _exact(name: str, rules: WordRules, compare: Compare) -> Metric:
    normalizer = partial(normalize, rules=rules)
    score = partial(is_match, compare=compare, gold_normalizer=normalizer, prediction_normalizer=normalizer)
    return best_over_golds(f"multilingual_quasi_em_{compare}_{name}", f"exact_match_{rules.code}_{compare}", score)


def _f1(name: str, rules: WordRules) -> Metric:
    def score(gold: str, text: str) -> float:
        return word_f1(normalize(gold, rules), normalize(text, rules))

    return best_over_golds(f"multilingual_quasi_f1_{name}", f"f1_{rules.code}", score)


METRICS = (
    *(_exact(name, rules, compare) for name, rules in WORD_RULES.items() for compare in COMPARISONS),
    *(_f1(name, rules) for name, rules in WORD_RULES.items()),
)
