"""The words and marks of languages, read from `words.yaml`."""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

from pytest_lighteval.errors import PromptError, UserInputError, did_you_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """One language: its words in lower case, and its marks. None: the language has no such word here."""

    code: str
    """ISO 639-3."""
    name: str
    """In English."""
    tag: str
    """Its code on the hub (BCP 47)."""
    question_word: str | None = None
    answer: str | None = None
    confirmation_word: str | None = None
    """What makes a question of a statement, such as "right" in "..., right?"."""
    yes: str | None = None
    no: str | None = None
    also: str | None = None
    cause_word: str | None = None
    effect_word: str | None = None
    or_word: str | None = None
    and_word: str | None = None
    true: str | None = None
    false: str | None = None
    neither: str | None = None
    full_stop: str = "."
    comma: str = ","
    question_mark: str = "?"
    exclamation_mark: str = "!"
    word_space: str = " "
    """Between two words; empty in a script that joins them."""
    sentence_space: str = " "
    """Between two sentences."""
    colon: str = ":"
    semicolon: str = ";"

    def need(self, word: str) -> str:
        """One of the words. Raises PromptError if the language has it not."""
        found: str | None = getattr(self, word)
        if found is None:
            raise PromptError(f"{self.name} ({self.code}) has no word for {word!r}; prompt.words can give it")
        return found

    def with_ascii_marks(self) -> Words:
        """The same words with the marks and spaces of English."""
        marks: dict[str, Any] = {name: _DEFAULTS[name] for name in MARKS}
        return replace(self, **marks)


_DEFAULTS = {field.name: field.default for field in fields(Words)}
MARKS = ("full_stop", "comma", "question_mark", "exclamation_mark", "word_space", "sentence_space", "colon", "semicolon")
"""The fields that are punctuation and spaces."""
WORDS = tuple(name for name in _DEFAULTS if name not in ("code", "name", "tag"))
"""The fields that `prompt.words` may give: words and marks."""


def words_of(code: str, own: Mapping[str, str] | None = None) -> Words:
    """The words of a language by its ISO 639-3 code, with a user's `own` ones over them. Raises UserInputError for an unknown code."""
    known = _languages()
    if code not in known:
        tags = {entry["tag"]: name for name, entry in known.items()}
        near = f" (did you mean {tags[code]!r}?)" if code in tags else did_you_mean(code, known)
        raise UserInputError(f"there is no language {code!r}{near}; languages are named by their ISO 639-3 code, such as 'fra'")
    found = _built(code)
    return replace(found, **own) if own else found


def language_codes() -> tuple[str, ...]:
    """All that are known, sorted."""
    return tuple(sorted(_languages()))


@cache
def _built(code: str) -> Words:
    return Words(code=code, **_languages()[code])


@cache
def _languages() -> Mapping[str, Mapping[str, Any]]:
    import yaml  # only a session with such tasks needs it here

    text = importlib.resources.files(__package__).joinpath("words.yaml").read_text("utf-8")
    loaded: Mapping[str, Mapping[str, Any]] = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return loaded
