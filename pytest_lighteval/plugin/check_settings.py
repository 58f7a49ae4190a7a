"""The options of `--check-tasks`, checked; and those that mean nothing beside it, as no model is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.backends.common.token_counts import TokenCounts
from pytest_lighteval.checks.accepted import Accepted, load_accepted
from pytest_lighteval.checks.oracle import NoTokens, Tokens
from pytest_lighteval.errors import UserInputError, did_you_mean
from pytest_lighteval.plugin.idle_options import is_typed, written
from pytest_lighteval.types import Severity

MARK = "check"
"""In the name of an item, where an evaluation's has its few-shot count."""

_OF_CHECKS = ("check_fail_on", "check_accept", "check_model")
_USED = frozenset(
    (
        "check_tasks", *_OF_CHECKS, "tasks", "custom_tasks", "few_shots", "num_fewshot_seeds", "use_chat_template", "system_prompt",
        "data_home", "report_dir", "no_cache", "cache_dir", "cache_size", "threads",
    )
)  # fmt: skip
"""All other options are about a model or its scores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSettings:
    """What a session of the linter was asked."""

    fail_on: Severity
    """The least severity that fails a task."""
    accepted: tuple[Accepted, ...]
    model: str | None
    """Whose tokens are counted. None: nobody's."""
    tokens: Tokens


def read_check_settings(values: Mapping[str, Any], folder: Path) -> CheckSettings | None:
    """The linter's options, paths relative to `folder`. None: the session evaluates. Raises UserInputError for whatever is wrong."""
    if not values["check_tasks"]:
        return None
    severity = values["check_fail_on"] or Severity.ERROR.value
    names = [member.value for member in Severity]
    if severity not in names:
        raise UserInputError(f"--check-fail-on {severity}: error, warning or note was expected{did_you_mean(severity, names)}")
    model = values["check_model"]
    return CheckSettings(
        fail_on=Severity(severity),
        accepted=load_accepted(folder / values["check_accept"]) if values["check_accept"] else (),
        model=model,
        tokens=NoTokens() if model is None else TokenCounts(model, option="--check-model"),
    )


def without_model_options(config: pytest.Config, values: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a session of the linter has. Those of an ini file that are about a model are for other sessions.

    Raises UserInputError for one that was typed for this very session, and for options of the linter in a session that evaluates.
    """
    typed = {name for name, value in values.items() if value not in (None, [], "") and is_typed(config, name)}
    if not values["check_tasks"]:
        for name in _OF_CHECKS:
            if name in typed:
                raise UserInputError(f"{written(name)} is given without --check-tasks")
        return dict(values)
    for name in values:
        if name in typed - _USED:
            why = "which looks at all documents" if name == "max_samples" else "which asks no model"
            raise UserInputError(f"{written(name)} is given beside --check-tasks, {why}")
    return {name: value if name in _USED else None for name, value in values.items()}
