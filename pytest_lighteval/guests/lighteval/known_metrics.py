"""`Metrics.NAME` of both dialects: the metrics that a module names, as those of our registry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pytest_lighteval.errors import did_you_mean
from pytest_lighteval.guests.lighteval.metric_objects import MetricCategory, MetricObject
from pytest_lighteval.metrics import metric, metric_names
from pytest_lighteval.types import Ask, Metric

_CATEGORIES = {
    Ask.CHOICES: MetricCategory.MULTICHOICE,
    Ask.CHOICES_PMI: MetricCategory.MULTICHOICE_PMI,
    Ask.GOLDS: MetricCategory.TARGET_PERPLEXITY,
    Ask.TEXT: MetricCategory.PERPLEXITY,
    Ask.GENERATION: MetricCategory.GENERATIVE,
    Ask.SAMPLES: MetricCategory.GENERATIVE_SAMPLING,
}
MISSING = frozenset(
    (
        *("bert_score", "bleurt", "faithfulness", "prediction_perplexity", "chrf_plus", "simpleqa_judge", "ifeval_metrics"),
        *("extractiveness_de", "extractiveness_fr", "extractiveness_it", "llm_judge_mixeval", "llm_judge_mt_bench", "hle_metrics"),
    )
)
"""Names that Lighteval has and our registry has not, as long as it has not: tasks with them are skipped with that reason."""


class KnownMetric(MetricObject):
    """A metric of Lighteval by its name. `ours` is what computes it here; None: nothing does."""

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


class _Names(type):
    """Looks names up when they are used."""

    added: dict[str, Any]

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in cls.added:
            return cls.added[name]
        known = {*metric_names(), *MISSING}
        if name not in known:
            raise AttributeError(f"Metrics has no {name!r}{did_you_mean(name, known)}")
        return KnownMetric(name, metric(name) if name in metric_names() else None)

    def __getitem__(cls, name: str) -> Any:
        try:
            return getattr(cls, name)
        except AttributeError as error:
            raise KeyError(str(error)) from None

    def __iter__(cls) -> Iterator[Any]:
        return iter([cls[name] for name in (*metric_names(), *cls.added)])

    def __contains__(cls, name: object) -> bool:
        return isinstance(name, str) and (name in cls.added or name in metric_names())


def make_names() -> type:
    """A new `Metrics`, to which `extend_enum` may add members without a trace in another module."""
    return _Names("Metrics", (), {"added": {}})


def extend_enum(enumeration: Any, name: str, *values: Any, **_: Any) -> Any:
    """As `aenum.extend_enum`, for `Metrics`. For another enumeration, the installed aenum's own."""
    if isinstance(enumeration, _Names):
        enumeration.added[name] = values[0]
        return values[0]
    from aenum import extend_enum as extend  # only where it is installed

    return extend(enumeration, name, *values)
