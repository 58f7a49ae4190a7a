"""Metrics of how likely a model finds given texts: accuracies, probabilities and ranks. Lighteval's definitions, ties included."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from pytest_lighteval.common.statistics import MEAN
from pytest_lighteval.errors import DataError
from pytest_lighteval.metrics.soft_scores import on_grid, soft_margin
from pytest_lighteval.types import Ask, CorpusMetric, Doc, LoglikelihoodResponse, Metric, SoftScore

Normalize = Callable[[Doc, LoglikelihoodResponse], Sequence[float]]
"""Log-probabilities of the choices that can be compared with each other."""


def best_choice(logprobs: Sequence[float]) -> int:
    """Index of the highest; the first one wins a tie."""
    return max(range(len(logprobs)), key=logprobs.__getitem__)


def as_they_are(doc: Doc, response: LoglikelihoodResponse) -> Sequence[float]:
    """The sum over the choice's tokens."""
    return response.logprobs


def per_character(doc: Doc, response: LoglikelihoodResponse) -> Sequence[float]:
    """Divided by the characters of the choice as it is written, a leading space included."""
    return _divided(doc, doc.choices, response.logprobs, [len(choice) for choice in doc.choices])


def per_character_without_space(doc: Doc, response: LoglikelihoodResponse) -> Sequence[float]:
    """Divided by the characters of the choice without one leading space, as in lm-evaluation-harness."""
    return _divided(doc, doc.choices, response.logprobs, [len(choice.removeprefix(" ")) for choice in doc.choices])


def per_token(doc: Doc, response: LoglikelihoodResponse) -> Sequence[float]:
    """Divided by the choice's tokens."""
    return _divided(doc, doc.choices, response.logprobs, response.token_counts)


def pointwise_mutual_information(doc: Doc, response: LoglikelihoodResponse) -> Sequence[float]:
    """Less the log-probability after the unconditioned query."""
    if response.unconditioned_logprobs is None:
        raise DataError(f"{doc.id}: the choices were not scored after an unconditioned query")
    return [given - alone for given, alone in zip(response.logprobs, response.unconditioned_logprobs, strict=True)]


def _divided(doc: Doc, texts: Sequence[str], logprobs: Sequence[float], lengths: Sequence[int]) -> Sequence[float]:
    for text, length in zip(texts, lengths, strict=True):
        if not length:
            raise DataError(f"{doc.id}: the choice {text!r} is empty, its log-likelihood cannot be divided by its length")
    return [logprob / length for logprob, length in zip(logprobs, lengths, strict=True)]


def _with_margin(normalize: Normalize = as_they_are, *, depth: int = 1) -> CorpusMetric:
    """A mean whose documents have the lead of the right choices as their soft score."""

    def margin(doc: Doc, response: LoglikelihoodResponse) -> float:
        return soft_margin(normalize(doc, response), doc.gold, depth=depth)

    return replace(MEAN, soft=SoftScore(sample=margin, is_margin=True))


def accuracy(name: str, reported: str, normalize: Normalize = as_they_are, *, ask: Ask = Ask.CHOICES) -> Metric:
    """1 if the likeliest choice is right."""

    def sample(doc: Doc, response: LoglikelihoodResponse) -> dict[str, float]:
        return {reported: float(best_choice(normalize(doc, response)) in doc.gold)}

    return Metric(name=name, ask=ask, sample=sample, corpus={reported: _with_margin(normalize)})


def normalized_probability(name: str, reported: str, normalize: Normalize, *, ask: Ask = Ask.CHOICES) -> Metric:
    """The likeliest gold's share of the choices' probability."""

    def sample(doc: Doc, response: LoglikelihoodResponse) -> dict[str, float]:
        logprobs = normalize(doc, response)
        highest = max(logprobs)
        weights = [math.exp(logprob - highest) for logprob in logprobs]
        return {reported: max(weights[index] for index in doc.gold) / math.fsum(weights)}

    return Metric(name=name, ask=ask, sample=sample, corpus={reported: MEAN})


def gold_probability(name: str, reported: str, *, per_token_of_gold: bool = False) -> Metric:
    """The likeliest gold's probability, or its geometric mean over the gold's tokens."""

    def sample(doc: Doc, response: LoglikelihoodResponse) -> dict[str, float]:
        logprobs = _divided(doc, doc.golds, response.logprobs, response.token_counts) if per_token_of_gold else response.logprobs
        return {reported: math.exp(max(logprobs))}

    return Metric(name=name, ask=Ask.GOLDS, sample=sample, corpus={reported: MEAN})


