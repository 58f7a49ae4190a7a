"""A module's own metric object as one of our metrics: it is called for each document as Lighteval calls it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from pytest_lighteval.common.statistics import mean, used
from pytest_lighteval.errors import DataError, in_one_line
from pytest_lighteval.guests.lighteval.documents import as_list, original_of
from pytest_lighteval.guests.lighteval.metric_objects import MetricCategory, MetricObject, ModelResponse, SamplingMethod
from pytest_lighteval.types import Ask, CorpusMetric, Doc, GenerateResponse, LoglikelihoodResponse, Metric, PerplexityResponse, SampleValue

_ASKS = {
    MetricCategory.MULTICHOICE: Ask.CHOICES,
    MetricCategory.MULTICHOICE_ONE_TOKEN: Ask.CHOICES,
    MetricCategory.MULTICHOICE_PMI: Ask.CHOICES_PMI,
    MetricCategory.TARGET_PERPLEXITY: Ask.GOLDS,
    MetricCategory.PERPLEXITY: Ask.TEXT,
    MetricCategory.GENERATIVE: Ask.GENERATION,
    MetricCategory.GENERATIVE_LOGPROB: Ask.GENERATION,
    MetricCategory.GENERATIVE_SAMPLING: Ask.SAMPLES,
    MetricCategory.LLM_AS_JUDGE: Ask.GENERATION,
    SamplingMethod.GENERATIVE: Ask.GENERATION,
    SamplingMethod.LOGPROBS: Ask.CHOICES,
    SamplingMethod.PERPLEXITY: Ask.TEXT,
}
_JUDGES = (MetricCategory.LLM_AS_JUDGE, MetricCategory.LLM_AS_JUDGE_MULTI_TURN)
_MEANS = {("numpy", "mean"), ("numpy", "average"), ("numpy", "nanmean"), ("statistics", "mean"), ("statistics", "fmean")}
"""Module and name of the functions that are a mean; a module's own function of such a name may be anything."""


def as_metric(entry: MetricObject, *, name: str, where: str) -> Metric:
    """Our metric of a module's own one.

    Args:
        entry: the object of the module.
        name: what ours is called.
        where: `path:line` for messages.

    Raises:
        ValueError: What is wrong with the object: its category, its names, or the number of samples in its name.
    """
    category = entry.category
    if category not in _ASKS:
        raise ValueError(f"its category is {getattr(category, 'value', category)}, which nothing here can ask")
    reported = list(entry.metric_name) if not isinstance(entry.metric_name, str) else [entry.metric_name]
    if not reported or not all(isinstance(text, str) and text for text in reported):
        raise ValueError(f"its metric_name is {entry.metric_name!r}, where a text or a list of texts is required")
    ask, samples = _ASKS[category], _num_samples(entry, reported)
    if samples > 1 and ask is Ask.GENERATION:
        ask = Ask.SAMPLES
    call = _calls_newer(entry) if isinstance(category, SamplingMethod) else _OLD_CALLS[ask]
    if category in _JUDGES:
        call = _call_judge
    corpus = {text: _corpus(entry, text, where) for text in reported}
    kept = {text: _kept_by(entry, text, is_mean=corpus[text].is_mean) for text in reported}

    def sample(doc: Doc, response: Any) -> dict[str, SampleValue | None]:
        try:
            values = call(entry, doc, response)
            if not isinstance(values, Mapping) or not set(reported) <= values.keys():
                raise ValueError(f"gives {values!r}, where a mapping with {', '.join(reported)} is required")
            return {text: kept[text](values[text]) for text in reported}
        except Exception as error:  # it is the user's code: anything may come out
            raise DataError(f"{doc.id}: the metric {name} of {where} raised {type(error).__name__}: {in_one_line(error)}") from error

    return Metric(
        name=name,
        ask=ask,
        sample=sample,
        corpus=corpus,
        num_samples=samples if ask is Ask.SAMPLES else 1,
    )


def _num_samples(entry: MetricObject, reported: Sequence[str]) -> int:
    """How many texts it reads: as newer objects say, or as Lighteval 0.9 reads it from names such as `maj@8` and `pass@1:32_samples`."""
    own = getattr(entry.sample_level_fn, "num_samples", None)
    if callable(own):
        return int(own())
    if entry.category is not MetricCategory.GENERATIVE_SAMPLING:
        return 1
    counts = [int(found[1]) for text in reported if (found := re.search(r"(\d+)(?:_samples)?$", text.rpartition("@")[2])) and "@" in text]
    if not counts:
        raise ValueError("it samples texts, and its name does not end in their number, as in maj@8 or pass@1:32_samples")
    return max(counts)


