"""Stand-ins for the classes of Lighteval's `metrics/metrics_sample.py`: metrics of one document that modules put together themselves.

Each takes the keywords of both dialects: `golds=, predictions=` or `choices_logprob=, gold_ixs=` up to 0.9, `doc=, model_response=` since.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_lighteval.guests.lighteval.documents import as_list
from pytest_lighteval.guests.lighteval.metric_objects import ModelResponse, SampleLevelComputation
from pytest_lighteval.metrics.matches import Compare, is_match, word_f1
from pytest_lighteval.metrics.sampling import g_pass_at, mean_g_pass_at, pass_at

Aggregate = Callable[[list[float]], float]
Normalizer = Callable[[str], str]


@dataclass
class LogProbCharNorm:
    """Log-probabilities are divided by characters."""

    name: str = "norm"
    ignore_first_space: bool = False


@dataclass
class LogProbTokenNorm:
    """Log-probabilities are divided by tokens."""

    name: str = "norm_token"


@dataclass
class LogProbPMINorm:
    """The log-probability after the unconditioned query is subtracted."""

    name: str = "norm_pmi"


Normalization = LogProbCharNorm | LogProbTokenNorm | LogProbPMINorm | None


def normalize_log_probs(
    normalization: Normalization,
    choices_logprob: Sequence[float],
    unconditioned_logprob: Sequence[float] | None,
    choices_text: Sequence[str] | None,
    choices_tokens: Sequence[Sequence[int]] | None,
) -> list[float]:
    """Log-probabilities that can be compared with each other."""
    if isinstance(normalization, LogProbPMINorm):
        if unconditioned_logprob is None:
            raise ValueError("the choices were not scored after an unconditioned query")
        return [given - alone for given, alone in zip(choices_logprob, unconditioned_logprob, strict=True)]
    if isinstance(normalization, LogProbTokenNorm):
        lengths = [len(tokens) for tokens in choices_tokens or ()]
    elif isinstance(normalization, LogProbCharNorm):
        skips = normalization.ignore_first_space
        lengths = [len(text) - (skips and text.startswith(" ")) for text in choices_text or ()]
    else:
        return list(choices_logprob)
    return [logprob / length for logprob, length in zip(choices_logprob, lengths, strict=True)]


def texts_of(given: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Golds and predictions of either dialect's keywords."""
    if "model_response" in given:
        return given["doc"].get_golds(), list(given["model_response"].final_text)
    return list(given["golds"]), list(given["predictions"])


@dataclass
class Choices:
    """What is known of a document's choices, of either dialect's keywords."""

    golds: list[int]
    logprobs: list[float]
    unconditioned: list[float] | None
    tokens: list[list[int]] | None
    texts: list[str]

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Choices:
        if "model_response" in given:
            response, doc = given["model_response"], given["doc"]
            return cls(
                as_list(doc.gold_index), response.logprobs, response.unconditioned_logprobs, response.output_tokens, list(doc.choices)
            )
        doc = given.get("formatted_doc")
        texts = list(doc.choices) if doc is not None else given.get("choices_texts") or []
        return cls(
            list(given["gold_ixs"]), list(given["choices_logprob"]), given.get("unconditioned_logprob"), given.get("choices_tokens"), texts
        )

    def normalized(self, normalization: Normalization) -> list[float]:
        return normalize_log_probs(normalization, self.logprobs, self.unconditioned, self.texts, self.tokens)


@dataclass
class _OfTexts(SampleLevelComputation):
    aggregation_function: Aggregate | None = max
    normalize_gold: Normalizer | None = None
    normalize_pred: Normalizer | None = None
    strip_strings: bool = False

    def compute(self, **given: Any) -> float:  # type: ignore[override] # both dialects' keywords
        golds, predictions = texts_of(given)
        return (self.aggregation_function or max)([self.compute_one_item(gold=gold, pred=pred) for gold in golds for pred in predictions])

    def compute_one_item(self, gold: str, pred: str) -> float:
        raise NotImplementedError


