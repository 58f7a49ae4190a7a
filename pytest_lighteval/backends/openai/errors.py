"""Why a request has no answer: this one alone, or every one like it."""

from __future__ import annotations

from pytest_lighteval.errors import BackendError


class UnansweredError(Exception):
    """This request has no answer; others may have one.

    Args:
        message: why.
        is_outage: the server did not answer at all, or what is no answer to anything, so nothing is known about what it can do. A status
            500 is not an outage: several servers answer with it to what they cannot do.
    """

    def __init__(self, message: str, *, is_outage: bool = False) -> None:
        self.is_outage = is_outage
        super().__init__(message)


class RefusedError(UnansweredError):
    """The server refuses this request. Another try would not change that."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


class FinalStatusError(BackendError):
    """A status that every request for this path or model would get."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)