# ------------------------------------------------------------------------------------------------ how it is called

_Call = Callable[[MetricObject, Doc, Any], Any]


def _call_choices(entry: MetricObject, doc: Doc, response: LoglikelihoodResponse) -> Any:
    original = original_of(doc)
    return entry.compute(
        gold_ixs=as_list(original.gold_index),
        choices_logprob=list(response.logprobs),
        unconditioned_logprob=None if response.unconditioned_logprobs is None else list(response.unconditioned_logprobs),
        choices_tokens=_choice_tokens(response),
        choices_texts=list(doc.choices),
        formatted_doc=original,
    )


def _call_golds(entry: MetricObject, doc: Doc, response: LoglikelihoodResponse) -> Any:
    return entry.compute(
        logprobs=list(response.logprobs),
        argmax_logits_eq_gold_list=list(response.greedy),
        reference_texts=list(doc.golds),
        target_tokens=_choice_tokens(response),
    )


def _call_text(entry: MetricObject, doc: Doc, response: PerplexityResponse) -> Any:
    return entry.compute(logprobs=[response.logprob], reference_texts=[doc.original_query or doc.query])


def _call_generation(entry: MetricObject, doc: Doc, response: GenerateResponse) -> Any:
    return entry.compute(golds=list(doc.golds), predictions=list(response.texts), formatted_doc=original_of(doc))


def _call_judge(entry: MetricObject, doc: Doc, response: GenerateResponse) -> Any:
    values: Any = entry.compute(sample_ids=[doc.id], responses=[[_response(doc, response)]], formatted_docs=[original_of(doc)])
    return values[0] if isinstance(values, list) and values else values


_OLD_CALLS: Mapping[Ask, _Call] = {
    Ask.CHOICES: _call_choices,
    Ask.CHOICES_PMI: _call_choices,
    Ask.GOLDS: _call_golds,
    Ask.TEXT: _call_text,
    Ask.GENERATION: _call_generation,
    Ask.SAMPLES: _call_generation,
}


def _calls_newer(entry: MetricObject) -> _Call:
    """Newer Lighteval gives `doc` and `model_response`; to a metric of batches, lists of both."""

    def one(entry: MetricObject, doc: Doc, response: Any) -> Any:
        return entry.compute_sample(doc=original_of(doc), model_response=_response(doc, response))

    def batch(entry: MetricObject, doc: Doc, response: Any) -> Any:
        values: Any = entry.compute_sample(docs=[original_of(doc)], responses=[_response(doc, response)])
        if isinstance(values, Mapping):
            return {name: value[0] if isinstance(value, list) else value for name, value in values.items()}
        return values[0] if isinstance(values, list) and values else values

    return batch if entry.batched_compute else one


def _response(doc: Doc, response: Any) -> ModelResponse:
    if isinstance(response, GenerateResponse):
        texts = list(response.texts)
        tokens = [list(ids) for ids in response.token_ids or ()]
        return ModelResponse(
            text=texts,
            result=texts,
            output_tokens=tokens,
            input_tokens=list(response.prompt_token_ids or ()),
            truncated_tokens_count=response.truncated_tokens,
        )
    if isinstance(response, PerplexityResponse):
        text = doc.original_query or doc.query
        return ModelResponse(
            text=[text], logprobs=[response.logprob or 0.0], result=response.logprob, truncated_tokens_count=response.truncated_tokens
        )
    logprobs = list(response.logprobs)
    return ModelResponse(
        logprobs=logprobs,
        argmax_logits_eq_gold=list(response.greedy),
        unconditioned_logprobs=None if response.unconditioned_logprobs is None else list(response.unconditioned_logprobs),
        output_tokens=_choice_tokens(response),
        input_tokens=list(response.prompt_token_ids or ()),
        result=logprobs,
        truncated_tokens_count=response.truncated_tokens,
    )


def _choice_tokens(response: LoglikelihoodResponse) -> list[list[int]]:
    """The tokens of each choice. Metrics use their number; where a backend knows no more than that, zeros stand for them."""
    if response.choice_token_ids is not None:
        return [list(ids) for ids in response.choice_token_ids]
    return [[0] * count for count in response.token_counts]


