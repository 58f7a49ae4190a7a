"""Two answers to one document, compared by a judge in both orders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_lighteval.graders.fences import Guard, defused
from pytest_lighteval.graders.rubrics import Conversation, Rubric, gold_of, question_of
from pytest_lighteval.graders.templates import filled, template
from pytest_lighteval.graders.verdicts import Verdict, read_pair
from pytest_lighteval.types import Doc

TIE = 0.5
PAIR_METRICS = ("win_rate", "win_rate_turns")


def _no_single_answer(doc: Doc, answers: Sequence[str], guard: Guard) -> tuple[Conversation, ...]:
    raise ValueError("two answers are compared, not one judged")


PAIR_RUBRIC = Rubric(
    name="win_rate",
    told=_no_single_answer,
    read=read_pair,
    version=1,
    templates=("pair",),
    guard=defused,
    kind="grade",
    cases="pairs",
)


def pair_conversations(doc: Doc, ours: Sequence[str], theirs: Sequence[str], guard: Guard) -> tuple[Conversation, Conversation]:
    """What the judge is told, in both orders: first with our answer as A, then with theirs. Turns are joined."""
    reference = f"\nA right answer:\n{gold_of(doc)}\n" if doc.gold else ""
    texts = {"question": _joined([question_of(doc), *doc.turns]), "reference": reference}
    one, other = guard(_joined(ours)), guard(_joined(theirs))
    turns = template("pair")
    return (
        filled(turns, {**texts, "answer_a": one, "answer_b": other}),
        filled(turns, {**texts, "answer_a": other, "answer_b": one}),
    )


def _joined(turns: Sequence[str]) -> str:
    return turns[0] if len(turns) == 1 else "\n\n".join(f"Turn {number}: {text}" for number, text in enumerate(turns, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Game:
    """The two verdicts on one document, as one."""

    score: float
    """1: ours wins. 0: theirs does. 0.5: a tie, or the verdicts contradict each other."""
    is_consistent: bool
    """Both orders have the same winner, or both are a tie."""


def game(first: Verdict, second: Verdict) -> Game | None:
    """What both orders say together: a win only if both agree (as in MT-Bench), else a half. None: a verdict is missing."""
    if first.value is None or second.value is None:
        return None
    ours = {"A": 1.0, "B": 0.0, "C": TIE}[str(first.value)], {"A": 0.0, "B": 1.0, "C": TIE}[str(second.value)]
    same = ours[0] == ours[1]
    return Game(score=ours[0] if same else TIE, is_consistent=same)
