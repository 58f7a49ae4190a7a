"""What a task of the harness reports, as its YAML says it: known before the harness is imported.

The tables repeat facts of lm-evaluation-harness 0.4.13 (`lm_eval/api/metrics.py`, `lm_eval/api/registry.py`).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pytest_lighteval.common.statistics import mean, resampled_sums, used
from pytest_lighteval.errors import DataError, in_one_line
from pytest_lighteval.guests.lm_eval.configs import Config, function_name, is_function
from pytest_lighteval.guests.lm_eval.plain_values import thawed
from pytest_lighteval.metrics import REGISTRY
from pytest_lighteval.types import CorpusMetric, Doc, GenerateResponse, Metric, RequestKind

DEFAULT_OUTPUT = "generate_until"
DEFAULT_NEW_TOKENS = 256
"""Where a task sets no limit."""
NO_FILTER = "none"
"""The name of the filter of a task that declares none."""

KINDS: Mapping[str, tuple[RequestKind, ...]] = {
    "multiple_choice": (RequestKind.LOGLIKELIHOOD,),
    "loglikelihood": (RequestKind.LOGLIKELIHOOD,),
    "loglikelihood_rolling": (RequestKind.PERPLEXITY,),
    "generate_until": (RequestKind.GENERATE,),
}
_DEFAULT_METRICS: Mapping[str, tuple[str, ...]] = {
    "loglikelihood": ("perplexity", "acc"),
    "loglikelihood_rolling": ("word_perplexity", "byte_perplexity", "bits_per_byte"),
    "multiple_choice": ("acc", "acc_norm"),
    "generate_until": ("exact_match",),
}
_AGGREGATES: Mapping[str, str] = {
    "perplexity": "perplexity",
    **dict.fromkeys(("word_perplexity", "byte_perplexity"), "weighted_perplexity"),
    "bits_per_byte": "bits_per_byte",
    "mcc": "matthews_corrcoef",
    **{name: name for name in ("brier_score", "f1", "bleu", "chrf", "ter", "bypass")},
}
"""Of a metric whose entry in `metric_list` names none; of all others it is the mean."""
_LOWER_IS_BETTER = frozenset(("perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "brier_score"))
"""Of the metrics whose entry does not say. `ter` counts as higher there."""
_SHARES = frozenset(("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match"))
"""Between 0 and 1, where the harness itself computes them."""

Aggregate = Callable[[Sequence[Any]], Any]
"""One of the harness's, or of the task's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What a task's YAML says."""

    kinds: tuple[RequestKind, ...]
    corpus: Mapping[str, CorpusMetric]
    """By reported name; empty for a task that is a Python class, which says it when it is evaluated."""
    rules: Mapping[str, Mapping[str, Any]]
    """Entries of `metric_list` by the metric's name."""
    until: tuple[str, ...]
    """Stop sequences of a generated text."""
    fixed_shots: int | None
    """The few-shot count that the YAML sets. None: none. 0 cannot be changed."""
    version: int
    split: str
    """That is evaluated."""
    skip: str | None
    """Why it cannot be run. None: it can."""


def reported_name(metric: str, chosen: str) -> str:
    """The harness's `metric,filter`; `metric` alone for the filter `none`."""
    return metric if chosen == NO_FILTER else f"{metric},{chosen}"


def declare(config: Config, *, find: Callable[[Any], Aggregate], where: str) -> Declared:
    """What the kept keys of a task say.

    Args:
        config: See `index.Entry.config`.
        find: A name of the harness's registry, or what stands for a function -> the aggregate. It is called when a number is made.
        where: Names the task in messages.
    """
    output = str(config.get("output_type") or DEFAULT_OUTPUT)
    is_class = "class" in config
    both = tuple(sorted((RequestKind.GENERATE, RequestKind.LOGLIKELIHOOD)))
    shots = config.get("num_fewshot")
    return Declared(
        kinds=KINDS.get(output, both) if "output_type" in config or not is_class else both,
        corpus=_corpus(config, output, find, where),
        rules={_metric_name(rule): rule for rule in _rules(config, output)},
        until=_until(config, output),
        fixed_shots=shots if type(shots) is int else None,
        version=_version(config),
        split=str(config.get("test_split") or config.get("validation_split") or "test"),
        skip=_skip(config, output),
    )


def _rules(config: Config, output: str) -> list[Mapping[str, Any]]:
    listed = config.get("metric_list")
    if isinstance(listed, list):
        return [rule for rule in listed if isinstance(rule, Mapping) and "metric" in rule]
    return [] if "class" in config else [{"metric": name} for name in _DEFAULT_METRICS.get(output, ())]


def _metric_name(rule: Mapping[str, Any]) -> str:
    return function_name(rule["metric"]) if is_function(rule["metric"]) else str(rule["metric"])


def _corpus(config: Config, output: str, find: Callable[[Any], Aggregate], where: str) -> dict[str, CorpusMetric]:
    filters = config.get("filter_list")
    named = [entry for entry in filters if isinstance(entry, Mapping) and "name" in entry] if isinstance(filters, list) else []
    chosen = [str(entry["name"]) for entry in named]
    own = config.get("process_results") is not None
    corpus = {}
    for rule in _rules(config, output):
        name = _metric_name(rule)
        for place in chosen or [NO_FILTER]:
            corpus[reported_name(name, place)] = corpus_metric(name, rule, find=find, where=f"{where}: {name}", is_share=not own)
    return corpus