# ------------------------------------------------------------------------------------------------ its values

_MADE: dict[str, type] = {}
"""Dataclasses of which documents' values were made, by the name that stands for each in a value."""


def _kept_by(entry: MetricObject, name: str, *, is_mean: bool) -> Callable[[Any], SampleValue | None]:
    """How a document's value is kept: as a number, or as a tuple of plain values from which `_again` makes it anew."""

    def of_mean(value: Any) -> SampleValue | None:
        number = None if value is None else _number(value)
        if value is not None and number is None:
            raise ValueError(f"gives {value!r:.80}, which has no mean: a number is required")
        return None if skips_nan and number is not None and math.isnan(number) else number

    def of_corpus(value: Any) -> SampleValue | None:
        number = _number(value)
        return ("value", _plain(value)) if number is None else number

    skips_nan = getattr(_corpus_function(entry, name), "__name__", "") == "nanmean"
    return of_mean if is_mean else of_corpus


def _number(value: Any) -> float | None:
    if isinstance(value, bool | int | float):
        return float(value)
    # numpy's scalars; numpy is not imported for this
    if getattr(value, "shape", None) == () and callable(item := getattr(value, "item", None)) and isinstance(item(), bool | int | float):
        return float(item())
    return None


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return value
    if (number := _number(value)) is not None:
        return number
    if isinstance(value, list | tuple):
        return ("list", tuple(_plain(member) for member in value))
    if isinstance(value, Mapping):
        return ("dict", tuple((str(key), _plain(member)) for key, member in value.items()))
    if is_dataclass(value) and not isinstance(value, type):
        kind = type(value)
        _MADE[kind.__qualname__] = kind
        return (kind.__qualname__, tuple((entry.name, _plain(getattr(value, entry.name))) for entry in fields(value)))
    raise ValueError(f"gives a {type(value).__name__}, where numbers, texts, lists, mappings or dataclasses of them are required")


def _again(value: Any) -> Any:
    """The value that a module's metric gave, of the plain form."""
    if not isinstance(value, tuple | list):
        return value
    kind, members = value
    if kind == "value":
        return _again(members)
    if kind == "list":
        return [_again(member) for member in members]
    named = {name: _again(member) for name, member in members}
    return named if kind == "dict" else _MADE[kind](**named)


def _corpus_function(entry: MetricObject, name: str) -> Any:
    return entry.corpus_level_fn[name] if isinstance(entry.corpus_level_fn, Mapping) else entry.corpus_level_fn


def _is_mean(function: Any) -> bool:
    return (getattr(function, "__module__", ""), getattr(function, "__name__", "")) in _MEANS


def _corpus(entry: MetricObject, name: str, where: str) -> CorpusMetric:
    function = _corpus_function(entry, name)
    better = entry.higher_is_better[name] if isinstance(entry.higher_is_better, Mapping) else entry.higher_is_better
    if _is_mean(function):
        return CorpusMetric(aggregate=mean, higher_is_better=bool(better))
    call = getattr(function, "compute_corpus", None) or getattr(function, "compute", None) or function
    if not callable(call):
        raise ValueError(f"its corpus_level_fn for {name} is {function!r}, where a function is required")

    def number_of(values: Sequence[Any]) -> float:
        number = _number(call(values))
        return math.nan if number is None else number

    def aggregate(values: Sequence[Any]) -> float:
        try:
            return number_of([_again(value) for value in values])
        except Exception as error:  # it is the user's code: anything may come out
            problem = f"the corpus_level_fn of {name} of {where} raised {type(error).__name__}"
            raise DataError(f"{problem}: {in_one_line(error)}") from error

    def resampled(values: Sequence[Any], indices: Any) -> list[float]:
        own = [_again(value) for value in values]
        return [_or_nan(number_of, [own[index] for index in used(row)]) for row in indices]

    return CorpusMetric(aggregate=aggregate, higher_is_better=bool(better), is_mean=False, bootstrap=resampled)


def _or_nan(function: Callable[[Sequence[Any]], float], values: Sequence[Any]) -> float:
    """A resample may lack what the function needs, such as a right answer."""
    try:
        return function(values)
    except Exception:  # it is the user's code: anything may come out
        return math.nan