@dataclass
class ExactMatches(_OfTexts):
    """1 if a text is a gold, or begins or ends with it."""

    type_exact_match: Compare = "full"

    def compute_one_item(self, gold: str, pred: str) -> float:
        """Of one gold and one text."""
        return float(
            is_match(
                gold,
                pred,
                compare=self.type_exact_match,
                gold_normalizer=self.normalize_gold or str,
                prediction_normalizer=self.normalize_pred or str,
                strip=self.strip_strings,
            )
        )


@dataclass
class F1_score(_OfTexts):  # noqa: N801 # Lighteval's name
    """F1 over the sets of words."""

    def compute_one_item(self, gold: str, pred: str) -> float:
        """Of one gold and one text."""
        return word_f1((self.normalize_gold or str)(gold), (self.normalize_pred or str)(pred))


@dataclass
class LoglikelihoodAcc(SampleLevelComputation):
    """1 if the likeliest choice is right."""

    logprob_normalization: Normalization = None

    def compute(self, **given: Any) -> float:  # type: ignore[override] # both dialects' keywords
        """Of one document."""
        choices = Choices.of(given)
        values = choices.normalized(self.logprob_normalization)
        return float(values.index(max(values)) in choices.golds)


@dataclass
class NormalizedMultiChoiceProbability(SampleLevelComputation):
    """The golds' share of the choices' probability."""

    log_prob_normalization: Normalization = None
    aggregation_function: Callable[[list[float]], float] = max

    def compute(self, **given: Any) -> float:  # type: ignore[override] # both dialects' keywords
        """Of one document."""
        choices = Choices.of(given)
        values = choices.normalized(self.log_prob_normalization)
        weights = [math.exp(value - max(values)) for value in values]
        return float(self.aggregation_function([weights[index] / math.fsum(weights) for index in choices.golds]))


@dataclass
class Probability(SampleLevelComputation):
    """The likeliest gold's probability, or its geometric mean over the gold's tokens."""

    normalization: LogProbTokenNorm | None = None
    aggregation_function: Callable[[list[float]], float] = max

    def compute(self, **given: Any) -> float:  # type: ignore[override] # both dialects' keywords
        """Of one document."""
        if "model_response" in given:
            logprobs, tokens = given["model_response"].logprobs, given["model_response"].output_tokens
        else:
            logprobs, tokens = given["logprobs"], given["target_tokens"]
        values = normalize_log_probs(self.normalization, logprobs, None, None, tokens)
        return float(self.aggregation_function([math.exp(value) for value in values]))


@dataclass
class Recall(SampleLevelComputation):
    """1 if a right choice is among the `at` (newer: `k`) likeliest ones."""

    at: int = 1
    k: int | None = None

    def compute(self, **given: Any) -> float:  # type: ignore[override] # both dialects' keywords
        """Of one document."""
        choices = Choices.of(given)
        ranked = sorted(range(len(choices.logprobs)), key=choices.logprobs.__getitem__)[::-1]
        return float(any(index in choices.golds for index in ranked[: self.k or self.at]))


@dataclass
class MRR(SampleLevelComputation):
    """One divided by the rank of the likeliest right choice."""

    length_normalization: bool = False

    def compute(self, **given: Any) -> float:  # type: ignore[override] # both dialects' keywords
        """Of one document."""
        choices = Choices.of(given)
        values = choices.normalized(LogProbCharNorm() if self.length_normalization else None)
        best = max(values[index] for index in choices.golds)
        return 1 / (1 + sum(value > best for value in values))


class AccGoldLikelihood(SampleLevelComputation):
    """1 if a gold is what the model would have said."""

    def compute(self, **given: Any) -> float:  # type: ignore[override] # both dialects' keywords
        """Of one document."""
        if "model_response" in given:
            return float(any(given["model_response"].argmax_logits_eq_gold))
        return acc_golds_likelihood(**given)


def acc_golds_likelihood(argmax_logits_eq_gold_list: Sequence[bool], **_: Any) -> float:
    """1 if a gold is what the model would have said."""
    return float(any(argmax_logits_eq_gold_list))


# ------------------------------------------------------------------------------------------------ of several texts


