"""A module's metric object gets what Lighteval gives it, and its values survive the way to the corpus."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from pytest_lighteval.errors import DataError
from pytest_lighteval.guests.lighteval.documents import LightevalDoc, Specific
from pytest_lighteval.guests.lighteval.metric_objects import (
    CorpusLevelComputation,
    MetricCategory,
    MetricObject,
    SampleLevelMetric,
    SampleLevelMetricGrouping,
    SamplingMethod,
)
from pytest_lighteval.guests.lighteval.own_metrics import as_metric
from pytest_lighteval.metrics import metric
from pytest_lighteval.types import Ask, Doc, GenerateResponse, LoglikelihoodResponse, Metric, PerplexityResponse

ORIGINAL = LightevalDoc(query="Q", choices=["a", ["b", "c"]], gold_index=[1], specific={"level": 2})
SPECIFIC = Specific({"level": 2})
SPECIFIC.original = ORIGINAL
DOC = Doc(id="test:0", query="Q", choices=("a", "b", "c"), gold=(1, 2), specific=SPECIFIC)
CHOICES = LoglikelihoodResponse(
    logprobs=(-1.0, -2.0, -3.0), greedy=(True, False, False), token_counts=(1, 2, 1), unconditioned_logprobs=(-1, -1, -1)
)
TEXTS = GenerateResponse(texts=("b", "d"), token_ids=((1,), (2, 3)), finish_reasons=("stop", "stop"))


def made(category: Any, function: Any, corpus: Any = np.mean, *, name: Any = "mine", higher: Any = True) -> Metric:
    kind = SampleLevelMetric if isinstance(name, str) else SampleLevelMetricGrouping
    return as_metric(kind(name, higher, category, None, function, corpus), name="mine", where="my_tasks.py:7")


@pytest.mark.parametrize(
    ("category", "response", "ask", "given"),
    [
        (
            MetricCategory.MULTICHOICE_PMI,
            CHOICES,
            Ask.CHOICES_PMI,
            {
                "gold_ixs": [1],
                "choices_logprob": [-1.0, -2.0, -3.0],
                "unconditioned_logprob": [-1, -1, -1],
                "choices_tokens": [[0], [0, 0], [0]],
                "choices_texts": ["a", "b", "c"],
                "formatted_doc": ORIGINAL,
            },
        ),
        (
            MetricCategory.TARGET_PERPLEXITY,
            CHOICES,
            Ask.GOLDS,
            {
                "logprobs": [-1.0, -2.0, -3.0],
                "argmax_logits_eq_gold_list": [True, False, False],
                "reference_texts": ["b", "c"],
                "target_tokens": [[0], [0, 0], [0]],
            },
        ),
        (MetricCategory.PERPLEXITY, PerplexityResponse(logprob=-9.0), Ask.TEXT, {"logprobs": [-9.0], "reference_texts": ["Q"]}),
        (
            MetricCategory.GENERATIVE,
            TEXTS,
            Ask.GENERATION,
            {"golds": ["b", "c"], "predictions": ["b", "d"], "formatted_doc": ORIGINAL},
        ),
    ],
)
def test_an_older_function_gets_lightevals_keywords(category: MetricCategory, response: Any, ask: Ask, given: dict[str, Any]) -> None:
    seen: list[dict[str, Any]] = []

    def function(**keywords: Any) -> float:
        seen.append(keywords)
        return 0.5

    own = made(category, function)

    assert (own.ask, own.sample(DOC, response), seen) == (ask, {"mine": 0.5}, [given])


def test_a_newer_function_gets_the_document_and_the_answer() -> None:
    seen: list[tuple[Any, Any]] = []

    def function(doc: Any, model_response: Any) -> bool:
        seen.append((doc, model_response))
        return True

    assert made(SamplingMethod.GENERATIVE, function).sample(DOC, TEXTS) == {"mine": 1.0}
    assert made(SamplingMethod.LOGPROBS, function).sample(DOC, CHOICES) == {"mine": 1.0}
    (doc, texts), (_, choices) = seen
    assert doc is ORIGINAL
    assert doc.get_golds() == ["b", "c"]
    assert (texts.text, texts.final_text, texts.output_tokens) == (["b", "d"], ["b", "d"], [[1], [2, 3]])
    assert (choices.logprobs, choices.argmax_logits_eq_gold, choices.unconditioned_logprobs) == (
        [-1.0, -2.0, -3.0],
        [True, False, False],
        [-1, -1, -1],
    )


def test_metrics_of_batches_and_judges_get_lists_of_one() -> None:
    def batch(docs: Any, responses: Any) -> dict[str, list[float]]:
        return {"mine": [float(responses[0].text[0] == docs[0].get_golds()[0])]}

    def judge(sample_ids: Any, responses: Any, formatted_docs: Any) -> list[dict[str, float]]:
        return [{"mine": float(responses[0][0].result[0] == formatted_docs[0].choices[1][0])}]

    batched = MetricObject(["mine"], True, SamplingMethod.GENERATIVE, None, batch, np.mean, batched_compute=True)
    judged = MetricObject(["mine"], True, MetricCategory.LLM_AS_JUDGE, None, judge, np.mean)

    assert as_metric(batched, name="mine", where="here").sample(DOC, TEXTS) == {"mine": 1.0}
    assert as_metric(judged, name="mine", where="here").sample(DOC, TEXTS) == {"mine": 1.0}


@dataclass
class Pair:
    golds: list[str]
    text: str


class Total(CorpusLevelComputation):
    def compute_corpus(self, items: Any) -> float:
        assert all(isinstance(item, Pair) for item in items)
        return float(sum(item.text in item.golds for item in items))


@pytest.mark.parametrize(
    ("value", "function"),
    [
        (Pair(golds=["b", "c"], text="b"), Total()),
        ({"golds": ["b"], "seen": {"n": 1}}, lambda items: sum(item["seen"]["n"] for item in items)),
        (("b", [1, 2.5, None], True), lambda items: float(len(items[0][1]) - 2)),
        (np.array([0.5, 0.5]), lambda items: float(np.concatenate(items).sum())),
    ],
)
def test_what_a_document_contributes_comes_back_as_it_was(value: Any, function: Any) -> None:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    own = made(MetricCategory.GENERATIVE, lambda **_: value, function)
    (kept,) = own.sample(DOC, TEXTS).values()

    assert (own.corpus["mine"].is_mean, own.corpus["mine"].aggregate([kept])) == (False, 1.0)
    # as it comes back from JSON, where a tuple is a list
    assert own.corpus["mine"].aggregate([_as_lists(kept)]) == 1.0


def _as_lists(value: Any) -> Any:
    return [_as_lists(member) for member in value] if isinstance(value, tuple) else value


@pytest.mark.parametrize(("name", "samples"), [("maj@8", 8), ("pass@1:32_samples", 32), ("mine", None)])
def test_the_name_of_a_sampling_metric_tells_how_many_texts_it_reads(name: str, samples: int | None) -> None:
    if samples is None:
        with pytest.raises(ValueError, match=r"its name does not end in their number, as in maj@8"):
            made(MetricCategory.GENERATIVE_SAMPLING, max, name=name)
    else:
        own = made(MetricCategory.GENERATIVE_SAMPLING, lambda **_: 1, name=name)
        assert (own.ask, own.num_samples) == (Ask.SAMPLES, samples)


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (lambda **_: 1 / 0, "raised ZeroDivisionError: division by zero"),
        (lambda **_: object(), "raised ValueError: gives <object .*, which has no mean: a number is required"),
        (lambda **_: ["b"], r"raised ValueError: gives \['b'\], which has no mean: a number is required"),
        (lambda golds: 1.0, "raised TypeError: .*unexpected keyword argument 'predictions'"),
    ],
)
def test_a_failing_metric_is_an_error_of_its_document(function: Any, problem: str) -> None:
    with pytest.raises(DataError, match=f"^test:0: the metric mine of my_tasks.py:7 {problem}"):
        made(MetricCategory.GENERATIVE, function).sample(DOC, TEXTS)


def test_a_value_of_none_leaves_the_document_out_and_a_missing_one_is_an_error() -> None:
    names = ["one", "two"]
    left_out = made(MetricCategory.GENERATIVE, lambda **_: {"one": None, "two": 1}, name=names)
    missing = made(MetricCategory.GENERATIVE, lambda **_: {"one": 1}, name=names)

    assert left_out.sample(DOC, TEXTS) == {"one": None, "two": 1.0}
    with pytest.raises(DataError, match=r"gives \{'one': 1\}, where a mapping with one, two is required"):
        missing.sample(DOC, TEXTS)


def test_a_function_of_the_corpus_sees_each_document_and_an_object_of_no_form_is_an_error() -> None:
    counted = made(MetricCategory.GENERATIVE, lambda **_: None, lambda items: float(len(items)))
    (kept,) = counted.sample(DOC, TEXTS).values()

    assert counted.corpus["mine"].aggregate([kept, kept]) == 2.0
    with pytest.raises(DataError, match="gives a object, where numbers, texts"):
        made(MetricCategory.GENERATIVE, lambda **_: object(), len).sample(DOC, TEXTS)


def test_only_the_known_means_are_means_and_a_nanmean_leaves_numbers_out() -> None:
    def mean(items: list[float]) -> float:
        return 100 * sum(items)

    own = made(MetricCategory.GENERATIVE, lambda **_: 0.5, mean)
    assert (own.corpus["mine"].is_mean, own.corpus["mine"].aggregate([0.5, 0.25])) == (False, 75.0)
    for function in (np.mean, np.nanmean, np.average, statistics.mean, statistics.fmean):
        assert made(MetricCategory.GENERATIVE, lambda **_: 0.5, function).corpus["mine"].is_mean
    assert made(MetricCategory.GENERATIVE, lambda **_: math.nan, np.nanmean).sample(DOC, TEXTS) == {"mine": None}


def test_a_failing_aggregate_is_one_line_and_a_resample_without_a_number_no_failure() -> None:
    own = made(MetricCategory.GENERATIVE, lambda **_: 0.0, lambda items: 1 / sum(items))
    corpus = own.corpus["mine"]
    assert corpus.bootstrap is not None

    with pytest.raises(DataError, match=r"^the corpus_level_fn of mine of my_tasks.py:7 raised ZeroDivisionError: "):
        corpus.aggregate([0.0, 0.0])
    assert np.isnan(corpus.bootstrap([0.0, 1.0], np.array([[0, 0], [0, 1]]))).tolist() == [True, False]


def test_an_aggregate_that_is_no_number_is_not_a_score() -> None:
    own = made(MetricCategory.GENERATIVE, lambda **_: [1], lambda items: "many")
    (kept,) = own.sample(DOC, TEXTS).values()

    assert math.isnan(own.corpus["mine"].aggregate([kept]))


def test_a_document_without_its_own_is_made_of_ours() -> None:
    doc = Doc(id="test:1", query="Q", choices=("a", "b"), gold=(1,), specific={"x": 1})
    seen: list[Any] = []
    made(SamplingMethod.GENERATIVE, lambda doc, model_response: seen.append(doc)).sample(doc, TEXTS)

    assert (seen[0].choices, seen[0].gold_index, seen[0].specific) == (["a", "b"], 1, {"x": 1})


def test_our_metric_reads_a_document_of_a_module() -> None:
    assert metric("exact_match").sample(DOC, TEXTS) == {"em": 1.0}
