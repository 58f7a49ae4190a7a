"""tinyBenchmarks (arXiv:2402.14992): the score on a whole benchmark, estimated from a hundred of its documents, the anchors.

The metrics score the anchors; the estimates also need parameters that were fitted on other models (`tiny_parameters`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_lighteval.metrics import loglikelihood, matches
from pytest_lighteval.metrics.libraries import load
from pytest_lighteval.metrics.tiny_parameters import Scenario, TinyParameters
from pytest_lighteval.types import ESTIMATES, Metric, MetricResult, Task, TaskResult

_LEAST = 1e-10
"""Added to probabilities before their logarithm is taken, as in the paper's code."""


def estimate(scenario: Scenario, right: Sequence[float]) -> dict[str, float]:
    """The score on all of the benchmark, in three ways, by the name of each (`ESTIMATES`).

    Args:
        scenario: What was fitted for the benchmark.
        right: `[n]`: what each anchor scored, from 0 to 1, in the order of the data set's rows.
    """
    scores = np.asarray(right, dtype=np.float64)
    chance = _chance(scenario, _ability(scenario, scores))
    unseen = np.ones(len(chance), dtype=bool)
    unseen[scenario.seen] = False
    share = len(scores) / len(chance)
    irt = float(scenario.weights @ scores)
    modelled = float((scenario.balance * chance)[unseen].mean()) if unseen.any() else 0.0
    pirt = share * float((scenario.balance[scenario.seen] * scores).mean()) + (1 - share) * modelled
    return {"irt": irt, "pirt": pirt, "gpirt": scenario.mixture * irt + (1 - scenario.mixture) * pirt}


def _chance(scenario: Scenario, ability: npt.NDArray[np.float64], items: npt.NDArray[np.intp] | slice = slice(None)) -> Any:
    """`[items]`: how likely a model of this ability answers each item right."""
    exponent = np.clip(ability[:, None] * scenario.discrimination[:, items] - scenario.difficulty[:, items], -30, 30).sum(axis=0)
    return 1 / (1 + np.exp(-exponent))


def _ability(scenario: Scenario, right: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """`[d]`: the abilities under which the anchors' scores are likeliest, found from 0 on as in the paper's code."""

    def unlikelihood(ability: npt.NDArray[np.float64]) -> float:
        chance = _chance(scenario, ability, scenario.seen)
        return -float((right * np.log(chance + _LEAST) + (1 - right) * np.log(1 - chance + _LEAST)).sum())

    start = np.zeros(len(scenario.discrimination))
    found: npt.NDArray[np.float64] = load("scipy.optimize", "scipy", extra="gate").minimize(unlikelihood, start, method="BFGS").x
    return found


def with_estimates(task: Task, result: TaskResult, parameters: TinyParameters | None) -> TaskResult:
    """The result with the estimates of its task's metrics, or with a note that says why there are none. Of other tasks: unchanged.

    An estimate has no standard error: the anchors were chosen, not drawn, and how well the parameters fit another model is unknown.
    """
    for entry in map(_named, task.metrics):
        if entry is None:
            continue
        (scored,) = entry.corpus
        of_whole = f"{scored} is that of the anchors alone; {', '.join(ESTIMATES)}, the estimates for the whole benchmark,"
        if parameters is None:
            return _noted(result, f"{of_whole} need --tiny-parameters FILE")
        scenario = parameters.scenarios.get(entry.anchors_of or "")
        if scenario is None:
            return _noted(result, f"{of_whole} are missing: {parameters.name} has no parameters of {entry.anchors_of}")
        # several few-shot seeds give an anchor several scores
        scores: dict[str, list[float]] = {}
        for document in result.documents:
            value = document.values.get(scored)
            if isinstance(value, float | int):
                scores.setdefault(document.id, []).append(float(value))
        if len(scores) != len(scenario.seen) or result.num_saved:
            return _noted(result, f"{of_whole} need all {len(scenario.seen)} documents, and {len(scores)} were scored")
        right = [sum(scores[name]) / len(scores[name]) for name in sorted(scores, key=_row)]
        numbers = {
            name: MetricResult(value=value, stderr=None, n=len(scores), higher_is_better=True)
            for name, value in estimate(scenario, right).items()
        }
        result = replace(result, metrics={**result.metrics, **numbers})
        result = _noted(result, f"{', '.join(ESTIMATES)} are estimates by {parameters.name} (SHA-256 {parameters.digest})")
    return result


def _named(name: str) -> Metric | None:
    return next((entry for entry in METRICS if entry.name == name), None)


def _row(document: str) -> int:
    """The place of a document in its split: `split:row`."""
    return int(document.split(":")[1])


def _noted(result: TaskResult, note: str) -> TaskResult:
    return replace(result, notes=(*result.notes, note))


def _on_anchors(name: str, scenario: str, base: Metric) -> Metric:
    return replace(base, name=f"tinybench_metric_{name}", anchors_of=scenario)


def _mc2() -> Metric:
    both = next(entry for entry in loglikelihood.METRICS if entry.name == "truthfulqa_mc_metrics")
    return replace(both, sample=lambda doc, response: {"mc2": both.sample(doc, response)["mc2"]}, corpus={"mc2": both.corpus["mc2"]})


_ACC = loglikelihood.accuracy("", "acc")
_ACC_NORM = loglikelihood.accuracy("", "acc_norm", loglikelihood.per_character)

METRICS = (
    *(_on_anchors(name, name, _ACC) for name in ("winogrande", "arc", "hellaswag", "mmlu", "truthfulqa")),
    _on_anchors("gsm8k", "gsm8k", next(entry for entry in matches.METRICS if entry.name == "quasi_exact_match_gsm8k")),
    # what the parameters were fitted on: the scores of the Open LLM Leaderboard
    _on_anchors("arc_corrected", "arc", _ACC_NORM),
    _on_anchors("hellaswag_corrected", "hellaswag", _ACC_NORM),
    _on_anchors("truthfulqa_corrected", "truthfulqa", _mc2()),
)
