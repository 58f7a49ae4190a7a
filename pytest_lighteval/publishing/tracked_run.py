"""`trackio`, `wandb`, `mlflow`, `tensorboard`: a run as numbers by name at one step."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_lighteval.publishing.finished_run import FinishedRun, interval
from pytest_lighteval.publishing.publication import Publication


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedRun:
    """What a tracker gets."""

    name: str
    """The run's id."""
    config: Mapping[str, Any]
    """Plain values: model, arguments, settings, versions."""
    numbers: Mapping[str, float]
    """`suite/task/<n>-shot/metric` -> its value, and the same with `_stderr`, `_lower` and `_upper`. Finite."""
    step: int


def tracked_run(run: FinishedRun, *, step: int) -> TrackedRun:
    """The numbers of all tasks and supersets. A superset is `suite/mmlu/_average/5-shot`."""
    numbers: dict[str, float] = {}
    for key, metrics in run.results["metrics"].items():
        for name, number in metrics.items():
            value, stderr = float(number["value"]), None if number["stderr"] is None else float(number["stderr"])
            place = f"{_place(key)}/{_name(name)}"
            found = {place: value, f"{place}_stderr": stderr}
            if (around := interval(value, stderr)) is not None:
                found |= {f"{place}_lower": around[0], f"{place}_upper": around[1]}
            numbers |= {text: one for text, one in found.items() if one is not None and math.isfinite(one)}
    config = {
        "model": run.model,
        "backend": run.report.backend.get("name"),
        "fingerprint": run.report.backend.get("fingerprint"),
        "model_args": dict(run.report.model_args),
        "settings": dict(run.report.settings),
        "packages": dict(run.report.environment.get("packages", {})),
        "started": run.report.started,
    }
    return TrackedRun(name=run.report.run_id, config=json.loads(json.dumps(config, default=str)), numbers=numbers, step=step)


def tracker_publication(tracked: TrackedRun, kind: str, target: str) -> Publication:
    """What a tracker would get, as one JSON file: of a dry run."""
    content = {
        "tracker": kind,
        "target": target,
        "run": tracked.name,
        "step": tracked.step,
        "config": tracked.config,
        "numbers": tracked.numbers,
    }
    return Publication(target=target, files={f"{kind}.json": (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()})


def _place(key: str) -> str:
    if key.count("|") < 2:
        return key
    suite, task, few_shots, *flag = key.split("|")
    return "/".join([suite, *(_name(part) for part in task.split(":")), f"{few_shots}-shot" + ("-trunc" if flag == ["1"] else "")])


def _name(text: str) -> str:
    """Trackers take letters, digits and few marks."""
    return re.sub(r"[^\w.-]+", "_", text)
