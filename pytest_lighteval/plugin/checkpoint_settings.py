"""`--checkpoints`: which checkpoints a session measures, whether it waits for more, and how a model argument names each."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pytest_lighteval import backends
from pytest_lighteval.backends.checkpoints import Checkpoint, find_checkpoints
from pytest_lighteval.errors import UserInputError
from pytest_lighteval.plugin.options import has_own_backend
from pytest_lighteval.plugin.torchrun import LAUNCHED

_EXCLUDED = (
    "baseline",
    "baseline_pinned",
    "save_baseline",
    "against_backend",
    "against_model_args",
    "gate_calibrate",
    "gate_plan",
    "gate_defer",
    "gate_canary",
    "gate_sequential",
    "waivers",
    "shard",
    "check_tasks",
    "judge_backend",
    "judge_answers",
    "judge_opponent",
)
"""Options that say otherwise what the session measures, what its scores are compared with, or who judges its answers."""
_UNITS = {"": 1.0, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}
_EVERY = "60s"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSettings:
    """The checkpoints of a session."""

    patterns: tuple[str, ...]
    """As the user wrote them."""
    folder: Path
    """What they are relative to."""
    arguments_of: Callable[[Checkpoint], msgspec.Struct]
    """The model arguments of a checkpoint. Raises UserInputError."""
    every: float | None
    """Seconds between two looks for further checkpoints. None: nobody waits for more."""
    until: int | None
    """The session ends after a checkpoint of this step or a later one. None: when it is ended."""

    def find(self, *, may_be_gone: bool = False) -> list[Checkpoint]:
        """What is there now, complete or not. Raises UserInputError, unless `may_be_gone`: at a later look."""
        return find_checkpoints(self.patterns, self.folder, may_be_gone=may_be_gone)


def read_checkpoints(
    config: pytest.Config, values: Mapping[str, Any], folder: Path, make: Callable[[Mapping[str, str]], msgspec.Struct]
) -> CheckpointSettings | None:
    """What the options ask for. None: the session measures one model.

    Args:
        config: of the session.
        values: all options.
        folder: where pytest was started.
        make: model arguments from those of `--model-args` and these.

    Raises:
        UserInputError: An option is wrong, or excludes another.
    """
    patterns = values["checkpoints"]
    if not patterns:
        for name in ("watch", "every", "until"):
            if values[name]:
                raise UserInputError(f"--{name} is given without --checkpoints, which names what to watch")
        return None
    if values["backend"] is None or has_own_backend(config):
        raise UserInputError("--checkpoints needs --backend: a lighteval_backend of a conftest is one model")
    for name in _EXCLUDED:
        if values[name]:
            option = f"--{name.replace('_', '-')}"
            why = (
                "judge a checkpoint's answers afterwards, with --judge-answers"
                if "judge" in name
                else "checkpoints are compared with each other"
            )
            raise UserInputError(f"--checkpoints and {option}: {why}; leave one out")
    if getattr(config.option, "numprocesses", None) or getattr(config.option, "tx", None):
        raise UserInputError("--checkpoints and -n: one engine is in memory at a time; --replicas N answers each task with N engines")
    if LAUNCHED in os.environ:
        raise UserInputError("--checkpoints and a launcher such as torchrun: its processes are made for one model; start pytest without it")
    if not values["watch"]:
        for name in ("every", "until"):
            if values[name]:
                raise UserInputError(f"--{name} is given without --watch")
    known = backends.load_backend(values["backend"]).Arguments.__struct_fields__
    return CheckpointSettings(
        patterns=tuple(patterns),
        folder=folder,
        arguments_of=lambda checkpoint: make(checkpoint.arguments(known)),
        every=_seconds(values["every"] or _EVERY) if values["watch"] else None,
        until=_step(values["until"]),
    )


def placeholder(values: Mapping[str, Any]) -> dict[str, str]:
    """The model argument that stands for all checkpoints of a session, so that the other arguments can be checked before one is there."""
    if not values["checkpoints"] or values["backend"] is None:
        return {}
    pattern = str(values["checkpoints"][0]).partition(",")[0].strip()
    known = backends.load_backend(values["backend"]).Arguments.__struct_fields__
    return Checkpoint(name="all", step=0, place=pattern).arguments(known)


def _seconds(text: str) -> float:
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|)", text.strip())
    if parts is None or not float(parts[1]):
        raise UserInputError(f"--every {text}: a time was expected, such as 60s, 5min or 1h")
    return float(parts[1]) * _UNITS[parts[2]]


def _step(text: str | None) -> int | None:
    if text is not None and not text.isdecimal():
        raise UserInputError(f"--until {text}: a step was expected, such as 20000")
    return None if text is None else int(text)
