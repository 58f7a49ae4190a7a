"""The soft scores of a gate are its second voice: heard where the scores cannot decide, and only for a loss that both show."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from pytest_lighteval.baselines.model import BaselineTask
from pytest_lighteval.baselines.save import baseline_task, provenance_of
from pytest_lighteval.comparison.decision import Policy
from pytest_lighteval.comparison.soft import SOFT_SHARE, soft_compare, soft_pair, soft_shares, soft_width
from pytest_lighteval.gates.compare import Side, compare_gate
from pytest_lighteval.gates.early_stopping import EarlyStopping
from pytest_lighteval.gates.plan import PairedGate
from pytest_lighteval.gates.soft_voice import score_alpha, soft_alpha
from pytest_lighteval.metrics import metric
from pytest_lighteval.metrics.soft_scores import on_grid
from pytest_lighteval.types import DocumentScore, GateSpec, MetricResult, PairedVerdict, TaskKey, TaskResult

KEY = TaskKey(suite="s", task="t", few_shots=0)
ACC = metric("loglikelihood_acc").corpus["acc"]
GREEDY = metric("acc_golds_likelihood").corpus["acc"]


def gate(corpus: object = ACC, *, alpha: float = 0.05, advisory: bool = False) -> PairedGate:
    return PairedGate(key=KEY, metric="acc", corpus=corpus, spec=GateSpec(), advisory=advisory, alpha=alpha)  # type: ignore[arg-type]


def measured(margins: Sequence[float], *, right: Sequence[bool] | None = None, is_soft: bool = True) -> TaskResult:
    """A run whose documents have these margins, and are right where it is above 0 or where it is said."""
    values = [float(margin > 0) for margin in margins] if right is None else [float(value) for value in right]
    documents = tuple(
        DocumentScore(id=f"t:{row}", prompt_digest=f"{row:012x}", values={"acc": value}, soft={"acc": on_grid(margin)} if is_soft else {})
        for row, (value, margin) in enumerate(zip(values, margins, strict=True))
    )
    number = MetricResult(value=sum(values) / len(values), stderr=0.1, n=len(values), higher_is_better=True)
    return TaskResult(
        key=KEY, version=0, metrics={"acc": number}, documents=documents, dataset_fingerprint="d", prompt_digest="p",
        effective_few_shots=0.0,
    )  # fmt: skip


def baseline(result: TaskResult) -> BaselineTask:
    return baseline_task(result, provenance_of(backend={"name": "b", "fingerprint": "f"}, environment={}, settings={}))


def judged(before: TaskResult, after: TaskResult, *, of: PairedGate | None = None, policy: Policy | None = None) -> PairedVerdict:
    return compare_gate(of or gate(), [Side(result=after, baseline=baseline(before))], policy or Policy())


def margins(count: int, *, seed: int = 0) -> list[float]:
    rng = random.Random(seed)
    return [rng.gauss(0.5, 3) for _ in range(count)]


def noisy(of: Sequence[float], *, by: float = 0.3, shift: float = 0.0, seed: int = 1) -> list[float]:
    rng = random.Random(seed)
    return [margin + rng.gauss(0, by) - shift for margin in of]


# ------------------------------------------------------------------------------------------------------ the score


def test_a_margin_becomes_a_share_of_its_document_by_a_step_as_wide_as_three_typical_changes() -> None:
    before, after = [(0.0,), (9.0,), (-9.0,), (1.0,)], [(0.5,), (9.5,), (-9.5,), (1.0,)]
    width = 3 * 0.5

    assert soft_width(before, after) == width
    assert soft_shares(np.asarray([0.5, -9.0, 1e9]), width).tolist() == pytest.approx([stats.norm.cdf(1 / 3), stats.norm.cdf(-6), 1.0])
    assert soft_shares(np.asarray([0.5, -9.0, 0.0]), 0.0).tolist() == [1.0, 0.0, 0.5]


def test_a_change_of_confidence_alone_is_no_soft_loss() -> None:
    """All margins are multiplied by 0.8; most are on one side of 0."""
    before = [(margin - 2.5,) for margin in noisy(margins(400), seed=2)]
    after = [(0.8 * (margin - 2.5),) for margin in noisy(margins(400))]
    less_sure = soft_compare([soft_pair(before, after)], alpha=0.05)
    shifted = soft_compare([soft_pair(before, [(margin - 0.25,) for (margin,) in after])], alpha=0.05)
    width = soft_width(before, after)
    unweighted = np.mean(soft_shares(np.ravel(before), width) - soft_shares(np.ravel(after), width))

    assert unweighted < -0.015  # without weights it looks like a gain
    assert abs(less_sure.loss) < 0.005
    assert shifted.p < 1e-4


def test_the_runs_of_a_document_can_be_exchanged_in_any_way_without_another_width_or_weight() -> None:
    rng = random.Random(5)
    before = [tuple(rng.gauss(margin, 0.3) for _ in range(3)) for margin in margins(40)]
    after = [(rng.gauss(margin, 0.3),) for margin in margins(40)]
    exchanged = [((*old[:-1], *new), old[-1:]) for old, new in zip(before, after, strict=True)]

    def shares(old: Sequence[Sequence[float]], new: Sequence[Sequence[float]]) -> list[list[float]]:
        (runs,) = soft_pair(old, new).runs
        rows: list[list[float]] = np.sort(np.hstack([runs.baseline, runs.candidate]), axis=1).tolist()
        return rows

    again = shares([old for old, _ in exchanged], [new for _, new in exchanged])
    assert np.allclose(shares(before, after), again, rtol=0, atol=1e-12)


def test_exchanging_the_sides_of_any_document_changes_the_sign_of_its_gain_alone() -> None:
    before, after = [(value,) for value in margins(60)], [(value,) for value in noisy(margins(60))]
    gains = soft_pair(before, after).gains
    swapped = [row % 3 == 0 for row in range(60)]

    exchanged = soft_pair(
        [new if swap else old for old, new, swap in zip(before, after, swapped, strict=True)],
        [old if swap else new for old, new, swap in zip(before, after, swapped, strict=True)],
    ).gains

    assert exchanged == pytest.approx([-gain if swap else gain for gain, swap in zip(gains, swapped, strict=True)])


def test_equal_soft_scores_lose_nothing() -> None:
    same = [(0.5,), (-1.0,), (0.0,)]

    assert soft_pair(same, same).gains.tolist() == [0.0, 0.0, 0.0]


# ------------------------------------------------------------------------------------------------------- the voice


def test_a_shift_of_all_margins_is_proven_by_the_soft_scores_where_the_scores_cannot_decide() -> None:
    before = measured(noisy(margins(300), seed=11))
    after = measured(noisy(margins(300), shift=0.25))
    alone = judged(measured(noisy(margins(300), seed=11), is_soft=False), after)

    verdict = judged(before, after)

    assert (alone.outcome, alone.soft, alone.soft_alpha, alone.alpha) == ("INCONCLUSIVE", None, None, 0.05)
    assert (verdict.outcome, verdict.red) == ("REGRESSED", True)
    assert verdict.soft is not None
    assert verdict.soft.p < 0.001
    assert verdict.p > 0.05
    assert verdict.loss == alone.loss
    assert "REGRESSED (allowed 2.0)  soft: loss " in verdict.line
    assert verdict.notes == ("the soft scores prove the loss, not the scores",)


def test_confidence_that_fell_without_answers_is_told_and_not_red() -> None:
    before = noisy(margins(300), seed=2)
    right = [margin > 0 for margin in before]
    after = measured(noisy(margins(300), shift=0.25), right=right)

    verdict = judged(measured(before), after, policy=Policy(max_drop=0.005, inconclusive="warn"))

    assert (verdict.outcome, verdict.red, verdict.loss) == ("INCONCLUSIVE", False, 0.0)
    assert verdict.soft is not None
    assert (verdict.soft.is_certain, verdict.soft.answers_fell, verdict.soft.decides) == (True, False, False)
    assert verdict.notes == ("confidence fell, answers did not",)


def test_a_soft_loss_far_below_min_effect_is_not_red_although_it_is_proven() -> None:
    """Twelve answers are lost and six won; the soft scores are those of a small shift."""
    before = noisy(margins(300), seed=11)
    right = [margin > 0 for margin in before]
    lost, won = [row for row in range(300) if right[row]][:12], [row for row in range(300) if not right[row]][:6]
    after = measured(noisy(before, by=0.01, shift=0.1), right=[right[row] != (row in {*lost, *won}) for row in range(300)])

    verdict = judged(measured(before), after, policy=Policy(max_drop=0.03, min_effect=0.03))
    smaller = judged(measured(before), after, policy=Policy(max_drop=0.03, min_effect=0.001))

    assert verdict.soft is not None
    assert verdict.loss == pytest.approx(0.02)
    assert verdict.soft.loss is not None
    assert 0.0005 < verdict.soft.loss < 0.015
    assert (verdict.outcome, verdict.soft.is_certain, verdict.soft.answers_fell, verdict.soft.is_large) == (
        "INCONCLUSIVE",
        True,
        True,
        False,
    )
    assert smaller.outcome == "REGRESSED"


def test_the_soft_scores_are_not_asked_where_the_scores_decide() -> None:
    lost = noisy(margins(300), shift=6.0)

    assert judged(measured(margins(300)), measured(lost)).soft is None
    assert judged(measured(margins(300)), measured(margins(300))).outcome == "PASSED"
    assert judged(measured(margins(300)), measured(margins(300))).soft is None


def test_a_gate_divides_its_alpha_only_if_the_baseline_has_soft_scores() -> None:
    with_soft, without = (baseline(measured(margins(5), is_soft=is_soft)) for is_soft in (True, False))

    assert (soft_alpha(gate(), [with_soft]), score_alpha(gate(), [with_soft])) == (0.05 * SOFT_SHARE, 0.05 * (1 - SOFT_SHARE))
    assert (soft_alpha(gate(), [with_soft, without]), score_alpha(gate(), [with_soft, without])) == (None, 0.05)


def test_a_baseline_without_soft_scores_is_told_where_they_were_missed() -> None:
    verdict = judged(measured(margins(60), is_soft=False), measured(noisy(margins(60))))

    assert verdict.outcome == "INCONCLUSIVE"
    assert verdict.notes == ("the baseline has no soft scores, which could show a loss: --save-baseline keeps them",)


def test_the_log_probability_of_an_answer_is_only_reported() -> None:
    before, after = measured(noisy(margins(300), seed=11)), measured(noisy(margins(300), shift=0.25))

    verdict = judged(before, after, of=gate(GREEDY))

    assert (verdict.outcome, verdict.soft_alpha, verdict.alpha) == ("INCONCLUSIVE", None, 0.05)
    assert verdict.soft is not None
    assert (verdict.soft.is_certain, verdict.soft.decides, verdict.soft.loss) == (True, False, None)
    assert "soft:" not in verdict.line
    (note,) = verdict.notes
    assert note.startswith("the right answers became less likely (p = ")


def test_an_advisory_gate_that_soft_scores_decide_is_not_red() -> None:
    verdict = judged(measured(noisy(margins(300), seed=11)), measured(noisy(margins(300), shift=0.25)), of=gate(advisory=True))

    assert (verdict.outcome, verdict.red, verdict.advisory) == ("REGRESSED", False, True)


def test_the_p_of_a_gate_is_at_most_its_alpha_exactly_where_one_of_its_tests_finds_the_loss() -> None:
    verdict = judged(measured(noisy(margins(300), seed=11)), measured(noisy(margins(300), shift=0.25)))
    assert verdict.soft is not None

    assert verdict.gate_p == pytest.approx(min(verdict.p / (1 - SOFT_SHARE), verdict.soft.p / SOFT_SHARE))
    unheard = replace(verdict, soft=replace(verdict.soft, is_large=False))
    assert unheard.gate_p == pytest.approx(min(1.0, verdict.p / (1 - SOFT_SHARE)))


def test_in_sequential_mode_the_soft_scores_are_asked_at_the_end() -> None:
    before, after = measured(noisy(margins(300), seed=11)), measured(noisy(margins(300), shift=0.25))
    stopping = EarlyStopping([gate()], baseline(before), Policy(), most=2)
    numbers = [int(document.id.partition(":")[2]) for document in after.documents]

    class Asked:  # what a stopping rule reads of a document
        def __init__(self, number: int) -> None:
            self.doc = type("D", (), {"id": f"t:{number}", "cluster": None})()
            self.few_shot_seed = 0

    parts = stopping.parts([Asked(number) for number in numbers])  # type: ignore[misc]
    seen: list[int] = []
    for part in parts:
        seen += part
        some = tuple(after.documents[place] for place in sorted(seen))
        if stopping.should_stop(replace(after, documents=some, num_saved=len(numbers) - len(some))):
            break
    verdict = stopping.verdict(gate())

    assert len(seen) == 300
    assert verdict is not None
    assert (verdict.outcome, verdict.alpha, verdict.soft_alpha) == ("REGRESSED", 0.05 * (1 - SOFT_SHARE), 0.05 * SOFT_SHARE)
    assert "the soft scores prove the loss, not the scores" in verdict.notes
