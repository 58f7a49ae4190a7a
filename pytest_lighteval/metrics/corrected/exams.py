"""Questions of the French baccalaureate: some offer choices, the others have an answer in words, numbers or LaTeX."""

from __future__ import annotations

import re
import string

from pytest_lighteval.common.statistics import MEAN
from pytest_lighteval.metrics.corrected import boxes
from pytest_lighteval.metrics.corrected.canonical import canonical
from pytest_lighteval.metrics.corrected.letters import announced_letter
from pytest_lighteval.metrics.corrected.words import words_of
from pytest_lighteval.metrics.languages import LANGUAGES
from pytest_lighteval.types import Ask, Doc, GenerateResponse, Metric

_ANNOUNCED = re.compile(r"\bréponse\s*(?:est|:)\s*:?\s*(.+)", re.IGNORECASE)


def french_answer(text: str) -> str:
    """The content of the last box, what follows the last "réponse :" up to the line's end, or the last line."""
    plain = canonical(text).strip()
    if (box := boxes.last_box(plain)) is not None:
        return box
    announced = _ANNOUNCED.findall(plain)
    return (announced[-1] if announced else plain.rpartition("\n")[2]).strip(" .*")


def _is_same(gold: str, answer: str) -> bool:
    right, given = (re.sub(r"(?<=\d),(?=\d)", ".", text.strip("$ ")) for text in (gold, answer))  # French writes decimals with a comma
    words = words_of(right, articles=())
    if (bool(words) and words == words_of(given, articles=())) or boxes.are_same(right, given):
        return True
    tuples = [_tuple(text) for text in (gold, answer)]
    return ";" in gold + answer and all(tuples) and boxes.are_same(*tuples)


def _tuple(text: str) -> str:
    """A pair or an interval with commas between its parts; French writes `(1{,}5 ; 2)`. Empty: it is none."""
    bare = re.sub(r"\\(?:left|right)\b", "", text.strip("$ ")).replace("{,}", ",")
    if bare[:1] not in tuple("([]") or bare[-1:] not in tuple(")[]"):
        return ""
    return re.sub(r"(?<=\d),(?=\d)", ".", bare).replace(";", ",") if ";" in bare else bare


def _sample(doc: Doc, response: GenerateResponse) -> dict[str, float]:
    """1 for the letter or the text of the right choice, or for an answer that is the same in words or by mathematics."""
    answer = french_answer(response.texts[0])
    # a gold is an answer too: as an example, it announces itself
    if any(_is_same(french_answer(gold), answer) for gold in doc.golds):
        return {"em": 1.0}
    letter = announced_letter(response.texts[0], len(doc.choices), LANGUAGES["french"]) if len(doc.choices) > 1 else None
    return {"em": float(letter is not None and letter in (string.ascii_uppercase[index] for index in doc.gold))}


METRICS = (Metric(name="exact_match_bac_fr_corrected", ask=Ask.GENERATION, sample=_sample, corpus={"em": MEAN}),)
