"""Whether a judge may be trusted with a rubric: it must get the golden cases right first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_lighteval.graders.golden_cases import GoldenCase, PairCase, golden_cases, own_cases, pair_cases
from pytest_lighteval.graders.pairwise import PAIR_RUBRIC
from pytest_lighteval.graders.rubrics import Rubric
from pytest_lighteval.graders.verdicts import Verdict

MOST_MISSED = 1
"""Golden cases that a judge may get wrong, where there are enough of them."""
_ENOUGH = 12
"""Of fewer cases none may be missed: a judge that says yes to everything would miss as few."""
_GRADES = {"right": "A", "wrong": "B", "not attempted": "C"}
_MOST_TOLD = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """How a judge did on the golden cases of a rubric."""

    cases: int
    missed: tuple[str, ...]
    """One line each: the question, what was expected and what the judge said."""
    is_one_sided: bool = False
    """All cases of a kind were missed: the judge says the same to everything, or nearly."""

    @property
    def most_missed(self) -> int:
        """How many cases a judge may get wrong, if they are not all of a kind."""
        return MOST_MISSED if self.cases >= _ENOUGH else 0

    @property
    def passed(self) -> bool:
        """Whether the judge may be used."""
        return len(self.missed) <= (0 if self.is_one_sided else self.most_missed)

    def problem(self, judge: str, rubric: str) -> str:
        """Why the judge is refused, in one line."""
        more = len(self.missed) - _MOST_TOLD
        told = "; ".join(self.missed[:_MOST_TOLD]) + (f"; and {more} more" if more > 0 else "")
        allowed = f"{self.most_missed or 'none'} may be"
        if len(self.missed) <= self.most_missed:
            allowed += ", but not all of a kind"
        return f"judge {judge!r} got {len(self.missed)} of {self.cases} golden cases of {rubric} wrong, and {allowed}: {told}"


def cases_for(rubric: Rubric) -> tuple[GoldenCase, ...]:
    """The golden cases of a rubric: those of its suite file, or the built-in ones that fit what the judge is told."""
    if rubric.own_cases:
        return own_cases(rubric.own_cases)
    return golden_cases(rubric.cases, turns="mt_bench_turn_2" in rubric.templates)


def is_met(case: GoldenCase, verdict: Verdict, rubric: Rubric) -> bool:
    """Whether a verdict is what the case demands. The middle of a scale is neither right nor wrong."""
    if verdict.value is None:
        return False
    if rubric.kind == "grade":
        return verdict.value == _GRADES[case.expected]
    value = float(verdict.value)
    if case.low is not None or case.high is not None:
        return (case.low is None or value >= case.low) and (case.high is None or value <= case.high)
    middle = (rubric.low + rubric.high) / 2
    return value > middle if case.expected == "right" else value < middle


def preflight(rubric: Rubric, verdicts: Sequence[Verdict]) -> Preflight:
    """What the verdicts on `cases_for(rubric)`, in its order, say of a judge."""
    if rubric is PAIR_RUBRIC:
        pairs = pair_cases()
        lost = [_told_pair(pair, verdict) for pair, verdict in zip(pairs, verdicts, strict=True) if verdict.value != pair.winner]
        right = {pair.winner for pair, verdict in zip(pairs, verdicts, strict=True) if verdict.value == pair.winner}
        return Preflight(cases=len(pairs), missed=tuple(lost), is_one_sided={pair.winner for pair in pairs} != right)
    cases = cases_for(rubric)
    judged = [(case, verdict, is_met(case, verdict, rubric)) for case, verdict in zip(cases, verdicts, strict=True)]
    met = {_kind(case) for case, _, is_right in judged if is_right}
    return Preflight(
        cases=len(cases),
        missed=tuple(_told(case, verdict) for case, verdict, is_right in judged if not is_right),
        is_one_sided={_kind(case) for case in cases} != met,
    )


def _kind(case: GoldenCase) -> tuple[object, ...]:
    """Cases of a kind demand the same of a judge, in words or by the side on which they bound a verdict."""
    return case.expected, case.low is None, case.high is None


def _told(case: GoldenCase, verdict: Verdict) -> str:
    said = verdict.status if verdict.value is None else f"{verdict.value:g}" if isinstance(verdict.value, float) else verdict.value
    answer = " ".join(case.answers[-1].split())
    return f"{case.doc.query!r} answered {answer[:60]!r} is {case.expected}, and the verdict is {said}"


def _told_pair(pair: PairCase, verdict: Verdict) -> str:
    said = verdict.status if verdict.value is None else verdict.value
    return f"of two answers to {pair.doc.query!r} the better one is {pair.winner}, and the verdict is {said}"