@dataclass
class _OfSamples(SampleLevelComputation):
    k: int = 1
    n: int | None = None
    normalize_gold: Normalizer | None = None
    normalize_pred: Normalizer | None = None
    strip_strings: bool = False
    sample_scoring_function: Any = None
    type_exact_match: Compare = "full"
    name_prefix: str | None = None
    normalize: Normalizer | None = None
    """Of golds and texts, in newer Lighteval."""

    def num_samples(self) -> int:
        """How many texts are asked."""
        return self.n or self.k

    def is_right(self, given: Mapping[str, Any], text: str) -> bool:
        """Whether a text is right: by the function that was given, or as an exact match with any gold."""
        golds, _ = texts_of(given)
        function = self.sample_scoring_function
        form = self.normalize_pred or self.normalize or str
        if hasattr(function, "is_right"):
            return bool(function.is_right(given.get("doc") or given.get("formatted_doc"), text))
        if function is not None and not isinstance(function, str):
            prediction = form(text.strip() if self.strip_strings else text)
            if "model_response" in given:
                call = getattr(function, "compute", function)
                return bool(call(doc=given["doc"], model_response=ModelResponse(text=[prediction])) == 1)
            gold = (self.normalize_gold or str)(golds[0].strip() if self.strip_strings else golds[0])
            return bool(function(prediction, gold, given.get("formatted_doc")) == 1)
        match = ExactMatches(
            normalize_gold=self.normalize_gold or self.normalize,
            normalize_pred=self.normalize_pred or self.normalize,
            strip_strings=self.strip_strings,
            type_exact_match=function if isinstance(function, str) else self.type_exact_match,  # type: ignore[arg-type] # a user's text
        )
        return any(match.compute_one_item(gold, text) for gold in golds)

    def count(self, given: Mapping[str, Any]) -> tuple[int, int]:
        """How many texts are right, and of how many."""
        _, texts = texts_of(given)
        texts = texts[: self.num_samples()]
        return sum(self.is_right(given, text) for text in texts), len(texts)


@dataclass
class PassAtK(_OfSamples):
    """The chance that one of k texts is right (Chen et al. 2021, arXiv:2107.03374)."""

    def compute(self, **given: Any) -> float:  # type: ignore[override] # both dialects' keywords
        """Of one document."""
        right, count = self.count(given)
        return pass_at(self.k, right=right, samples=count)


@dataclass
class AvgAtN(_OfSamples):
    """The share of n texts that are right."""

    def compute(self, **given: Any) -> float:  # type: ignore[override] # both dialects' keywords
        """Of one document."""
        right, count = self.count(given)
        return right / count


@dataclass
class MajAtN(_OfSamples):
    """1 if the most frequent of n texts is right; the one seen first wins a tie."""

    def compute(self, **given: Any) -> float:  # type: ignore[override] # both dialects' keywords
        """Of one document."""
        _, texts = texts_of(given)
        form = self.normalize_pred or self.normalize or str
        forms = [form(text.strip() if self.strip_strings else text) for text in texts[: self.num_samples()]]
        given_most = max(forms, key=forms.count)
        golds, _ = texts_of(given)
        right = [(self.normalize_gold or self.normalize or str)(gold) for gold in golds]
        return float(any(is_match(gold, given_most, compare=self.type_exact_match, strip=self.strip_strings) for gold in right))


@dataclass
class GPassAtK(_OfSamples):
    """The chance that a share of k texts is right (Liu et al. 2024, arXiv:2412.13147)."""

    thresholds: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0)

    @property
    def metric_names(self) -> list[str]:
        """One for each k and threshold, and the area for each k."""
        prefix = f"{self.name_prefix}_" if self.name_prefix else ""
        return [
            name
            for k in as_list(self.k)
            for name in (*(f"{prefix}G-Pass@{k}_{threshold}" for threshold in self.thresholds), f"{prefix}mG-Pass@{k}")
        ]

    def num_samples(self) -> int:
        """How many texts are asked."""
        return self.n or max(as_list(self.k))

    def compute(self, **given: Any) -> dict[str, float]:  # type: ignore[override] # both dialects' keywords
        """Of one document."""
        right, count = self.count(given)
        values: list[float] = []
        for k in as_list(self.k):
            values += [g_pass_at(k, threshold, right=right, samples=count) for threshold in self.thresholds]
            values.append(mean_g_pass_at(k, right=right, samples=count))
        return dict(zip(self.metric_names, values, strict=True))
