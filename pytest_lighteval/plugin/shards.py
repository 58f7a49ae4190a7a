"""`--shard`: which part of every task a session asks."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from pytest_lighteval.errors import UserInputError

Shard = tuple[int, int]
"""The number of a part, from 1 on, and how many there are."""
_ALONE = ("against_backend", "against_model_args", "gate_calibrate", "save_baseline", "gate_plan", "baseline_repin", "check_tasks")
"""Options that need whole tasks."""


def read_shard(values: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Shard | None:
    """What `--shard` says. None: whole tasks are asked. Raises UserInputError."""
    text = values["shard"]
    if text is None:
        return None
    for name in _ALONE:
        if values.get(name):
            raise UserInputError(f"--shard {text} and --{name.replace('_', '-')}: a part of a task has no score")
    if text == "slurm":
        return _of_slurm(environment)
    parts = re.fullmatch(r"(\d+)/(\d+)", text)
    if parts is None or not 1 <= int(parts[1]) <= int(parts[2]):
        raise UserInputError(f"--shard {text}: K/N with K from 1 to N was expected, or 'slurm'")
    return int(parts[1]), int(parts[2])


def _of_slurm(environment: Mapping[str, str]) -> Shard:
    names = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_COUNT")
    missing = [name for name in names if not environment.get(name, "").isdecimal()]
    if missing:
        raise UserInputError(f"--shard slurm: {missing[0]} is not set; this is no task of a Slurm array")
    number, least, count = (int(environment[name]) for name in names)
    step = environment.get("SLURM_ARRAY_TASK_STEP", "1")
    place, rest = divmod(number - least, int(step) if step.isdecimal() and int(step) > 0 else 1)
    if rest or not 0 <= place < count:
        raise UserInputError(
            f"--shard slurm: task {number} of an array of {count} from {least} with step {step} has no place; use an array without gaps"
        )
    return place + 1, count
