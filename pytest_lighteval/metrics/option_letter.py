"""Multiple choice whose answer is a text: the option that it chooses, by rule and without a judge."""

from __future__ import annotations

from pytest_lighteval.common.statistics import MEAN
from pytest_lighteval.metrics.corrected.canonical import canonical
from pytest_lighteval.metrics.corrected.letters import announced_letter
from pytest_lighteval.types import Ask, Doc, GenerateResponse, Metric


def chosen_option(doc: Doc, text: str) -> int | None:
    """The index of the option that the text chooses: by its letter, else by being the only option whose text it has. None: it chooses none.

    MixEval's rule parser (arXiv:2406.06565) looks for the letter first and for the option's text then, too.
    """
    letter = announced_letter(text, len(doc.choices))
    if letter is not None:
        return ord(letter) - ord("A")
    said = " ".join(canonical(text).casefold().split())
    options = [" ".join(canonical(choice).casefold().split()) for choice in doc.choices]
    exact = [index for index, option in enumerate(options) if option and said.rstrip(".") == option.rstrip(".")]
    held = exact or [index for index, option in enumerate(options) if option and f" {option} " in f" {_words(said)} "]
    return held[0] if len(held) == 1 else None


def _words(text: str) -> str:
    """The text with marks at the ends of words as spaces, so that an option is found before a comma."""
    return " ".join(word.strip(".,;:!?()[]\"'*") for word in text.split())


def _sample(doc: Doc, response: GenerateResponse) -> dict[str, float]:
    return {"option_acc": float(chosen_option(doc, response.texts[0]) in doc.gold)}


def _extract(doc: Doc, text: str) -> str | None:
    chosen = chosen_option(doc, text)
    return None if chosen is None or chosen >= len(doc.choices) else doc.choices[chosen]


METRICS = (Metric(name="option_letter", ask=Ask.GENERATION, sample=_sample, corpus={"option_acc": MEAN}, extract=_extract),)
