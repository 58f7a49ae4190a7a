"""Recovery mode: a second model is measured on the same documents first, and the session's model is compared with it.

The reference's items come before all others, so that a process holds one model at a time. Their results are kept in the run's folder,
since another xdist worker may need them. A worker that needs a missing result computes it, holding a file lock on the task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_lighteval.errors import LightevalError, UnsupportedRequestError
from pytest_lighteval.plugin.exchange import once
from pytest_lighteval.reports.serialize import task_result_from_plain, to_plain
from pytest_lighteval.types import Backend, TaskKey, TaskResult

FOLDER = "reference"
"""Of the run's folder, for the reference's details."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceResult:
    """What the reference measured of one task, or why it measured nothing."""

    result: TaskResult | None
    facts: Mapping[str, Any]
    """Of its backend."""
    problem: str | None = None
    """None: there is a result."""
    lacking: bool = False
    """The problem is that the backend cannot do what the task asks."""
    is_new: bool = False
    """It was measured for whoever asked, not before."""


class Reference:
    """The reference of one process. Its model is in memory from the first task that is measured with it until `release`.

    Args:
        make: a backend, cheaply; called again after a release.
        folder: the run's.
    """

    def __init__(self, make: Callable[[], Backend], folder: Path) -> None:
        self._make = make
        self._folder = folder / FOLDER
        self._backend: Backend | None = None

    def result(
        self, key: TaskKey, measure: Callable[[Backend, Path], TaskResult], *, lacking: Callable[[Backend], str | None]
    ) -> ReferenceResult:
        """What the reference measured of a task. The first worker that asks measures it, once in a run; the others wait.

        Args:
            key: of the task.
            measure: evaluates it, with details below the folder; its LightevalErrors are kept as the task's problem.
            lacking: what the backend cannot do of it.
        """
        plain, is_new = once(self._folder, key, lambda: self._measured(measure, lacking))
        result = None if plain["result"] is None else task_result_from_plain(plain["result"])
        return ReferenceResult(result=result, facts=plain["facts"], problem=plain["problem"], lacking=plain["lacking"], is_new=is_new)

    def _measured(self, measure: Callable[[Backend, Path], TaskResult], lacking: Callable[[Backend], str | None]) -> dict[str, Any]:
        outcome: dict[str, Any] = {"result": None, "facts": {}, "problem": None, "lacking": False}
        try:
            if self._backend is None:
                self._backend = self._make()
            outcome["facts"] = to_plain(facts_of(self._backend))
            outcome["problem"] = lacking(self._backend)
            outcome["lacking"] = outcome["problem"] is not None
            if outcome["problem"] is None:
                outcome["result"] = to_plain(measure(self._backend, self._folder))
        except UnsupportedRequestError as error:  # found out when it was asked
            outcome |= {"problem": str(error), "lacking": True}
        except LightevalError as error:
            outcome["problem"] = str(error)
        return outcome

    def model(self) -> Backend:
        """The reference's backend, for its facts: made anew after a release, which is cheap."""
        if self._backend is None:
            self._backend = self._make()
        return self._backend

    def release(self) -> None:
        """Give the model's memory back."""
        if self._backend is not None:
            self._backend.close()
            self._backend = None


def facts_of(backend: Backend) -> dict[str, Any]:
    """What a report says of a backend."""
    return {"name": backend.name, "fingerprint": backend.fingerprint, "max_length": backend.max_length, **backend.describe()}
