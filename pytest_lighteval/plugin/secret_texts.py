"""Keys and passwords that a session knows: they are in no report and on no terminal, whatever an engine's error or a local variable shows.

A session knows those that the environment holds under a name such as `OPENAI_API_KEY` or `HF_TOKEN`, and those in the backend's arguments
(`api_key=...`, `headers={Authorization:...}`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_lighteval.reports.serialize import to_plain

MASK = "[secret]"
_SHORTEST = 8
"""A shorter text is no key, but `EMPTY` or `none`, and stands in other texts by chance."""
_PIECE = 4
"""Characters of a key beside the dots of a shortened text that are masked too."""
_ARGUMENT = re.compile(
    r"(?:^|[_-])(?:api_?key|(?:api|auth|access|bearer|hf|hub)_?token|secret(?:_?key)?|password|passwd|authorization|credentials?)$|^token$",
    re.IGNORECASE,
)
_VARIABLE = re.compile(r"(?:_API_?KEY|_TOKEN|_SECRET(?:_KEY)?|_PASSWORD)$")
_WRITTEN = re.compile(
    r"((?:api_?key|(?:api|auth|access|bearer|hf|hub)_?token|secret(?:_?key)?|password|authorization)(?:_env)?['\"]?\s*(?:=\s*|:(?=\S)))[^,}\n]+"
    r"|(\bBearer\s+)\S+|(://)[^/@\s]+(?=@)|\bsk-[\w-]{8,}",
    re.IGNORECASE,
)
"""What looks like a key where nothing is known yet: in an option that cannot be read."""


@dataclass(frozen=True, slots=True)
class SecretTexts:
    """Finds the secrets of a session in texts."""

    pattern: re.Pattern[str] | None = field(repr=False)
    """None: there is no secret. Not shown, as a traceback shows local variables."""
    marks: tuple[str, ...] = field(default=(), repr=False)
    """A text without any of these has nothing that the pattern finds, which is seen much faster. Empty: unknown."""

    def mask(self, text: str) -> str:
        """The text without the secrets, and without the pieces of them that a shortened text has."""
        if self.pattern is None or (self.marks and not any(mark in text for mark in self.marks)):
            return text
        return self.pattern.sub(MASK, text)

    def without(self, value: Any) -> Any:
        """The same for plain values; a text under the name of a secret is masked whatever it is."""
        if isinstance(value, str):
            return self.mask(value)
        if isinstance(value, Mapping):
            return {
                key: MASK if isinstance(member, str) and _ARGUMENT.search(str(key)) else self.without(member)
                for key, member in value.items()
            }
        if isinstance(value, list | tuple):
            return type(value)(self.without(member) for member in value)
        return value


def secret_texts(arguments: Iterable[Any], environ: Mapping[str, str]) -> SecretTexts:
    """The secrets in the arguments of backends and in an environment."""
    found = {value.strip() for name, value in environ.items() if _VARIABLE.search(name)}
    for given in map(to_plain, arguments):
        found.update(_named(given))
        # the variable of the key; what is no variable may be the key itself
        for name, value in given.items() if isinstance(given, dict) else ():
            if name.endswith("_key_env") and isinstance(value, str):
                found.add(environ.get(value, "").strip() if value in environ or _VARIABLE.search(value) else value)
    ordered = sorted((text for text in found if len(text) >= _SHORTEST), key=lambda text: (-len(text), text))
    if not ordered:
        return SecretTexts(None)
    return SecretTexts(re.compile("|".join(map(_pattern, ordered))), (*(form for text in ordered for form in _forms(text)), "...", "…"))


def _named(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, member in value.items():
            if isinstance(member, str) and _ARGUMENT.search(key):
                yield member
                yield from member.split()[1:]  # `Bearer ...`
            else:
                yield from _named(member)
    elif isinstance(value, list | tuple):
        for member in value:
            yield from _named(member)


def _forms(secret: str) -> tuple[str, ...]:
    """As it stands in a text, in JSON and in Python."""
    return tuple(dict.fromkeys((secret, json.dumps(secret)[1:-1], repr(secret)[1:-1])))


def _pattern(secret: str) -> str:
    lengths = range(len(secret) - 1, _PIECE - 1, -1)
    heads = "|".join(re.escape(secret[:length]) for length in lengths)
    tails = "|".join(re.escape(secret[-length:]) for length in lengths)
    return "|".join([*map(re.escape, _forms(secret)), rf"(?:{heads})(?=\.\.\.|…)", rf"(?<=\.\.\.)(?:{tails})", rf"(?<=…)(?:{tails})"])


def mask_likely(text: str) -> str:
    """A text of the user's own options without what looks like a key in it."""
    return _WRITTEN.sub(lambda found: (found[1] or found[2] or found[3] or "") + MASK, text)
