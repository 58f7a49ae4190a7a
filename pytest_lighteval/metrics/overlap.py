"""Overlap of a generated text with reference texts: ROUGE, single-order BLEU, DROP's bags of words, verbatim copying."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from pytest_lighteval.common.statistics import MEAN, mean
from pytest_lighteval.metrics import normalizers
from pytest_lighteval.metrics.libraries import load, split_words, split_words_of
from pytest_lighteval.types import Ask, CorpusMetric, Doc, GenerateResponse, Metric

ROUGES = ("rouge1", "rouge2", "rougeL", "rougeLsum")


@cache
def _rouge_scorer() -> Any:
    return load("rouge_score.rouge_scorer", "rouge-score").RougeScorer(ROUGES, use_stemmer=False)


def rouge(golds: Sequence[str], text: str, name: str) -> float:
    """F-measure of the rouge-score library without stemming, averaged over the references (not the best of them)."""
    return mean([float(_rouge_scorer().score(gold, text)[name].fmeasure) for gold in golds])


def _rouge(name: str) -> Metric:
    def sample(doc: Doc, response: GenerateResponse) -> dict[str, float]:
        return {name: rouge(doc.golds, response.texts[0], name)}

    return Metric(name=name, ask=Ask.GENERATION, sample=sample, corpus={name: MEAN})


def _rouge_t5(doc: Doc, response: GenerateResponse) -> dict[str, float]:
    """ROUGE x 100 as in T5 (Raffel et al. 2020, arXiv:1910.10683), one sentence a line.

    The plain mean over the references, where T5 takes the middle of an unseeded bootstrap of them.
    """
    golds, text = [normalizers.bigbench(gold) for gold in doc.golds], normalizers.bigbench(response.texts[0])
    return {name: 100 * rouge(golds, text, name) for name in ROUGES}


def sentence_bleu(golds: Sequence[str], text: str, *, order: int) -> float:
    """Clipped precision of the n-grams of one order alone, times the brevity penalty; NLTK's `sentence_bleu` with all weight on it.

    A text too short for any n-gram of that order gets what NLTK uses for zero, the smallest positive number. A text without a common
    word gets 0.
    """
    bleu = load("nltk.translate.bleu_score", "nltk")
    references, hypothesis = [split_words(gold) for gold in golds], split_words(text)
    if bleu.modified_precision(references, hypothesis, 1).numerator == 0:
        return 0.0
    precision = bleu.modified_precision(references, hypothesis, order)
    penalty = bleu.brevity_penalty(bleu.closest_ref_length(references, len(hypothesis)), len(hypothesis))
    return float(penalty) * (float(precision) or 2.2250738585072626e-308)


def _sentence_bleu(order: int) -> Metric:
    name = f"bleu_{order}"

    def sample(doc: Doc, response: GenerateResponse) -> dict[str, float]:
        return {name: sentence_bleu(doc.golds, response.texts[0], order=order)}

    return Metric(name=name, ask=Ask.GENERATION, sample=sample, corpus={name: MEAN})


# --------------------------------------------------------------------------------------------------- DROP

_PUNCTUATION = frozenset(string.punctuation)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _normalize_span(span: str) -> str:
    """As the DROP evaluation does: word by word lower case, no punctuation (but in numbers), no articles, numbers as Python prints them."""
    words = []
    for token in re.split(r"[ -]", span):
        word = token.lower()
        if not _is_number(word):
            word = "".join(letter for letter in word if letter not in _PUNCTUATION)
        if _is_number(word):
            word = str(float(word))
        words.append(" ".join(re.sub(r"\b(a|an|the)\b", " ", word).split()))
    return " ".join(word for word in words if word)


def _bag_f1(gold: frozenset[str], given: frozenset[str]) -> float:
    """F1 of two sets of words; 0 when the gold has numbers and none of them is given."""
    numbers = {word for word in gold if _is_number(word)}
    if numbers and not numbers & given:
        return 0.0
    precision = len(gold & given) / len(given) if given else 1.0
    recall = len(gold & given) / len(gold) if gold else 1.0
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def drop_scores(spans: Sequence[str], text: str) -> tuple[float, float]:
    """Exact match and F1 (two digits) of DROP (Dua et al. 2019, arXiv:1903.00161) for one accepted answer.

    The answer's spans and the text as one span are aligned for the highest total F1; a span without a partner counts 0.
    """
    right, given = [_normalize_span(span) for span in spans], _normalize_span(text)
    bag = frozenset(given.split())
    aligned = [_bag_f1(frozenset(span.split()), bag) for span in right]
    return float(right == [given]), round(max(aligned) / len(right), 2)


def _drop(doc: Doc, response: GenerateResponse) -> dict[str, float]:
    answers = [answer for answer in doc.specific["golds_no_preprocessing"] if answer and answer[0].strip()]
    scores = [drop_scores(answer, response.texts[0]) for answer in answers]
    return {
        "qem": max((exact for exact, _ in scores), default=0.0),
        "f1": max((f1 for _, f1 in scores), default=0.0),
    }


# ------------------------------------------------------------------------------------------------- copying


def _copyright(doc: Doc, response: GenerateResponse) -> dict[str, float]:
    """How much of the source text is continued word for word, as in HELM's copyright scenario; the best copy of the texts counts.

    The source is cut to the text's length before both are split into Treebank words.
    """
    tokenizer = load("nltk.tokenize", "nltk").TreebankWordTokenizer()
    prefixes, distances, similarities = [], [], []
    for raw in response.texts:
        text = raw.strip()
        given, source = tokenizer.tokenize(text), tokenizer.tokenize(doc.golds[0][: len(text)])
        distance = _edit_distance(given, source)
        longest = max(len(given), len(source))
        prefixes.append(_common_prefix(given, source))
        distances.append(distance)
        similarities.append(1 - distance / longest if longest else 0.0)
    return {
        "longest_common_prefix_length": float(max(prefixes)),
        "edit_distance": float(min(distances)),
        "edit_similarity": max(similarities),
    }


def _common_prefix(one: Sequence[str], other: Sequence[str], start: int = 0, other_start: int = 0) -> int:
    """How many words agree from the two places on."""
    most = min(len(one) - start, len(other) - other_start)
    return next((length for length in range(most) if one[start + length] != other[other_start + length]), most)


def _edit_distance(one: Sequence[str], other: Sequence[str]) -> int:
    """Levenshtein over words."""
    row = list(range(len(other) + 1))
    for left in one:
        diagonal, row[0] = row[0], row[0] + 1
        for index, right in enumerate(other, start=1):
            diagonal, row[index] = row[index], min(row[index] + 1, row[index - 1] + 1, diagonal + (left != right))
    return row[-1]


# ------------------------------------------------------------------------------------------------- summaries


def extractive_fragments(summary: Sequence[str], text: Sequence[str]) -> list[int]:
    """Lengths of the fragments that the summary shares with the text: greedily the longest one from each place on.

    Grusky et al. 2018, arXiv:1804.11283, figure 3.
    """
    lengths = []
    place = 0
    while place < len(summary):
        longest = max((_common_prefix(summary, text, place, start) for start in range(len(text))), default=0)
        if longest:
            lengths.append(longest)
        place += max(longest, 1)
    return lengths


def _extractiveness(doc: Doc, response: GenerateResponse) -> dict[str, float]:
    """Coverage, density and compression of Newsroom (ibid., section 4) over lower-case words; `specific["text"]` is summarized."""
    text = split_words_of(normalizers.remove_braces(doc.specific["text"]).lower(), "en")
    summary = split_words_of(normalizers.remove_braces_and_strip(response.texts[0]).lower(), "en")
    fragments, count = extractive_fragments(summary, text), len(summary)
    return {
        "summarization_coverage": sum(fragments) / count if count else 0.0,
        "summarization_density": sum(length**2 for length in fragments) / count if count else 0.0,
        "summarization_compression": len(text) / count if count else 0.0,
    }


_PERCENT = replace(MEAN, range=(0.0, 100.0))
_UNBOUNDED = replace(MEAN, range=None)

_SUMMARY: Mapping[str, CorpusMetric] = {
    "summarization_coverage": MEAN,
    "summarization_density": _UNBOUNDED,
    "summarization_compression": _UNBOUNDED,
}

_COPYRIGHT: Mapping[str, CorpusMetric] = {
    "longest_common_prefix_length": CorpusMetric(aggregate=max, higher_is_better=True, is_mean=False),
    "edit_distance": CorpusMetric(aggregate=min, higher_is_better=False, is_mean=False),
    "edit_similarity": CorpusMetric(aggregate=max, higher_is_better=True, range=(0.0, 1.0), is_mean=False),
}

METRICS = (
    *(_rouge(name) for name in ROUGES),
    Metric(name="rouge_t5", ask=Ask.GENERATION, sample=_rouge_t5, corpus=dict.fromkeys(ROUGES, _PERCENT)),
    _sentence_bleu(1),
    _sentence_bleu(4),
    Metric(name="drop", ask=Ask.GENERATION, sample=_drop, corpus={"qem": MEAN, "f1": MEAN}),
    Metric(name="copyright", ask=Ask.GENERATION, sample=_copyright, corpus=_COPYRIGHT),
    Metric(name="extractiveness", ask=Ask.GENERATION, sample=_extractiveness, corpus=_SUMMARY),
)