def corpus_metric(
    name: str, rule: Mapping[str, Any], *, find: Callable[[Any], Aggregate], where: str, is_share: bool = False
) -> CorpusMetric:
    """The aggregate of one metric. `rule`: its entry in `metric_list`; `is_share`: the harness computes its value of a document."""
    aggregate = rule.get("aggregation") or _AGGREGATES.get(name, "mean")
    higher = rule.get("higher_is_better")
    higher_is_better = name not in _LOWER_IS_BETTER if higher is None else bool(higher)
    if aggregate in ("mean", "nanmean"):
        return CorpusMetric(
            aggregate=mean, higher_is_better=higher_is_better, range=(0.0, 1.0) if is_share and name in _SHARES else None, is_mean=True
        )
    if aggregate == "brier_score":
        # the harness's aggregate is the mean of what `value_of` makes of a document
        return CorpusMetric(aggregate=mean, higher_is_better=higher_is_better, range=(0.0, 2.0), is_mean=True)

    def whole(values: Sequence[Any]) -> float:
        try:
            with _quiet():
                return float(find(aggregate)([thawed(value) for value in values]))
        except Exception as error:  # it is the harness's or the user's code
            raise DataError(f"{where}: its aggregate failed: {type(error).__name__}: {in_one_line(error)}") from error

    known = _BOOTSTRAPS.get(aggregate) if isinstance(aggregate, str) else None
    counted = REGISTRY[aggregate] if isinstance(aggregate, str) and aggregate in _COUNTED else None

    def resampled(values: Sequence[Any], indices: Any) -> Any:
        if known is not None:
            return known(np.asarray(values, dtype=np.float64), indices)
        if counted is not None:
            return _counted(counted, values, indices)
        function, own = find(aggregate), [thawed(value) for value in values]
        with _quiet():
            return np.asarray([_or_nan(function, [own[index] for index in used(row)]) for row in indices])

    return CorpusMetric(aggregate=whole, higher_is_better=higher_is_better, is_mean=False, bootstrap=resampled)


def value_of(name: str, rule: Mapping[str, Any], value: Any) -> Any:
    """What is kept of a document's value. A number that is none (`nanmean` leaves it out) is None."""
    aggregate = rule.get("aggregation") or _AGGREGATES.get(name, "mean")
    if aggregate == "brier_score" and isinstance(value, tuple) and len(value) == 2:
        gold, shares = value
        return math.fsum((share - (place == gold)) ** 2 for place, share in enumerate(shares))
    if aggregate == "nanmean" and isinstance(value, float) and math.isnan(value):
        return None
    return value


@contextmanager
def _quiet() -> Iterator[None]:
    """A resample without a positive document is no news."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def _or_nan(function: Aggregate, values: list[Any]) -> float:
    """A resample may have no positive document, or none at all."""
    try:
        return float(function(values))
    except Exception:  # it is the harness's or the user's code
        return math.nan


def _perplexity(values: Any, indices: Any) -> Any:
    counts = np.asarray([(row >= 0).sum() for row in indices])
    return np.exp(-resampled_sums(values[:, None], indices)[:, 0] / counts)


def _weighted_perplexity(values: Any, indices: Any) -> Any:
    sums = resampled_sums(values, indices)
    return np.exp(-sums[:, 0] / sums[:, 1])


def _bits_per_byte(values: Any, indices: Any) -> Any:
    sums = resampled_sums(values, indices)
    return -sums[:, 0] / sums[:, 1] / math.log(2)


_COUNTED = frozenset(("bleu", "chrf", "ter"))
"""Aggregates of sacrebleu whose counts add up, so that no resample splits a text into words again."""


def _counted(metric: Metric, values: Sequence[Any], indices: Any) -> Any:
    """Values are `(references, text)`; the registry's metric of the same name has sacrebleu's counts."""
    (corpus,) = metric.corpus.values()
    counts: list[Any] = []
    for golds, text in values:
        doc = Doc(id="", query="", choices=(golds,) if isinstance(golds, str) else tuple(golds), gold=(0,))
        doc = replace(doc, gold=tuple(range(len(doc.choices))))
        counts.append(*metric.sample(doc, GenerateResponse(texts=(text,))).values())
    assert corpus.bootstrap is not None
    return corpus.bootstrap(counts, indices)


_BOOTSTRAPS: Mapping[str, Callable[[Any, Any], Any]] = {
    "perplexity": _perplexity,
    "weighted_perplexity": _weighted_perplexity,
    "bits_per_byte": _bits_per_byte,
}
"""Aggregates that are computed for all resamples at once."""


def _until(config: Config, output: str) -> tuple[str, ...]:
    arguments = config.get("generation_kwargs")
    until = arguments.get("until") if isinstance(arguments, Mapping) else None
    if output != DEFAULT_OUTPUT or until is None:
        return ()
    return tuple(str(stop) for stop in ([until] if isinstance(until, str) else until))


def _version(config: Config) -> int:
    """The whole number of `metadata.version`; 1.1 is 1100, which no other version is."""
    metadata = config.get("metadata")
    version = metadata.get("version") if isinstance(metadata, Mapping) else None
    try:
        number = float(version)  # type: ignore[arg-type]  # None and texts raise
        return int(number) if number.is_integer() else round(1000 * number)
    except (TypeError, ValueError, OverflowError):
        return 0


def _skip(config: Config, output: str) -> str | None:
    if config.get("unsafe_code"):
        return "its metric runs code that the model writes (unsafe_code: true), in this process: it is not run here"
    if config.get("doc_to_image") is not None or config.get("doc_to_audio"):
        return "it shows the model pictures or sounds, which no backend here takes"
    if output not in KINDS:
        return f"output_type is {output!r}, which lm-evaluation-harness has not"
    return None
