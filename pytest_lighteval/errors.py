"""The errors that users see. Each is one line: where, what is wrong, what would be right.

LightevalError
├── UserInputError        wrong option, suite file, task spec, model argument: nothing was evaluated
│   └── FileError         a line of a suite file, gates file...: `path:line: field: problem`
├── DataError             a data set, subset, split, column or row is missing or malformed
├── PromptError           a row could not be rendered into a Doc
├── NothingToAskError     a part of a task (`--shard`) has no document
├── NotJudgedError        a metric gave up on one document, whose other metrics count
├── MissingExtraError     an optional dependency is not installed; names the `pip install` line
└── BackendError          the model could not be loaded, or cannot do what was asked
    ├── BackendLostError      the backend cannot be asked any more: the session ends
    ├── RequestsFailedError   some requests of a task have no answer; the task has no score
    ├── GraderError           what runs or reads answers cannot do so here: no score would be true
    └── UnsupportedRequestError   the backend turns out not to support a kind of request; the task is skipped, or fails if it has a gate
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class LightevalError(Exception):
    """Base of everything that this package raises on purpose. Its text is one line."""


class UserInputError(LightevalError):
    """Something the user wrote is wrong."""


class FileError(UserInputError):
    """A line of a file is wrong, such as a suite file, a gates file or a waiver: `path:line: field: problem`."""

    def __init__(self, path: Path | str, line: int, field: str, problem: str) -> None:
        self.path, self.line, self.field, self.problem = str(path), line, field, problem
        super().__init__(f"{path}:{line}: {field}: {problem}" if field else f"{path}:{line}: {problem}")


SuiteError = FileError
"""The old name of FileError, which was raised for suite files only."""


class DataError(LightevalError):
    """A data set, subset, split, column or row is missing, or not as the task needs it."""


class PromptError(LightevalError):
    """A row could not be rendered into a document."""


class NothingToAskError(LightevalError):
    """A part of a task (`--shard`) has no document: the task is skipped there."""


class NotJudgedError(LightevalError):
    """A metric gives up on one document: judging it would take too long. It is counted, and its details say why."""


class MissingExtraError(LightevalError):
    """An optional dependency is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        self.extra = extra
        super().__init__(f"{what} is not installed: pip install 'pytest-lighteval[{extra}]'")


class BackendError(LightevalError):
    """The model could not be loaded, or cannot do what was asked."""


class BackendLostError(BackendError):
    """The backend failed, and its further answers may be wrong or never come: the session ends.

    For example, one of several processes that answer together is out of step.
    """


class RequestsFailedError(BackendError):
    """Some requests have no answer, so the task has no score."""


class GraderError(BackendError):
    """What runs or reads answers cannot do so on this host, or with this judge: a score would not be true."""


class UnsupportedRequestError(BackendError):
    """The backend turns out not to support a kind of request, such as a server that returns no log-probabilities.

    The task is skipped with this reason, like one whose kind is not in `Backend.supports`.
    """


def first_line(error: BaseException) -> str:
    """The first line of an error's text that is not blank, or the name of its type."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def in_one_line(error: BaseException) -> str:
    """An error's whole text with its lines joined, or the name of its type."""
    return " ".join(str(error).split()) or type(error).__name__


def did_you_mean(name: str, known: Iterable[str], *, most: int = 3) -> str:
    """` (did you mean 'a' or 'b'?)`, or the empty string if no name is near.

    Names are compared by `difflib`, in lower case; the order of `known` does not matter.
    """
    near = near_names(name, known, most=most)
    return f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""


def near_names(name: str, known: Iterable[str], *, most: int = 3) -> list[str]:
    """The names that are near, the nearest first; see `did_you_mean`."""
    by_lower = {candidate.lower(): candidate for candidate in sorted(known, reverse=True)}
    return [by_lower[match] for match in difflib.get_close_matches(name.lower(), by_lower, n=most, cutoff=0.6)]
