"""What earlier sessions found red stays red for the same model, until a session of another one, or of everything, finds it green."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_lighteval.gates.red_gates import RedGate, RedGates, after_session
from pytest_lighteval.types import PairedVerdict, Verdict

RED = RedGate(model="f", environment="e", message="acc lost")


def verdict(outcome: Any, *, paired: Any = None, red: bool = False, retried: str | None = None) -> Verdict:
    compared = None if paired is None else PairedVerdict(outcome=paired, line="line", red=red)
    return Verdict(metric="acc", outcome=outcome, message="said", value=0.5, stderr=None, n=9, paired=compared, retried=retried)


PASSED, LOST = verdict("passed", paired="PASSED"), verdict("failed", paired="REGRESSED", red=True)


def gates(**changes: Any) -> RedGates:
    return replace(RedGates(environment="e", by_name={"s|t|0 acc": RED}), **changes)


@pytest.mark.parametrize(
    "green", [PASSED, verdict("inconclusive", paired="INCONCLUSIVE"), verdict("passed")], ids=["passed", "open", "floor"]
)
def test_a_green_verdict_of_the_same_model_fails_as_retried(green: Verdict) -> None:
    (found,) = gates().reviewed("s|t|0", (green,), model="f")

    assert found == replace(
        green,
        outcome="failed",
        message="said; retried: an earlier session of the same model found acc lost (--gate-allow retried)",
        retried="acc lost",
    )


@pytest.mark.parametrize(
    ("before", "key", "model"),
    [(gates(), "s|other|0", "f"), (gates(), "s|t|0", "g"), (gates(environment="new"), "s|t|0", "f"), (RedGates(), "s|t|0", "f")],
    ids=["task", "model", "environment", "fresh"],
)
def test_a_verdict_about_anything_else_stays(before: RedGates, key: str, model: str) -> None:
    assert before.reviewed(key, (PASSED,), model=model) == (PASSED,)


@pytest.mark.parametrize("outcome", ["failed", "waived", "advisory"])
def test_a_verdict_that_is_not_green_stays(outcome: str) -> None:
    assert gates().reviewed("s|t|0", (verdict(outcome),), model="f") == (verdict(outcome),)


def test_what_the_user_allows_is_noted_and_green() -> None:
    assert gates(is_allowed=True).reviewed("s|t|0", (PASSED,), model="f") == (replace(PASSED, retried="acc lost"),)


@pytest.mark.parametrize(
    ("last", "is_red"),
    [
        (LOST, True),
        (verdict("failed"), True),
        (verdict("failed", paired="INCONCLUSIVE", red=True), True),
        (verdict("failed", paired="STALE", red=True), False),
        (verdict("failed", paired="NEW", red=True), False),
        (PASSED, False),
        (verdict("waived", paired="REGRESSED", red=True), False),
    ],
    ids=["lost", "floor", "open", "stale", "new", "passed", "waived"],
)
def test_a_session_keeps_what_it_judged_and_found_red(last: Verdict, is_red: bool) -> None:
    kept = after_session({}, {"s|t|0": (last,)}, model="f", environment="e")

    assert kept == ({"s|t|0 acc": replace(RED, message="said")} if is_red else {})


@pytest.mark.parametrize(
    ("last", "stays"),
    [
        (PASSED, False),
        (verdict("failed", paired="PASSED", retried="acc lost"), True),
        (verdict("failed", paired="STALE", red=True), True),
        (verdict("advisory", paired="PASSED"), True),
    ],
    ids=["passed", "retried", "stale", "advisory"],
)
def test_a_red_gate_stays_until_it_is_judged_and_green(last: Verdict, stays: bool) -> None:
    kept = after_session({"s|t|0 acc": RED, "s|other|0 acc": RED}, {"s|t|0": (last,)}, model="f", environment="e")

    assert kept == {"s|other|0 acc": RED} | ({"s|t|0 acc": RED} if stays else {})
