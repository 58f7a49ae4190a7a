"""ROUGE for texts in any script: rouge-score's own tokenizer keeps a-z and 0-9 alone, so a Chinese text equals nothing."""

from __future__ import annotations

import unicodedata

from pytest_lighteval.common.statistics import MEAN
from pytest_lighteval.metrics.corrected.canonical import canonical
from pytest_lighteval.metrics.overlap import ROUGES, rouge
from pytest_lighteval.types import Ask, Doc, GenerateResponse, Metric

_WITHOUT_SPACES = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "BOPOMOFO", "YI")
"""How the names of characters begin, in scripts that write words without spaces."""


def script_words(text: str) -> list[str]:
    """Lower-case runs of letters, marks and digits; in scripts without spaces, each letter with its marks.

    For ASCII texts, the words of rouge-score's tokenizer without stemming. Characters as units are what ROUGE on Chinese commonly uses
    (LCSTS: Hu et al. 2015, arXiv:1506.05865, section 4).
    """
    words: list[str] = []
    within = goes_on = False
    for letter in canonical(text).lower():
        kind = unicodedata.category(letter)[0]
        alone = kind == "L" and not letter.isascii() and unicodedata.name(letter, "").startswith(_WITHOUT_SPACES)
        if (kind == "M" and within) or (kind in "LN" and goes_on and not alone):
            words[-1] += letter
        elif kind in "LN":
            words.append(letter)
            goes_on = not alone
        else:
            goes_on = False
        within = kind in "LN" or (kind == "M" and within)
    return words


def _rouge(name: str) -> Metric:
    """The best over the references, as in Lin 2004 (https://aclanthology.org/W04-1013, section 2.1)."""

    def sample(doc: Doc, response: GenerateResponse) -> dict[str, float]:
        return {name: rouge(doc.golds, response.texts[0], name, words_of=script_words, over=max)}

    return Metric(name=f"{name}_corrected", ask=Ask.GENERATION, sample=sample, corpus={name: MEAN})


METRICS = tuple(map(_rouge, ROUGES))
