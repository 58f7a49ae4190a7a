"""Corpus aggregates against the libraries that define them, and their vectorised bootstraps against one draw at a time."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import sacrebleu.metrics
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_lighteval.common.statistics import aggregate, standard_error
from pytest_lighteval.errors import DataError
from pytest_lighteval.metrics import metric, metric_names
from pytest_lighteval.types import Doc, GenerateResponse, LoglikelihoodResponse, PerplexityResponse

TEXTS = (
    ("the cat sat on the mat", ("the cat sat on a mat", "a cat was sitting on the mat")),
    ("there is nothing here to see at all", ("there is nothing to see here",)),
    ("Paris", ("Paris",)),
    ("", ("an empty answer",)),
    ("completely different words than those wanted", ("what was wanted was something else",)),
    ("one two three four five six", ("one two three four five six",)),
)


def translated(name: str, texts: Sequence[tuple[str, Sequence[str]]] = TEXTS) -> list[Any]:
    values = []
    for text, golds in texts:
        doc = Doc(id="test:0", query="", choices=tuple(golds), gold=tuple(range(len(golds))))
        values.append(metric(name).sample(doc, GenerateResponse(texts=(text,), finish_reasons=("stop",)))[name])
    return values


def streams() -> list[list[str | None]]:
    """Sacrebleu's orientation: one list for each place in the list of references, with one entry a document."""
    most = max(len(golds) for _, golds in TEXTS)
    return [[golds[place] if place < len(golds) else None for _, golds in TEXTS] for place in range(most)]


@pytest.mark.parametrize(("name", "scorer"), [("bleu", "BLEU"), ("chrf", "CHRF"), ("ter", "TER")])
def test_translation_scores_are_sacrebleus_with_its_orientation_of_references(name: str, scorer: str) -> None:
    by_library = getattr(sacrebleu.metrics, scorer)().corpus_score([text for text, _ in TEXTS], streams())
    assert aggregate(translated(name), metric(name).corpus[name]) == pytest.approx(by_library.score, rel=1e-12)


@given(st.text("aab .é", max_size=20), st.lists(st.text("aab .é", max_size=20), min_size=1, max_size=3))
def test_chrf_of_any_text_and_golds_is_exactly_sacrebleus(text: str, golds: list[str]) -> None:
    by_library = sacrebleu.metrics.CHRF().corpus_score([text], [[gold] for gold in golds])
    assert aggregate(translated("chrf", [(text, golds)]), metric("chrf").corpus["chrf"]) == by_library.score


def test_dropped_passages_are_averaged() -> None:
    assert aggregate([0.0, 0.5, 1.0], metric("drop").corpus["f1"]) == 0.5


LABELLED = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=20)


def sklearn_f1(average: str | None) -> Callable[[list[int], list[int]], float]:
    def score(golds: list[int], given_: list[int]) -> float:
        scores = sklearn.metrics.f1_score(golds, given_, average=average, zero_division=0.0)
        return float(max(scores)) if average is None else float(scores)

    return score


def sklearn_one_against_rest(golds: list[int], given_: list[int]) -> float:
    return statistics.fmean(
        float(sklearn.metrics.f1_score([gold == label for gold in golds], [label == one for one in given_], zero_division=0.0))
        for label in range(3)
    )


def sklearn_matthews(golds: list[int], given_: list[int]) -> float:
    return 0.0 if len({*golds, *given_}) == 1 else float(sklearn.metrics.matthews_corrcoef(golds, given_))


@pytest.mark.parametrize(
    ("name", "reported", "expected"),
    [
        pytest.param("f1_score_macro", "f1_macro", sklearn_f1("macro"), id="f1_macro"),
        pytest.param("f1_score_micro", "f1_micro", sklearn_f1("micro"), id="f1_micro"),
        pytest.param("loglikelihood_f1", "loglikelihood_f1", sklearn_f1(None), id="loglikelihood_f1"),
        pytest.param("multi_f1_numeric", "mf1", sklearn_one_against_rest, id="mf1"),
        pytest.param("mcc", "mcc", sklearn_matthews, id="mcc"),
    ],
)
@settings(max_examples=40, deadline=None)
@given(pairs=LABELLED)
def test_scores_of_labels_are_scikit_learns(
    name: str, reported: str, expected: Callable[[list[int], list[int]], float], pairs: list[tuple[int, int]]
) -> None:
    corpus = metric(name).corpus[reported]
    assert corpus.bootstrap is not None

    values = [(given_, (gold,)) for gold, given_ in pairs]
    by_library = expected([gold for gold, _ in pairs], [given_ for _, given_ in pairs])

    assert aggregate(values, corpus) == pytest.approx(by_library, abs=1e-12)
    assert corpus.bootstrap(values, [list_of_all(pairs)])[0] == pytest.approx(by_library, abs=1e-12)


