"""`--run-model-code` and `--sandbox`: the sandbox of a session, chosen once, and the grader that runs programs in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.backends.cache.answer_store import AnswerStore
from pytest_lighteval.errors import GraderError, UserInputError, did_you_mean
from pytest_lighteval.graders.code import CodeGrader
from pytest_lighteval.metrics import metrics_of
from pytest_lighteval.plugin.workers import worker_count
from pytest_lighteval.sandbox.kinds import KINDS, Kind
from pytest_lighteval.sandbox.pool import default_size
from pytest_lighteval.sandbox.self_test import choose
from pytest_lighteval.types import Task

AUTO = "auto"
REFUSED = "its answers are programs, and running them needs --run-model-code"
_HANDED = "lighteval_sandbox"
_NO_CALL = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSettings:
    """What the options ask."""

    asked: str = AUTO
    """A kind, or `auto`."""
    image: str | None = None
    """For podman and docker. None: Python's own."""


def read_sandbox(values: Mapping[str, Any]) -> SandboxSettings | None:
    """The settings of `--run-model-code`; None without it. Raises UserInputError."""
    asked, image = values["sandbox"] or AUTO, values["sandbox_image"]
    if asked not in (AUTO, *KINDS):
        raise UserInputError(f"--sandbox {asked}: there are {', '.join((AUTO, *KINDS))}{did_you_mean(asked, KINDS)}")
    if image is not None and asked not in ("podman", "docker"):
        raise UserInputError(f"--sandbox-image {image}: is for --sandbox podman and docker")
    return SandboxSettings(asked=asked, image=image) if values["run_model_code"] else None


def needs_sandbox(task: Task) -> bool:
    """Whether something must run to score its answers."""
    return any(entry.grader == "sandbox" for entry in metrics_of(task))


class SessionSandbox:
    """The kind is chosen when it is first asked for: by the controller for its workers, or by the one process.

    Args:
        settings: None: model code may not run.
        config: The session's.
        verdicts: The folder of remembered verdicts. None: none are kept.
        limit_bytes: Of that folder.
    """

    def __init__(self, settings: SandboxSettings | None, config: pytest.Config, *, verdicts: Path | None, limit_bytes: int) -> None:
        self.settings = settings
        self._config = config
        self._folder = verdicts
        self._limit_bytes = limit_bytes
        self._chosen: tuple[Kind, tuple[str, ...]] | GraderError | None = None
        self._grader: CodeGrader | None = None

    def kind(self) -> Kind:
        """The sandbox's. Raises GraderError if none holds on this host."""
        return self._choice()[0]

    def _choice(self) -> tuple[Kind, tuple[str, ...]]:
        assert self.settings is not None
        if self._chosen is None:
            handed: Kind | None = getattr(self._config, "workerinput", {}).get(_HANDED)
            try:
                self._chosen = choose(self.settings.asked, image=self.settings.image) if handed is None else (handed, ())
            except GraderError as error:
                self._chosen = error
        if isinstance(self._chosen, GraderError):
            raise self._chosen
        return self._chosen

    def hand(self, node: Any) -> None:
        """Give a worker that is about to start the kind, so that none tests the host again."""
        if self.settings is not None:
            try:
                node.workerinput[_HANDED] = self.kind()
            except GraderError:
                node.workerinput[_HANDED] = None

    def header(self) -> list[str]:
        """One line for the top of pytest's output; none if model code may not run, or nothing will."""
        if self.settings is None or self._config.option.collectonly or hasattr(self._config, "workerinput"):
            return []
        try:
            kind, passed_over = self._choice()
        except GraderError as error:
            return [f"lighteval: model code cannot run: {error}"]
        if kind == "none":
            return ["lighteval: model code runs without a sandbox: it can read and change whatever you can (--sandbox none)"]
        why = f" ({'; '.join(passed_over)})" if passed_over else ""
        return [f"lighteval: model code runs in a sandbox: {kind}{why}"]

    def grader(self) -> CodeGrader:
        """The one of this process, which lives as long as the session. Raises GraderError."""
        if self._grader is None:
            assert self.settings is not None
            size = max(1, default_size() // worker_count(self._config))
            store = None if self._folder is None else _Verdicts(self._folder, self._limit_bytes, self._config.add_cleanup)
            self._grader = CodeGrader(self.kind(), size=size, image=self.settings.image, verdicts=store)
            self._config.add_cleanup(self._grader.close)
        return self._grader


class _Verdicts:
    """A file of verdicts, which many processes read and write."""

    def __init__(self, folder: Path, limit_bytes: int, on_close: Callable[[Callable[[], None]], object]) -> None:
        self._store = AnswerStore(folder, limit_bytes=limit_bytes)
        on_close(self._store.close)

    def find(self, key: bytes) -> bytes | None:
        """What was written in an earlier session."""
        return next((found.value for found in self._store.find([key], _NO_CALL)), None)

    def write(self, key: bytes, value: bytes) -> None:
        """Keep it."""
        self._store.write(key, _NO_CALL, value)
