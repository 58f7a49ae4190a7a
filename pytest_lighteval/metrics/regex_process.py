"""Regular expressions out of a data set, with a limit on each search. Python's can take exponential time, and cannot be interrupted."""

from __future__ import annotations

import atexit
import re
from typing import Any

from pytest_lighteval.errors import NotJudgedError
from pytest_lighteval.metrics.limited_process import LimitedProcess

CPU_SECONDS = 5
"""For one search. What takes longer is not judged."""

_PLAIN_LENGTH = 200
_OPERATORS = re.compile(r"[\\*+?{}\[\]()|^$]")

_PROCESS = LimitedProcess("regex_worker.py", what="the program for regular expressions")
close = _PROCESS.close
atexit.register(close)


def occurs(pattern: str, text: str, *, ignore_case: bool = False) -> bool:
    """Does the expression match anywhere? Raises re.error if it is none, and NotJudgedError if the search takes too long."""
    flags = re.IGNORECASE if ignore_case else 0
    compiled = _compiled(pattern, flags)
    return compiled.search(text) is not None if _is_plain(pattern) else bool(_asked(pattern, text, flags, first_only=True))


def count(pattern: str, text: str, *, ignore_case: bool = False, around: tuple[str, str] = ("", "")) -> int:
    """How many matches do not overlap? Raises as `occurs` does.

    Args:
        pattern: Of the data set.
        text: Is searched.
        ignore_case: For letters.
        around: Our own part of the expression, before and after the pattern; no search for it alone takes long.
    """
    flags = re.IGNORECASE if ignore_case else 0
    whole = pattern.join(around)
    compiled = _compiled(whole, flags)
    return sum(1 for _ in compiled.finditer(text)) if _is_plain(pattern) else _asked(whole, text, flags, first_only=False)


def _is_plain(pattern: str) -> bool:
    r"""Without any repetition or alternative, so that the time to search for it is linear. `\b` is allowed."""
    return len(pattern) <= _PLAIN_LENGTH and not _OPERATORS.search(pattern.replace(r"\b", ""))


def _compiled(pattern: str, flags: int) -> re.Pattern[str]:
    try:
        return re.compile(pattern, flags)
    except (RecursionError, OverflowError) as error:
        raise re.error("it is nested too deeply or too large", pattern) from error


def _asked(pattern: str, text: str, flags: int, *, first_only: bool) -> int:
    question: dict[str, Any] = {"pattern": pattern, "text": text, "flags": int(flags), "first_only": first_only, "cpu_seconds": CPU_SECONDS}
    answer = _PROCESS.ask(question)
    if answer is None:
        shown = pattern if len(pattern) <= 60 else f"{pattern[:60]}..."
        raise NotJudgedError(f"the regular expression {shown!r} takes over {CPU_SECONDS} s in a text of {len(text)} characters")
    return int(answer)