def list_of_all(pairs: Sequence[Any]) -> Any:
    import numpy as np

    return np.arange(len(pairs))


def test_of_several_right_labels_the_predicted_one_counts() -> None:
    corpus = metric("mcc").corpus["mcc"]
    assert aggregate([(1, (0, 1)), (0, (0,))], corpus) == 1.0


def labelled(index: int) -> tuple[int, tuple[int, ...]]:
    return (index * 7 % 5 % 3, (index % 3,))


VECTORISED = [(name, reported) for name in metric_names() for reported, corpus in metric(name).corpus.items() if corpus.bootstrap]


@pytest.mark.parametrize(("name", "reported"), VECTORISED, ids=[f"{name}-{reported}" for name, reported in VECTORISED])
def test_the_vectorised_bootstrap_of_each_metric_is_the_one_draw_at_a_time(name: str, reported: str) -> None:
    corpus = metric(name).corpus[reported]
    values: list[Any]
    if name in ("bleu", "chrf", "ter"):
        values = translated(name)
    elif "perplexity" in name or name == "bits_per_byte":
        values = [(-3.0 * index - 1, 5 + index % 4) for index in range(12)]
    elif "inst_level" in reported:
        values = [(index % 3, 3) for index in range(12)]
    elif name == "simpleqa_judge":
        # shares of correct, incorrect and not attempted; a jury may be divided
        values = [((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.5, 0.25, 0.25))[index * 5 % 7 % 4] for index in range(12)]
    else:
        values = [labelled(index) for index in range(12)]

    plain = standard_error(values, replace(corpus, bootstrap=None), draws=100)

    assert plain is not None
    assert plain > 0
    assert standard_error(values, corpus, draws=100) == pytest.approx(plain, rel=1e-9)


def test_a_thousand_draws_of_bleu_over_a_thousand_documents_reuse_their_counts() -> None:
    values = translated("bleu") * 167
    assert 0 < (standard_error(values, metric("bleu").corpus["bleu"]) or 0) < 5


def test_a_perplexity_that_overflows_is_infinite() -> None:
    doc = Doc(id="test:0", query="word", choices=(), gold=())
    value = metric("word_perplexity").sample(doc, PerplexityResponse(logprob=-1e6))["word_perplexity"]
    assert value is not None
    assert aggregate([value], metric("word_perplexity").corpus["word_perplexity"]) == math.inf


def test_units_are_counted_in_the_original_text() -> None:
    doc = Doc(id="test:0", query="two words", choices=(), gold=(), original_query="three words now")
    assert metric("word_perplexity").sample(doc, PerplexityResponse(logprob=-6.0)) == {"word_perplexity": (-6.0, 3)}


def test_metrics_that_the_reference_cannot_run_score_by_their_definition() -> None:
    doc = Doc(id="test:0", query="", choices=(" a", " b", " c"), gold=(1,))
    response = LoglikelihoodResponse(logprobs=(-3.0, -2.0, -1.0), greedy=(False,) * 3, token_counts=(1,) * 3)

    values = {name: dict(metric(name).sample(doc, response)) for name in ("recall_at_1", "recall_at_2", "mrr_single_token")}

    assert values == {"recall_at_1": {"acc": 0.0}, "recall_at_2": {"recall@2": 1.0}, "mrr_single_token": {"mrr": 0.5}}


def test_rouge_of_t5_is_the_mean_over_references_in_percent() -> None:
    doc = Doc(id="test:0", query="", choices=("a b", "c d"), gold=(0, 1))
    values = metric("rouge_t5").sample(doc, GenerateResponse(texts=("a b",), finish_reasons=("stop",)))
    assert values == {"rouge1": 50.0, "rouge2": 50.0, "rougeL": 50.0, "rougeLsum": 50.0}


@pytest.mark.parametrize("name", ["loglikelihood_acc_norm_nospace", "normalized_mc_prob_char_nospace"])
def test_a_choice_without_length_cannot_be_normalized_and_is_named(name: str) -> None:
    doc = Doc(id="test:3", query="", choices=(" ", " b"), gold=(1,))
    with pytest.raises(DataError, match="test:3: the choice ' ' is empty"):
        metric(name).sample(doc, LoglikelihoodResponse(logprobs=(-1.0, -2.0), greedy=(False, False), token_counts=(1, 1)))


def test_plus_minus_one_is_the_set_of_both() -> None:
    doc = Doc(id="test:0", query="", choices=(r"$x\in\{1,-1\}$",), gold=(0,))
    for text in (r"$\pm 1$", r"$\{-1, 1\}$"):
        values = metric("latex_gold_metric").sample(doc, GenerateResponse(texts=(text,), finish_reasons=("stop",)))
        assert values == {"extractive_match": 1.0}
