"""Overlap of a generated text with reference texts: ROUGE, single-order BLEU, DROP's bags of words, verbatim copying."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from pytest_lighteval.common.statistics import MEAN, mean
from pytest_lighteval.errors import NotJudgedError
from pytest_lighteval.metrics import normalizers
from pytest_lighteval.metrics.libraries import load, split_words, split_words_of
from pytest_lighteval.metrics.word_sequences import Phrases, common_length, common_places, edit_distance
from pytest_lighteval.types import Ask, CorpusMetric, Doc, GenerateResponse, Metric

ROUGES = ("rouge1", "rouge2", "rougeL", "rougeLsum")


MOST_ROUGE_STEPS = 10_000_000
"""Of ROUGE-Lsum for one document, which compares each line of a text with each line of a gold: a few seconds."""

MOST_WORD_PAIRS = 1_000_000_000
"""Words of a text by words of a gold, a bit each in memory. Two texts of 150,000 characters have so many."""


WordsOf = Callable[[str], list[str]]
"""How a text is divided into words."""


def _rouge_words(text: str) -> list[str]:
    """Those of rouge-score without stemming: runs of a-z and 0-9."""
    words: list[str] = load("rouge_score.tokenize", "rouge-score").tokenize(text, None)
    return words


@dataclass(frozen=True, slots=True)
class _Tokenizer:
    """What rouge-score asks for words."""

    tokenize: WordsOf


@cache
def _rouge_scorer(name: str, words_of: WordsOf) -> Any:
    return load("rouge_score.rouge_scorer", "rouge-score").RougeScorer([name], tokenizer=_Tokenizer(words_of))


def rouge(
    golds: Sequence[str],
    text: str,
    name: str,
    *,
    words_of: WordsOf = _rouge_words,
    over: Callable[[Sequence[float]], float] = mean,
) -> float:
    """F-measure of the rouge-score library without stemming, `over` the references: their mean, where Lin 2004 takes the best.

    The longest common subsequences of ROUGE-L and ROUGE-Lsum are found in less time than by the library, with the same result.
    """
    score = {"rougeL": _rouge_l, "rougeLsum": _rouge_l_sum}.get(name)
    if score is None:
        return over([float(_rouge_scorer(name, words_of).score(gold, text)[name].fmeasure) for gold in golds])
    return over([score(gold, text, words_of) for gold in golds])


def _f_measure(hits: int, given: int, right: int) -> float:
    if not given or not right:
        return 0.0
    return float(load("rouge_score.scoring", "rouge-score").fmeasure(hits / given, hits / right))


def _rouge_l(gold: str, text: str, words_of: WordsOf) -> float:
    right, given = words_of(gold), words_of(text)
    _refuse_large(len(right) * len(given), MOST_WORD_PAIRS, "rougeL", text)
    return _f_measure(common_length(right, given), len(given), len(right))


def _rouge_l_sum(gold: str, text: str, words_of: WordsOf) -> float:
    """As `_summary_level_lcs` of the library, where equal lines of the text are compared once."""
    right, given = ([words_of(line) for line in whole.split("\n") if line] for whole in (gold, text))
    lines = list({tuple(line): line for line in given}.values())
    sizes = sum(map(len, right)), sum(map(len, lines))
    _refuse_large(sizes[0] * (1 + len(lines)) + sizes[1] * (1 + len(right)), MOST_ROUGE_STEPS, "rougeLsum", text)
    _refuse_large(sizes[0] * sizes[1], MOST_WORD_PAIRS, "rougeLsum", text)
    free_right, free_given = Counter(word for line in right for word in line), Counter(word for line in given for word in line)
    hits = 0
    for line in right:
        for place in sorted(set().union(*(common_places(line, other) for other in lines))):
            if free_right[line[place]] > 0 and free_given[line[place]] > 0:
                hits += 1
                free_right[line[place]] -= 1
                free_given[line[place]] -= 1
    return _f_measure(hits, sum(map(len, given)), sizes[0])


def _refuse_large(steps: int, most: int, name: str, text: str) -> None:
    if steps > most:
        raise NotJudgedError(f"{name} would take {steps:,} steps for a text of {len(text):,} characters; at most {most:,} are taken")


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
        _refuse_large(len(given) * len(source), MOST_WORD_PAIRS, "copyright", text)
        distance = edit_distance(given, source)
        longest = max(len(given), len(source))
        prefixes.append(_common_prefix(given, source))
        distances.append(distance)
        similarities.append(1 - distance / longest if longest else 0.0)
    return {
        "longest_common_prefix_length": float(max(prefixes)),
        "edit_distance": float(min(distances)),
        "edit_similarity": max(similarities),
    }


def _common_prefix(one: Sequence[str], other: Sequence[str]) -> int:
    """How many words agree from the start on."""
    most = min(len(one), len(other))
    return next((length for length in range(most) if one[length] != other[length]), most)


# ------------------------------------------------------------------------------------------------- summaries


def extractive_fragments(summary: Sequence[str], text: Sequence[str]) -> list[int]:
    """Lengths of the fragments that the summary shares with the text: greedily the longest one from each place on.

    Grusky et al. 2018, arXiv:1804.11283, figure 3.
    """
    lengths = []
    phrases = Phrases(text)
    place = 0
    while place < len(summary):
        longest = phrases.longest(summary, place)
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
    Metric(name="extractiveness", ask=Ask.GENERATION, sample=_extractiveness, corpus=_SUMMARY, judges_answers=False),
)
