"""What the harness asks as requests, and what it reports as numbers: without the harness."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from pytest_lighteval.common.statistics import standard_error
from pytest_lighteval.errors import DataError
from pytest_lighteval.guests.lm_eval.declared import corpus_metric, declare, value_of
from pytest_lighteval.guests.lm_eval.plain_values import frozen, thawed
from pytest_lighteval.guests.lm_eval.requests import Asked, ChatPrompt, answers_of, as_requests, new_tokens, samples, unheeded
from pytest_lighteval.guests.lm_eval.task import make_guest
from pytest_lighteval.prompts.requests import digest_requests
from pytest_lighteval.types import (
    GenerateRequest,
    GenerateResponse,
    LoglikelihoodRequest,
    LoglikelihoodResponse,
    Message,
    PerplexityRequest,
    PerplexityResponse,
    RequestKind,
)


def choice(context: str, text: str) -> Asked:
    return Asked(kind="loglikelihood", arguments=(context, text))


def no_aggregate(value: Any) -> Any:
    raise AssertionError("no number is made when a task is collected")


# ---------------------------------------------------------------------------------------------------------- requests


def test_choices_after_one_context_are_one_request_by_the_harnesss_rule() -> None:
    made = as_requests([choice("Q:", " a"), choice("Q:", " b")])

    assert made.requests == {"choices": LoglikelihoodRequest(prompt="Q:", choices=(" a", " b"), tokenization="lm_eval")}
    assert made.places == [("choices", 0), ("choices", 1)]
    response = LoglikelihoodResponse(logprobs=(-1.0, -2.0), greedy=(True, False))
    assert answers_of([choice("Q:", " a"), choice("Q:", " b")], made.places, {"choices": response}) == [[(-1.0, True)], [(-2.0, False)]]


def test_a_context_for_each_choice_is_a_request_each_that_compete_with_none() -> None:
    made = as_requests([choice("The cat", " sat"), choice("The dog", " sat")])

    assert list(made.requests) == ["choices.1", "choices.2"]
    assert made.places == [("choices.1", 0), ("choices.2", 0)]


def test_choices_without_their_context_stand_beside_those_with_it() -> None:
    made = as_requests([choice("Q:", " a"), choice("Q:", " b"), choice("", " a"), choice("", " b")])

    assert list(made.requests) == ["choices", "choices.alone"]
    assert made.places[2:] == [("choices.alone", 0), ("choices.alone", 1)]


def test_one_continuation_is_a_target_and_texts_and_whole_texts_are_their_own_kinds() -> None:
    arguments = {"until": "\n", "max_gen_toks": 7, "do_sample": False, "temperature": 0.0}

    assert list(as_requests([choice("Q:", " a")]).requests) == ["golds"]
    assert as_requests([Asked(kind="loglikelihood_rolling", arguments=("text",))]).requests == {
        "text": PerplexityRequest(text="text", tokenization="lm_eval")
    }
    assert as_requests([Asked(kind="generate_until", arguments=("Q:", arguments))]).requests == {
        "generation": GenerateRequest(prompt="Q:", stop_sequence=("\n",), max_new_tokens=7, tokenization="lm_eval")
    }
    assert as_requests([Asked(kind="generate_until", arguments=("Q:", {}))], expects_thoughts=True).requests == {
        "generation": GenerateRequest(prompt="Q:", max_new_tokens=256, tokenization="lm_eval")
    }
    with pytest.raises(DataError, match="no backend can be asked for 'multiple_choice_audio'"):
        as_requests([Asked(kind="multiple_choice_audio", arguments=("Q:",))])


def test_repeats_are_sampled_texts_or_the_greedy_one_again() -> None:
    sampled = Asked(kind="generate_until", arguments=("Q:", {"do_sample": True, "temperature": 0.2}), repeats=3)
    greedy = Asked(kind="generate_until", arguments=("Q:", {}), repeats=2)
    made = as_requests([sampled])

    assert made.requests["generation"] == GenerateRequest(
        prompt="Q:", max_new_tokens=256, num_samples=3, do_sample=True, tokenization="lm_eval"
    )
    assert answers_of([sampled], made.places, {"generation": GenerateResponse(texts=("a", "b", "c"))}) == [["a", "b", "c"]]
    assert answers_of([greedy], [("generation", 0)], {"generation": GenerateResponse(texts=("a",))}) == [["a", "a"]]
    assert answers_of([greedy], [("text", 0)], {"text": PerplexityResponse(logprob=-3.0)}) == [[-3.0, -3.0]]


def test_a_chat_is_asked_in_turns_and_its_text_knows_them() -> None:
    turns = (Message(role="user", content="Q:"),)
    made = as_requests([choice(ChatPrompt("<user>Q:", turns), " a"), choice(ChatPrompt("<user>Q:", turns), " b")])

    assert made.requests["choices"] == LoglikelihoodRequest(prompt=turns, choices=(" a", " b"), tokenization="lm_eval")


def test_generation_arguments_that_no_request_carries_are_told() -> None:
    assert unheeded({"until": [], "do_sample": False, "temperature": 0.0, "top_p": 0.9}) == {}
    assert unheeded({"do_sample": True, "temperature": 0.2, "max_gen_toks": 9}) == {"temperature": 0.2}
    assert unheeded({"repetition_penalty": 1.1}) == {"repetition_penalty": 1.1}
    assert (new_tokens({}), new_tokens({"max_tokens": 3, "max_gen_toks": 5})) == (256, 5)
    assert (samples({}), samples({"temperature": 0.7}), samples({"temperature": 0.7, "do_sample": False})) == (False, True, False)


def test_a_request_that_leaves_the_tokenization_open_keeps_its_digest() -> None:
    request = LoglikelihoodRequest(prompt="Q:", choices=(" a",))

    assert digest_requests({"choices": request}) == "9891ac9053eb"
    assert digest_requests(as_requests([choice("Q:", " a"), choice("Q:", " b")]).requests) != digest_requests(
        {"choices": LoglikelihoodRequest(prompt="Q:", choices=(" a", " b"))}
    )


# ------------------------------------------------------------------------------------------------------------ values


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (np.float64(0.5), 0.5),
        (np.int64(3), 3),
        (True, True),
        ((1, np.array([0.25, 0.75])), (1, (0.25, 0.75))),
        (["gold", ["a", "b"]], ("gold", ("a", "b"))),
        ((True, {"idx": {"paragraph": 1}, "label": 0}), (True, ("{}", ("idx", ("{}", ("paragraph", 1))), ("label", 0)))),
    ],
)
def test_a_documents_value_is_kept_as_plain_values_and_comes_back(value: Any, kept: Any) -> None:
    assert frozen(value) == kept
    assert type(frozen(value)) is type(kept)
    back = thawed(frozen(value))
    if isinstance(value, tuple) and isinstance(value[1], dict):
        assert back == value


def test_what_has_no_form_in_files_is_refused() -> None:
    with pytest.raises(TypeError, match="a set cannot be kept"):
        frozen((1, {2}))


# ----------------------------------------------------------------------------------------------------------- numbers


def test_what_a_task_reports_is_each_metric_under_each_filter() -> None:
    config = {
        "output_type": "generate_until",
        "metric_list": [{"metric": "exact_match"}, {"metric": {"!function": "utils.f1", "folder": "/x"}, "aggregation": "median"}],
        "filter_list": [{"name": "none"}, {"name": "strict"}],
    }
    declared = declare(config, find=no_aggregate, where="t")

    assert list(declared.corpus) == ["exact_match", "exact_match,strict", "f1", "f1,strict"]
    assert declared.corpus["exact_match"].range == (0.0, 1.0)
    assert (declared.corpus["f1"].is_mean, declared.corpus["f1"].range) == (False, None)
    assert declare({**config, "process_results": {}}, find=no_aggregate, where="t").corpus["exact_match"].range is None


def test_a_task_without_a_metric_list_has_the_harnesss_defaults() -> None:
    rolling = declare({"output_type": "loglikelihood_rolling"}, find=no_aggregate, where="t")

    assert rolling.kinds == (RequestKind.PERPLEXITY,)
    assert {name: metric.higher_is_better for name, metric in rolling.corpus.items()} == {
        "word_perplexity": False, "byte_perplexity": False, "bits_per_byte": False,
    }  # fmt: skip
    assert list(declare({}, find=no_aggregate, where="t").corpus) == ["exact_match"]
    assert declare({"class": True}, find=no_aggregate, where="t").corpus == {}


@pytest.mark.parametrize(("version", "ours"), [(1.0, 1), ("2.0", 2), (1.1, 1100), ("Yaml", 0), (None, 0), (0, 0)])
def test_versions_of_the_harness_become_whole_numbers(version: Any, ours: int) -> None:
    assert declare({"metadata": {"version": version}}, find=no_aggregate, where="t").version == ours


def test_pictures_and_unknown_output_types_are_skipped_with_the_reason() -> None:
    assert "pictures" in (declare({"doc_to_image": "image"}, find=no_aggregate, where="t").skip or "")
    assert "output_type is 'video'" in (declare({"output_type": "video"}, find=no_aggregate, where="t").skip or "")


def weighted(values: Sequence[tuple[float, float]]) -> float:
    return math.exp(-sum(one for one, _ in values) / sum(size for _, size in values))


AGGREGATES: Mapping[str, Callable[[Any], float]] = {
    "perplexity": lambda values: math.exp(-sum(values) / len(values)),
    "weighted_perplexity": weighted,
    "bits_per_byte": lambda values: -sum(one for one, _ in values) / sum(size for _, size in values) / math.log(2),
}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("perplexity", [-1.0, -2.5, -0.5, -4.0]),
        ("word_perplexity", [(-10.0, 5), (-3.0, 2), (-8.0, 9)]),
        ("bits_per_byte", [(-10.0, 5), (-3.0, 2), (-8.0, 9)]),
    ],
)
def test_aggregates_for_all_resamples_at_once_are_the_harnesss_own(name: str, values: list[Any]) -> None:
    aggregate = {"perplexity": "perplexity", "word_perplexity": "weighted_perplexity"}.get(name, name)
    metric = corpus_metric(name, {"aggregation": aggregate}, find=lambda known: AGGREGATES[known], where="t")
    rows = np.array([range(len(values)), [0] * len(values), [len(values) - 1, 0] + [-1] * (len(values) - 2)], dtype=np.int32)
    assert metric.bootstrap is not None

    expected = [AGGREGATES[aggregate]([values[index] for index in row if index >= 0]) for row in rows]
    assert metric.bootstrap(values, rows) == pytest.approx(expected)
    assert metric.aggregate(values) == pytest.approx(expected[0])


def test_resamples_of_a_bleu_are_those_of_sacrebleu_without_its_being_asked_again() -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    values = [("the cat sat on the mat", "the cat sat on a mat"), (("a dog", "one dog"), "a dog barks"), ("no match", "nothing here")]
    rows = np.array([[0, 1, 2], [2, 0, 0]], dtype=np.int32)
    metric = corpus_metric("bleu", {}, find=no_aggregate, where="t")
    assert metric.bootstrap is not None

    def whole(row: Sequence[int]) -> float:
        golds = [[gold] if isinstance(gold, str) else list(gold) for gold, _ in (values[index] for index in row)]
        most = max(map(len, golds))
        references = [[gold[place] if place < len(gold) else None for gold in golds] for place in range(most)]
        return float(sacrebleu.corpus_bleu([values[index][1] for index in row], references).score)

    assert metric.bootstrap(values, rows) == pytest.approx([whole([0, 1, 2]), whole([2, 0, 0])])


def test_an_aggregate_of_the_tasks_own_is_bootstrapped_and_its_failure_is_one_line() -> None:
    def own(values: Sequence[float]) -> float:
        if len(set(values)) == 1:
            raise ZeroDivisionError("no spread")
        return max(values)

    metric = corpus_metric("spread", {"aggregation": "own"}, find=lambda _: own, where="lm_eval|t: spread")
    assert metric.bootstrap is not None

    assert np.isnan(metric.bootstrap([1.0, 2.0], np.array([[0, 0], [0, 1]]))).tolist() == [True, False]
    assert standard_error([1.0, 2.0], metric) is None
    with pytest.raises(DataError, match=r"lm_eval\|t: spread: its aggregate failed: ZeroDivisionError: no spread"):
        metric.aggregate([1.0, 1.0])


def test_a_brier_score_is_a_mean_over_documents_and_a_nanmean_leaves_numbers_out() -> None:
    values = [value_of("brier_score", {}, (1, (0.25, 0.75))), value_of("brier_score", {}, (0, (0.5, 0.5)))]
    metric = corpus_metric("brier_score", {}, find=no_aggregate, where="t")

    assert values == [0.125, 0.5]
    assert (metric.is_mean, metric.higher_is_better, metric.aggregate(values)) == (True, False, 0.3125)
    assert value_of("x", {"aggregation": "nanmean"}, math.nan) is None


@pytest.mark.parametrize("value", [[1, 2], None, "0.5"])
def test_a_mean_has_numbers_alone(value: Any) -> None:
    guest = make_guest("t", "", {}, declare({"output_type": "multiple_choice"}, find=no_aggregate, where="t"), None)

    assert guest.values(None, "none", {"acc": np.float64(1.0)}) == {"acc": 1.0}
    with pytest.raises(DataError, match=r"lm_eval\|t: acc: its value of a document is .*, which has no mean: a number is needed"):
        guest.values(None, "none", {"acc": value})
