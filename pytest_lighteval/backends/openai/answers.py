"""What stands in a server's answer: JSON of any form, until these functions have looked at it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from pytest_lighteval.backends.openai.errors import UnansweredError

_MOST_TOKENS = 2**53


def json_object(content: bytes) -> dict[str, Any] | None:
    """The object that the bytes are in UTF-8, 16 or 32, whatever character set a header claims. None: they are none."""
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def error_text(content: bytes) -> str:
    """The message of an error reply: OpenAI's `error.message`, FastAPI's `detail`, or the text itself."""
    answer = json_object(content)
    return content.decode("utf-8", "replace") if answer is None else _message(answer.get("error", answer))


def error_in(answer: Mapping[str, Any], *, has_choices: bool) -> str | None:
    """Why an answer is none, though its status says that all is well. None: it is one."""
    if answer.get("error"):
        return _message(answer["error"])
    if not has_choices:
        return None
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices:
        said = answer.get("message") or answer.get("detail")
        return f"it has no choices: {_message(said)}" if said else "it has no choices"
    return next((_message(choice["error"]) for choice in choices if isinstance(choice, dict) and choice.get("error")), None)


def only_choice(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The choice of index 0, which is all that was asked for. Raises UnansweredError."""
    choices = answer.get("choices")
    listed = [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
    if len(listed) == 1 and listed[0].get("index") is None:
        return listed[0]
    first = [choice for choice in listed if type(choice.get("index")) is int and choice["index"] == 0]
    if not listed:
        raise UnansweredError("the server's answer has no text")
    if len(first) != 1:
        raise UnansweredError("the server's answer has no choice of index 0, or several of them", is_outage=True)
    return first[0]


def token_count(answer: Mapping[str, Any], name: str) -> int | None:
    """`usage.prompt_tokens` or `usage.completion_tokens`. None: the server does not say it, or it is no count."""
    usage = answer.get("usage")
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if type(count) is int and 0 <= count < _MOST_TOKENS else None


def number(value: object) -> float:
    """A JSON number as a float. Raises ValueError for any other value, also for NaN, and for an integer that no float can be."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("it is no number")
    try:
        converted = float(value)
    except OverflowError:
        raise ValueError("it is no number") from None
    if math.isnan(converted):
        raise ValueError("it is not a number (nan)")
    return converted


def whole_text(text: str) -> str:
    """The text with pairs of surrogates joined, and a half pair replaced: nothing could write it."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _message(error: object) -> str:
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail") or error
    if isinstance(error, str):
        return error
    try:
        return json.dumps(error, ensure_ascii=False)
    except (ValueError, RecursionError):
        return "no reason given"
