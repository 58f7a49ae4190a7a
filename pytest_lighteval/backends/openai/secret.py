"""The API key, in an object that shows it to nobody: a local variable, a report or a log that holds the object does not hold the key."""

from __future__ import annotations

import json
import logging
import os
from urllib.parse import quote

HIDDEN = "***"
"""What stands in place of a key."""
_CERTAIN = 12
"""Characters from which on a key in an answer can only be the key. `EMPTY`, which servers without keys are given, is also a word."""


class Secret:
    """A key, whose representation is not the key."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    @classmethod
    def of_environment(cls, variable: str) -> Secret | None:
        """The variable's value without the space around it. None: it is not set, or empty."""
        return cls(os.environ[variable].strip()) if os.environ.get(variable, "").strip() else None

    def __repr__(self) -> str:
        return HIDDEN

    def __reduce__(self) -> str:
        raise TypeError("a key is not copied")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def fits_a_header(self) -> bool:
        """Whether the key can be sent. An HTTP library would show another one in its own error."""
        return self._value.isascii() and self._value.isprintable() and " " not in self._value

    def as_header(self) -> str:
        """The value of the header `authorization`. Keep it in no variable."""
        return f"Bearer {self._value}"

    def hide(self, text: str) -> str:
        """The text without the key, also where it stands as in an address or in JSON."""
        for form in self._forms():
            if form in text:
                text = text.replace(form, HIDDEN)
        return text

    def hide_in_answer(self, text: str) -> str:
        """The same for a model's answer, where a short key may be a word of the answer."""
        return self.hide(text) if len(self._value) >= _CERTAIN else text

    def hide_in_content(self, content: bytes) -> bytes:
        """The same for the bytes of a reply, in UTF-8 or UTF-16."""
        if len(self._value) >= _CERTAIN:
            for code in ("utf-8", "utf-16-le", "utf-16-be"):
                for form in self._forms():
                    if form.encode(code) in content:
                        content = content.replace(form.encode(code), HIDDEN.encode(code))
        return content

    def _forms(self) -> tuple[str, ...]:
        """The key as it is, as in an address, and as in JSON."""
        return tuple(dict.fromkeys((self._value, quote(self._value, safe=""), json.dumps(self._value)[1:-1].replace("/", "\\/"))))


class KeyFilter(logging.Filter):
    """Takes a key out of log records: the HTTP library logs what a server sends, which may repeat the key."""

    def __init__(self, key: Secret | None) -> None:
        super().__init__()
        self._key = key

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record through, without the key."""
        if self._key is not None:
            message = record.getMessage()
            hidden = self._key.hide(message)
            if hidden != message:
                record.msg, record.args = hidden, ()
        return True
