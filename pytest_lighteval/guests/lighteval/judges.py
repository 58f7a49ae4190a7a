"""Stand-ins for Lighteval's judges. They are built, as modules do that while they load, and answer nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from pytest_lighteval.guests.lighteval.metric_objects import MetricObject, SampleLevelComputation


class JudgeLM:
    """A model that reads answers (`metrics/llm_as_judge.py`)."""

    def __init__(
        self, model: str, templates: Callable[..., Any], process_judge_response: Callable[..., Any], judge_backend: str, **options: Any
    ) -> None:
        self.model, self.template, self.process_judge_response, self.backend = model, templates, process_judge_response, judge_backend
        self.options = options

    def evaluate_answer(self, *_: Any, **__: Any) -> NoReturn:
        """Nothing is asked."""
        raise NotImplementedError(f"the judge {self.model} is not asked")

    evaluate_answer_batch = evaluate_answer


class JudgeLLM(SampleLevelComputation):
    """A metric with a judge (`metrics/metrics_sample.py`); modules derive their own from it."""

    def __init__(
        self,
        judge_model_name: str,
        template: Callable[..., Any],
        process_judge_response: Callable[..., Any],
        judge_backend: str,
        **options: Any,
    ) -> None:
        self.short_judge_name = options.pop("short_judge_name", None)
        self.judge = JudgeLM(judge_model_name, template, process_judge_response, judge_backend, **options)


def judge_of(entry: MetricObject) -> JudgeLM | None:
    """The judge that a metric object asks, as far as it holds one. None: it asks none."""
    return next(_held(entry), None)


def _held(entry: MetricObject) -> Iterator[JudgeLM]:
    function = entry.sample_level_fn
    for holder in (entry, function, getattr(function, "__self__", None)):
        for value in _values(holder):
            if isinstance(value, JudgeLM):
                yield value


def _values(holder: Any) -> Sequence[Any]:
    return [holder, *vars(holder).values()] if hasattr(holder, "__dict__") else [holder]