def recall(name: str, reported: str, *, depth: int) -> Metric:
    """1 if a right choice is among the `depth` likeliest ones. The first choice wins a tie at depth 1, the last one at others."""

    def sample(doc: Doc, response: LoglikelihoodResponse) -> dict[str, float]:
        ranked = sorted(range(len(response.logprobs)), key=response.logprobs.__getitem__)[::-1]
        found = ranked[:depth] if depth > 1 else [best_choice(response.logprobs)]
        return {reported: float(any(index in doc.gold for index in found))}

    return Metric(name=name, ask=Ask.CHOICES, sample=sample, corpus={reported: _with_margin(depth=depth)})


def _reciprocal_rank(doc: Doc, response: LoglikelihoodResponse) -> dict[str, float]:
    best = max(response.logprobs[index] for index in doc.gold)
    return {"mrr": 1 / (1 + sum(logprob > best for logprob in response.logprobs))}


def _gold_logprob(doc: Doc, response: LoglikelihoodResponse) -> float:
    """Of the likeliest right answer."""
    return on_grid(max(response.logprobs))


def _truthfulqa_margin(doc: Doc, response: LoglikelihoodResponse) -> float:
    """The lead of the right choice of MC1."""
    return soft_margin(response.logprobs[: int(doc.specific["len_mc1"])], (0,))


def _any_gold_is_greedy(doc: Doc, response: LoglikelihoodResponse) -> dict[str, float]:
    return {"acc": float(any(response.greedy))}


def _truthfulqa(doc: Doc, response: LoglikelihoodResponse) -> dict[str, float]:
    """MC1 and MC2 of TruthfulQA (Lin et al. 2022, arXiv:2109.07958), both asked with one list of choices.

    `specific["len_mc1"]` choices belong to MC1, the first of them is the right one. In MC2 the leading run of golds counts as true, as in
    the original harness: a gold after the first false answer counts as false.
    """
    split = int(doc.specific["len_mc1"])
    true = split
    while true in doc.gold and true < len(response.logprobs):
        true += 1
    highest = max(response.logprobs[split:], default=0.0)
    weights = [math.exp(logprob - highest) for logprob in response.logprobs[split:]]
    return {
        "mc1": float(best_choice(response.logprobs[:split]) == 0),
        "mc2": math.fsum(weights[: true - split]) / math.fsum(weights),
    }


METRICS = (
    accuracy("loglikelihood_acc", "acc"),
    accuracy("loglikelihood_acc_norm", "acc_norm", per_character),
    accuracy("loglikelihood_acc_norm_nospace", "acc_norm", per_character_without_space),
    # the reference scores these with one forward pass; the values are the same
    accuracy("loglikelihood_acc_single_token", "acc"),
    accuracy("loglikelihood_acc_norm_single_token", "acc_norm", per_character),
    # for the multilingual tasks, by normalization; the reported names are theirs
    accuracy("loglikelihood_acc_none", "acc_"),
    accuracy("loglikelihood_acc_char", "acc_norm", per_character),
    accuracy("loglikelihood_acc_char_nospace", "acc_norm", per_character_without_space),
    accuracy("loglikelihood_acc_token", "acc_norm_token", per_token),
    accuracy("loglikelihood_acc_pmi", "acc_norm_pmi", pointwise_mutual_information, ask=Ask.CHOICES_PMI),
    normalized_probability("normalized_mc_prob_none", "normalized_mc_prob_", as_they_are),
    normalized_probability("normalized_mc_prob_char", "normalized_mc_prob__norm", per_character),
    normalized_probability("normalized_mc_prob_char_nospace", "normalized_mc_prob__norm", per_character_without_space),
    normalized_probability("normalized_mc_prob_token", "normalized_mc_prob__norm_token", per_token),
    normalized_probability("normalized_mc_prob_pmi", "normalized_mc_prob__norm_pmi", pointwise_mutual_information, ask=Ask.CHOICES_PMI),
    gold_probability("probability_none", "prob"),
    gold_probability("probability_token", "prob_norm_token", per_token_of_gold=True),
    recall("recall_at_1", "acc", depth=1),
    recall("recall_at_2", "recall@2", depth=2),
    recall("recall_at_1_single_token", "acc", depth=1),
    recall("recall_at_2_single_token", "recall@2", depth=2),
    Metric(name="mrr", ask=Ask.CHOICES, sample=_reciprocal_rank, corpus={"mrr": MEAN}),
    Metric(name="mrr_single_token", ask=Ask.CHOICES, sample=_reciprocal_rank, corpus={"mrr": MEAN}),
    Metric(
        name="acc_golds_likelihood",
        ask=Ask.GOLDS,
        sample=_any_gold_is_greedy,
        corpus={"acc": replace(MEAN, soft=SoftScore(sample=_gold_logprob, is_margin=False))},
    ),
    Metric(
        name="truthfulqa_mc_metrics",
        ask=Ask.CHOICES,
        sample=_truthfulqa,
        corpus={"mc1": replace(MEAN, soft=SoftScore(sample=_truthfulqa_margin, is_margin=True)), "mc2": MEAN},
    ),
)
