"""Options that have no effect beside the others. Each is a usage error if it was typed for this very session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from pytest_lighteval.baselines.align import MismatchKind
from pytest_lighteval.errors import UserInputError
from pytest_lighteval.gates.gate_settings import ALLOWANCES
from pytest_lighteval.plugin.options import has_own

_POLICY = ("gate_max_drop", "gate_min_effect", "gate_alpha", "gate_inconclusive")
_WITHOUT_BASELINE = frozenset(ALLOWANCES) - ({*MismatchKind} - {MismatchKind.TRUNCATED, MismatchKind.SCORES})
"""What `--gate-allow` tolerates in a session with floors alone."""


_OF_JUDGES = ("judge_opponent", "judge_preflight", "judge_max_unparsed", "judge_anchors", "judge_max_calls", "judge_parity")
_NO_JUDGE = "--judge-backend, or a lighteval_judge fixture: no answer is judged"


def check_idle_options(config: pytest.Config, values: Mapping[str, Any]) -> None:
    """Raise UserInputError for an option of the command line that changes nothing.

    The ini file may have it for other sessions; so may `addopts`. `values`: all options, from wherever they come.
    """
    typed = {name for name, value in values.items() if value not in (None, [], "") and is_typed(config, name)}
    is_compared = any(values[name] for name in ("baseline", "against_backend", "against_model_args", "checkpoints"))
    shows_plan = bool(values["gate_plan"]) or bool(config.option.collectonly)
    allowed = {kind.strip() for text in values["gate_allow"] or () for kind in text.split(",")}
    needs_baseline = "--baseline, --against-backend or --against-model-args: no score is compared"
    idle = {
        **{name: needs_baseline for name in _POLICY if not (is_compared or shows_plan)},
        **({} if is_compared or shows_plan or allowed & _WITHOUT_BASELINE else {"gate_allow": needs_baseline}),
        **({} if values["strip_reasoning"] else {"reasoning_tags": "--strip-reasoning: no reasoning is removed"}),
        **({} if values["backend"] else {"override_batch_size": "--backend"}),
        **({} if values["judge_backend"] or has_own(config, "lighteval_judge") else dict.fromkeys(_OF_JUDGES, _NO_JUDGE)),
        **({} if values["pool"] else dict.fromkeys(("ray_address", "ray_args"), "--pool ray")),
        **({} if values["run_model_code"] else dict.fromkeys(("sandbox", "sandbox_image"), "--run-model-code: no program runs")),
    }
    for name, lacks in idle.items():
        if name in typed:
            raise UserInputError(f"{written(name)} is given without {lacks}")
    if "few_shots" in typed and values["tasks"]:
        raise UserInputError("--few-shots is given beside --tasks, whose specs have counts of their own: write the counts there")
    for name in ("cache_dir", "cache_size"):
        if {name, "no_cache"} <= typed:
            raise UserInputError(f"{written(name)} is given beside --no-cache: nothing is kept")


def written(name: str) -> str:
    """An option as users write it."""
    return f"--{name.replace('_', '-')}"


def is_typed(config: pytest.Config, name: str) -> bool:
    """Whether the command line itself has the option, not `addopts`."""
    long, short = written(f"lighteval_{name}"), written(name)
    return any(str(argument).partition("=")[0] in (long, short) for argument in config.invocation_params.args)
