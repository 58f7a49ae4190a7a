"""The metrics that a module names, as those of our registry: `Metrics.NAME`."""

from __future__ import annotations

from pytest_lighteval.guests.lighteval.metric_objects import MetricCategory, MetricObject
from pytest_lighteval.metrics import REGISTRY
from pytest_lighteval.types import Ask, Metric

_CATEGORIES = {
    Ask.CHOICES: MetricCategory.MULTICHOICE,
    Ask.CHOICES_PMI: MetricCategory.MULTICHOICE_PMI,
    Ask.GOLDS: MetricCategory.TARGET_PERPLEXITY,
    Ask.TEXT: MetricCategory.PERPLEXITY,
    Ask.GENERATION: MetricCategory.GENERATIVE,
    Ask.SAMPLES: MetricCategory.GENERATIVE_SAMPLING,
}


class KnownMetric(MetricObject):
    """A metric of Lighteval by its name. `ours` computes it here; None: nothing does."""

    def __init__(self, name: str, ours: Metric | None) -> None:
        self.name, self.ours = name, ours
        reported = list(ours.corpus) if ours is not None else [name]
        super().__init__(
            metric_name=reported[0] if len(reported) == 1 else reported,
            higher_is_better=True if ours is None else {text: corpus.higher_is_better for text, corpus in ours.corpus.items()},
            category=MetricCategory.IGNORED if ours is None else _CATEGORIES[ours.ask],
        )

    @property
    def value(self) -> KnownMetric:
        """Members of an enumeration have it; here it is the metric itself."""
        return self


def known_metric(name: str) -> KnownMetric:
    """The metric of that name in our registry, or one that nothing computes."""
    return KnownMetric(name, REGISTRY.get(name))
