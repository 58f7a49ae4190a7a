"""Metrics of several sampled texts: majority vote, pass@k and G-Pass@k."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from pytest_lighteval.common.statistics import MEAN
from pytest_lighteval.errors import DataError
from pytest_lighteval.metrics import normalizers
from pytest_lighteval.metrics.extraction import IsRight, letter_equality, math_equality
from pytest_lighteval.metrics.matches import Normalize, is_match, unchanged
from pytest_lighteval.types import Ask, Doc, GenerateResponse, Metric

THRESHOLDS = (0.0, 0.25, 0.5, 0.75, 1.0)


def pass_at(k: int, *, right: int, samples: int) -> float:
    """Chance that there is a right one among k samples drawn without replacement: 1 - C(n-c, k) / C(n, k).

    Chen et al. 2021, arXiv:2107.03374. ValueError for k > samples, where it is not defined.
    """
    return _tail(1, k, right=right, samples=samples)


def g_pass_at(k: int, threshold: float, *, right: int, samples: int) -> float:
    """Chance that at least a share `threshold` of k drawn samples is right (at least one for 0).

    Liu et al. 2024, arXiv:2412.13147, equation 3. ValueError for k > samples.
    """
    return _tail(max(1, math.ceil(threshold * k)), k, right=right, samples=samples)


def mean_g_pass_at(k: int, *, right: int, samples: int) -> float:
    """The area under G-Pass@k over thresholds from one half to one (equation 5 there)."""
    return 2 / k * math.fsum(_tail(least, k, right=right, samples=samples) for least in range(math.ceil(k / 2) + 1, k + 1))


def _tail(least: int, k: int, *, right: int, samples: int) -> float:
    if k > samples:
        raise ValueError(f"{k} of {samples} samples cannot be drawn")
    ways = sum(math.comb(right, hits) * math.comb(samples - right, k - hits) for hits in range(least, min(right, k) + 1))
    return ways / math.comb(samples, k)


def _count_right(doc: Doc, texts: Sequence[str], is_right: IsRight, *, at_least: int) -> tuple[int, int]:
    """How many texts are right, and of how many. Fewer than `at_least` cannot be scored."""
    if len(texts) < at_least:
        raise DataError(f"{doc.id}: {len(texts)} sampled texts where at least {at_least} are needed")
    return sum(is_right(doc, text) for text in texts), len(texts)


def pass_at_k(name: str, reported: str, is_right: IsRight, *, k: int, samples: int) -> Metric:
    """pass@k of that many samples, as `pass_at` defines it."""

    def sample(doc: Doc, response: GenerateResponse) -> dict[str, float]:
        right, count = _count_right(doc, response.texts[:samples], is_right, at_least=k)
        return {reported: pass_at(k, right=right, samples=count)}

    return Metric(name=name, ask=Ask.SAMPLES, sample=sample, corpus={reported: MEAN}, num_samples=samples)


def _g_pass(name: str, is_right: IsRight, *, ks: tuple[int, ...], samples: int = 48) -> Metric:
    def sample(doc: Doc, response: GenerateResponse) -> dict[str, float]:
        right, count = _count_right(doc, response.texts[:samples], is_right, at_least=max(ks))
        values: dict[str, float] = {}
        for k in ks:
            values |= {f"G-Pass@{k}_{threshold}": g_pass_at(k, threshold, right=right, samples=count) for threshold in THRESHOLDS}
            values[f"mG-Pass@{k}"] = mean_g_pass_at(k, right=right, samples=count)
        return values

    reported = [name for k in ks for name in (*(f"G-Pass@{k}_{threshold}" for threshold in THRESHOLDS), f"mG-Pass@{k}")]
    return Metric(name=name, ask=Ask.SAMPLES, sample=sample, corpus=dict.fromkeys(reported, MEAN), num_samples=samples)


def _majority(name: str, reported: str, *, k: int, normalizer: Normalize = unchanged, strip: bool = False) -> Metric:
    """1 if the most frequent answer among k texts is right; the one seen first wins a tie.

    Texts without an answer vote together, and empty texts do too; neither can be right.
    """

    def sample(doc: Doc, response: GenerateResponse) -> dict[str, float]:
        texts = [text.strip() if strip else text for text in response.texts[:k]]
        votes = Counter(normalizer(text) if text else "" for text in texts)
        winner, _ = votes.most_common(1)[0]
        right = winner is not None and any(is_match(gold, winner, gold_normalizer=normalizer, strip=strip) for gold in doc.golds)
        return {reported: float(right)}

    return Metric(name=name, ask=Ask.SAMPLES, sample=sample, corpus={reported: MEAN}, num_samples=k)


def _boxed(text: str) -> str:
    return normalizers.math(text) or ""


def _is_exact(doc: Doc, text: str) -> bool:
    return any(is_match(gold, text, strip=True) for gold in doc.golds)


_MATH = math_equality(("latex", "expr"), ("latex_boxed_first", "expr"))

METRICS = (
    _majority("maj_at_4_math", "maj@4", k=4, normalizer=_boxed, strip=True),
    _majority("maj_at_5", "maj@5", k=5),
    _majority("maj_at_8", "maj@8", k=8),
    _majority("maj_at_8_gsm8k", "maj@8", k=8, normalizer=normalizers.gsm8k, strip=True),
    pass_at_k("pass_at_1", "pass@1:32_samples", _is_exact, k=1, samples=32),
    pass_at_k("pass_at_10", "pass@10:32_samples", _is_exact, k=10, samples=32),
    # the reference draws 32, of which no 100 can be taken
    pass_at_k("pass_at_100", "pass@100:100_samples", _is_exact, k=100, samples=100),
    *(pass_at_k(f"math_pass_at_1_{n}n", f"math_pass@1:{n}_samples", _MATH, k=1, samples=n) for n in (1, 4, 8, 16, 32, 64)),
    *(pass_at_k(f"gpqa_instruct_pass_at_1_{n}n", f"gpqa_pass@1:{n}_samples", letter_equality(), k=1, samples=n) for n in (1, 4, 8)),
    _g_pass("g_pass_at_16", _is_exact, ks=(16,)),
    _g_pass("g_pass_at_8_16", _is_exact, ks=(8, 16)),
    _g_pass("g_pass_at_16_expr_gold", math_equality(("expr",)), ks=(16,)),
    _g_pass("g_pass_at_16_latex_gold", math_equality(("latex",)), ks=(16,)),
)
