"""The metric registry: every metric by Lighteval v0.9.2's registry name, and corrected ones.

Listing and looking up import no library beyond numpy.
"""

from __future__ import annotations

from collections.abc import Mapping

from pytest_lighteval.errors import UserInputError, did_you_mean
from pytest_lighteval.metrics import (
    classification,
    code,
    corrected,
    extraction,
    ifeval,
    judged,
    loglikelihood,
    matches,
    multilingual,
    option_letter,
    overlap,
    perplexity,
    sampling,
    tiny_benchmarks,
    toxicity,
    translation,
)
from pytest_lighteval.types import Metric, Task

FAMILIES = (
    loglikelihood,
    perplexity,
    matches,
    overlap,
    translation,
    classification,
    extraction,
    sampling,
    ifeval,
    multilingual,
    tiny_benchmarks,
    judged,
    option_letter,
    toxicity,
    code,
    corrected,
)
"""Each module lists its metrics in `METRICS`."""


REGISTRY: Mapping[str, Metric] = {entry.name: entry for family in FAMILIES for entry in family.METRICS}


def metric(name: str) -> Metric:
    """The metric of that name. Raises UserInputError for an unknown name, with the nearest ones."""
    try:
        return REGISTRY[name]
    except KeyError:
        raise UserInputError(f"no metric is named {name!r}{did_you_mean(name, REGISTRY)}") from None


def metrics_of(task: Task) -> tuple[Metric, ...]:
    """The metrics of a task: its own, or the registry's. Raises UserInputError for an unknown name."""
    if task.guest is not None:
        return task.guest.metrics
    own = {spec.name: judged.own_metric(spec) for spec in task.judges}
    if task.code is not None:
        own |= task.code.metrics
    return tuple(own[name] if name in own else metric(name) for name in task.metrics)


def metric_names() -> list[str]:
    """All names, sorted."""
    return sorted(REGISTRY)
