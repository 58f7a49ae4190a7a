"""The fitted parameters of tinyBenchmarks: how hard the items of a benchmark are, and how much each anchor counts.

Their file is `tinyBenchmarks.pkl` of https://github.com/felipemaiapolo/tinyBenchmarks (MIT), described in arXiv:2402.14992.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_lighteval.common.safe_pickle import NUMPY, read_pickle
from pytest_lighteval.errors import UserInputError

MOST_BYTES = 512 * 1024**2
"""Of a parameters file; the published one has a few MB."""

_GROUPS = {"truthfulqa": "lb", "gsm8k": "lb", "winogrande": "lb", "arc": "lb", "hellaswag": "lb", "mmlu": "mmlu"}
_SPELLED = {"truthfulqa": "harness_truthfulqa_mc_0"}
"""Where the file has another name for a benchmark."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What was fitted for one benchmark of N items, of which n are anchors."""

    seen: npt.NDArray[np.intp]
    """`[n]`: which items are the anchors, in the order of the data set's rows."""
    weights: npt.NDArray[np.float64]
    """`[n]`: what each anchor stands for; they add up to about 1."""
    balance: npt.NDArray[np.float64]
    """`[N]`: makes subsets of the benchmark count alike, whatever their size."""
    discrimination: npt.NDArray[np.float64]
    """`[d, N]`: A of the response model, for d abilities."""
    difficulty: npt.NDArray[np.float64]
    """`[d or 1, N]`: B."""
    mixture: float
    """Lambda: how much the weighted anchors count beside the response model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyParameters:
    """The contents of one file."""

    name: str
    digest: str
    """12 hex digits of its SHA-256."""
    scenarios: Mapping[str, Scenario]
    """By `arc`, `gsm8k`, `hellaswag`, `mmlu`, `truthfulqa`, `winogrande`."""


def read_tiny_parameters(path: Path, *, option: str) -> TinyParameters:
    """The parameters in a file; nothing in it is run. Raises UserInputError, whose line begins with the option and the path."""
    where = f"{option} {path}"
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserInputError(f"{where}: the file has more than {MOST_BYTES // 1024**2} MiB: it is not tinyBenchmarks.pkl")
        data = path.read_bytes()
    except OSError as error:
        raise UserInputError(f"{where}: {error.strerror or error}; the file tinyBenchmarks.pkl was expected") from None
    content = read_pickle(data, where=where, allowed=NUMPY)
    try:
        scenarios = {name: _scenario(content[group], _SPELLED.get(name, name)) for name, group in _GROUPS.items() if group in content}
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise UserInputError(f"{where}: not the parameters of tinyBenchmarks ({type(error).__name__}: {error})") from None
    if not scenarios:
        raise UserInputError(f"{where}: it has no parameters of 'lb' or 'mmlu'")
    return TinyParameters(name=path.name, digest=hashlib.sha256(data).hexdigest()[:12], scenarios=scenarios)


def _scenario(group: Mapping[str, Any], name: str) -> Scenario:
    items = np.asarray(group["scenarios_position"][name], dtype=np.intp)
    position = {item: place for place, item in enumerate(items.tolist())}
    seen = np.asarray([position[item] for item in np.asarray(group["seen_examples"]).tolist() if item in position], dtype=np.intp)
    subsets = group["subscenarios_position"][name]
    balance = np.ones(len(items))
    for members in subsets.values():
        places = [position[item] for item in np.asarray(members).tolist()]
        balance[places] = len(items) / (len(subsets) * len(places))
    weights = np.asarray(group["examples_weights"][name], dtype=np.float64)
    a, b = (np.asarray(group["irt_parameters"][letter], dtype=np.float64) for letter in "AB")
    if len(weights) != len(seen) or a.ndim != 3 or b.ndim != 3 or a.shape[0] != 1 or b.shape[0] != 1:
        raise ValueError(f"{name}: {len(weights)} weights of {len(seen)} anchors, A of shape {a.shape}, B of shape {b.shape}")
    found = Scenario(
        seen=seen,
        weights=weights,
        balance=balance,
        discrimination=a[0][:, items],
        difficulty=b[0][:, items],
        mixture=float(np.asarray(group["optimal_lambdas"][name]).item()),
    )
    for numbers in (found.weights, found.discrimination, found.difficulty, np.asarray(found.mixture)):
        if not np.isfinite(numbers).all():
            raise ValueError(f"{name}: a parameter is not a finite number")
    return found
