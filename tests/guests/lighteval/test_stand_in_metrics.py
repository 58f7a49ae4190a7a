"""The metrics that modules name or put together of Lighteval's classes score as those of our registry."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_lighteval.guests.lighteval import corpus_metrics
from pytest_lighteval.guests.lighteval import sample_metrics as samples
from pytest_lighteval.guests.lighteval.dynamic_metrics import (
    ExprExtractionConfig,
    IndicesExtractionConfig,
    LatexExtractionConfig,
    loglikelihood_acc_metric,
    multilingual_extractive_match_metric,
    multilingual_quasi_exact_match_metric,
    multilingual_quasi_f1_score_metric,
    normalized_multi_choice_prob_metric,
    probability_metric,
)
from pytest_lighteval.guests.lighteval.known_metrics import KnownMetric
from pytest_lighteval.guests.lighteval.languages import make_language
from pytest_lighteval.guests.lighteval.metric_names import make_names
from pytest_lighteval.guests.lighteval.metric_objects import MetricCategory, MetricObject, SampleLevelMetric, SamplingMethod
from pytest_lighteval.guests.lighteval.own_metrics import as_metric
from pytest_lighteval.metrics import metric, metric_names, normalizers
from pytest_lighteval.types import Doc, GenerateResponse, LoglikelihoodResponse

WORDS = ("the cat", "a cat", "Cat.", "dog", "1,000", "#### 12", "no", "")


def choice_cases(count: int = 40) -> Iterator[tuple[Doc, LoglikelihoodResponse]]:
    draw = random.Random(0)
    for number in range(count):
        size = draw.randint(2, 5)
        choices = tuple(" " * draw.randint(0, 1) + "x" * draw.randint(1, 9) + str(index) for index in range(size))
        gold = tuple(sorted(draw.sample(range(size), draw.randint(1, 2))))
        yield (
            Doc(id=f"test:{number}", query="Q", choices=choices, gold=gold),
            LoglikelihoodResponse(
                logprobs=tuple(draw.uniform(-9, -1) for _ in choices),
                greedy=tuple(draw.random() < 0.3 for _ in choices),
                token_counts=tuple(draw.randint(1, 4) for _ in choices),
                unconditioned_logprobs=tuple(draw.uniform(-9, -1) for _ in choices),
            ),
        )


def text_cases(count: int = 40, texts: int = 1) -> Iterator[tuple[Doc, GenerateResponse]]:
    draw = random.Random(1)
    for number in range(count):
        choices = tuple(draw.choice(WORDS[:-1]) for _ in range(1 if texts > 1 else 2))
        yield (
            Doc(id=f"test:{number}", query="Q", choices=choices, gold=tuple(range(len(choices)))),
            GenerateResponse(texts=tuple(draw.choice(WORDS) for _ in range(texts)), finish_reasons=("stop",) * texts),
        )


def built(computation: Any, category: Any, name: str = "mine") -> Any:
    entry = SampleLevelMetric(name, True, category, None, computation, max)
    return as_metric(entry, name="mine", where="here")


CHOICE_METRICS = [
    (samples.LoglikelihoodAcc(), "loglikelihood_acc"),
    (samples.LoglikelihoodAcc(samples.LogProbCharNorm()), "loglikelihood_acc_norm"),
    (samples.LoglikelihoodAcc(samples.LogProbCharNorm(ignore_first_space=True)), "loglikelihood_acc_norm_nospace"),
    (samples.LoglikelihoodAcc(samples.LogProbTokenNorm()), "loglikelihood_acc_token"),
    (samples.LoglikelihoodAcc(samples.LogProbPMINorm()), "loglikelihood_acc_pmi"),
    (samples.NormalizedMultiChoiceProbability(samples.LogProbCharNorm()), "normalized_mc_prob_char"),
    (samples.Recall(at=1), "recall_at_1"),
    (samples.Recall(k=2), "recall_at_2"),
    (samples.MRR(), "mrr"),
]


@pytest.mark.parametrize("category", [MetricCategory.MULTICHOICE, SamplingMethod.LOGPROBS])
@pytest.mark.parametrize(("computation", "ours"), CHOICE_METRICS, ids=[ours for _, ours in CHOICE_METRICS])
def test_classes_of_choices_score_as_the_registry(computation: Any, ours: str, category: Any) -> None:
    own = built(computation, category)

    for doc, response in choice_cases():
        assert own.sample(doc, response)["mine"] == pytest.approx(next(iter(metric(ours).sample(doc, response).values())), abs=1e-12)


TEXT_METRICS = [
    (samples.ExactMatches(strip_strings=True), "exact_match"),
    (samples.ExactMatches(), "perfect_exact_match"),
    (samples.ExactMatches(strip_strings=True, type_exact_match="prefix"), "prefix_exact_match"),
    (
        samples.ExactMatches(normalize_gold=normalizers.helm, normalize_pred=normalizers.helm, strip_strings=True),
        "quasi_exact_match",
    ),
    (samples.F1_score(), "f1_score"),
    (samples.F1_score(normalize_gold=normalizers.helm, normalize_pred=normalizers.helm), "f1_score_quasi"),
]


@pytest.mark.parametrize("category", [MetricCategory.GENERATIVE, SamplingMethod.GENERATIVE])
@pytest.mark.parametrize(("computation", "ours"), TEXT_METRICS, ids=[ours for _, ours in TEXT_METRICS])
def test_classes_of_texts_score_as_the_registry(computation: Any, ours: str, category: Any) -> None:
    own = built(computation, category)

    for doc, response in text_cases():
        assert own.sample(doc, response)["mine"] == pytest.approx(next(iter(metric(ours).sample(doc, response).values())))


@pytest.mark.parametrize(
    ("category", "name"), [(MetricCategory.GENERATIVE_SAMPLING, "pass@1:32_samples"), (SamplingMethod.GENERATIVE, "mine")]
)
def test_pass_and_majority_of_samples_score_as_the_registry(category: Any, name: str) -> None:
    passed = built(samples.PassAtK(k=1, n=32, strip_strings=True), category, name)
    majority = built(samples.MajAtN(k=5), category, "maj@5" if name != "mine" else name)

    assert (passed.num_samples, majority.num_samples) == (32, 5)
    for doc, response in text_cases(texts=32):
        (right,) = passed.sample(doc, response).values()
        (most,) = majority.sample(doc, response).values()
        assert right == pytest.approx(metric("pass_at_1").sample(doc, response)["pass@1:32_samples"])
        assert most == metric("maj_at_5").sample(doc, response)["maj@5"]


def test_a_module_may_score_each_sample_itself() -> None:
    doc, response = (
        Doc(id="test:0", query="Q", choices=("12",), gold=(0,)),
        GenerateResponse(texts=("12.", "13"), finish_reasons=("stop",) * 2),
    )
    older = built(
        samples.PassAtK(k=1, n=2, sample_scoring_function=lambda pred, gold, doc: float(pred == gold + ".")),
        MetricCategory.GENERATIVE_SAMPLING,
        "p@1:2",
    )
    newer = built(
        samples.AvgAtN(
            n=2, sample_scoring_function=lambda doc, model_response: float(model_response.final_text[0] == doc.get_golds()[0] + ".")
        ),
        SamplingMethod.GENERATIVE,
    )

    assert list(older.sample(doc, response).values()) == [0.5]
    assert list(newer.sample(doc, response).values()) == [0.5]


def test_g_pass_names_and_scores_are_the_registrys() -> None:
    entry = make_names().g_pass_at_k(sample_params={"k": 16, "n": 48})
    own = as_metric(entry, name="mine", where="here")

    assert (list(own.corpus), own.num_samples) == (list(metric("g_pass_at_16").corpus), 48)
    for doc, response in text_cases(5, texts=48):
        assert own.sample(doc, response) == pytest.approx(metric("g_pass_at_16").sample(doc, response))


def test_corpus_metrics_of_lightevals_classes() -> None:
    perplexity = MetricObject(
        "mine",
        False,
        MetricCategory.PERPLEXITY,
        None,
        corpus_metrics.PerplexityPreparator(units_type="words"),
        corpus_metrics.CorpusLevelPerplexityMetric("weighted_perplexity"),
    )
    own = as_metric(perplexity, name="mine", where="here")
    from pytest_lighteval.types import PerplexityResponse

    docs = [Doc(id=f"test:{number}", query=text, choices=(), gold=()) for number, text in enumerate(("one two", "three"))]
    values = [own.sample(doc, PerplexityResponse(logprob=-4.0))["mine"] for doc in docs]

    assert own.corpus["mine"].aggregate(values) == pytest.approx(math.exp(8 / 3))


def test_names_of_both_dialects_are_known_and_others_are_not() -> None:
    names = make_names()

    assert names.loglikelihood_acc.value.ours is metric("loglikelihood_acc")
    assert names["exact_match"].name == "exact_match"
    assert names.exact_match.metric_name == "em"
    assert "exact_match" in names
    assert {entry.name for entry in names} == set(metric_names())
    assert as_metric(names.recall_at_k(sample_params={"k": 2}), name="r", where="").corpus.keys() == {"recall:k=2"}
    assert names.maj_at_n(sample_params={"n": 3}).metric_name == "maj@n:n=3"
    with pytest.raises(AttributeError, match=r"Metrics has no 'exact_mtch' \(did you mean 'exact_match'"):
        _ = names.exact_mtch
    with pytest.raises(TypeError, match=r"Metrics.bleu takes no parameters"):
        names.bleu(sample_params={"n": 1})


def test_metrics_by_language_and_normalization_are_the_registrys() -> None:
    language = make_language()
    made = [
        loglikelihood_acc_metric(),
        loglikelihood_acc_metric(normalization=samples.LogProbCharNorm(ignore_first_space=True)),
        normalized_multi_choice_prob_metric(normalization=samples.LogProbPMINorm()),
        probability_metric(normalization=samples.LogProbTokenNorm()),
        multilingual_quasi_f1_score_metric(language["FRENCH"]),
        multilingual_quasi_exact_match_metric(language["GERMAN"], "prefix"),
    ]

    assert [entry for entry in made if not isinstance(entry, KnownMetric) or entry.ours is None] == []
    assert language("fra") is language["FRENCH"]
    assert language["WARAY"] is language["WAR"]
    with pytest.raises(NotImplementedError, match=r"only the best over the golds is served"):
        multilingual_quasi_f1_score_metric(language["FRENCH"], aggregation_function=min)
    with pytest.raises(ValueError, match=r"and not in zulu"):
        multilingual_extractive_match_metric(language["ZULU"])


def test_extraction_by_targets_is_the_registrys() -> None:
    doc = Doc(id="test:0", query="Q", choices=("A", "B"), gold=(1,))
    letters = multilingual_extractive_match_metric(
        make_language()["ENGLISH"], [IndicesExtractionConfig(prefix_for_extraction="NativeLetters")], [IndicesExtractionConfig()]
    )
    numbers = multilingual_extractive_match_metric(
        gold_extraction_target=(ExprExtractionConfig(),), pred_extraction_target=(LatexExtractionConfig(), ExprExtractionConfig())
    )

    assert letters.ours is not None
    assert [letters.ours.sample(doc, GenerateResponse(texts=(text,)))["extractive_match"] for text in ("Answer: B", "Answer: A")] == [
        1.0,
        0.0,
    ]
    assert (letters.name, numbers.name) == ("extractive_match_english_indices", "extractive_match_latex+expr")
