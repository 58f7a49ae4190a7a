"""Why a document flipped, by rules; and the tables of it, in which no text can act."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.errors import DataError
from pytest_lighteval.reports.answers import StoredAnswer, answer_of, read_answers
from pytest_lighteval.reports.details import details_path
from pytest_lighteval.reports.flip_tables import flip_tables, shortened
from pytest_lighteval.reports.flips import ExplainedFlip, FlipReason, explain_verdicts, flip_reason, reasons_by_task, reasons_line
from pytest_lighteval.types import Flip, PairedVerdict, TaskKey, Verdict

LOST = Flip(id="test:1", before=1.0, after=0.0, is_loss=True)
WON = Flip(id="test:2", before=0.0, after=1.0, is_loss=False)
YES, NO = StoredAnswer(texts=("yes",), golds=("yes",)), StoredAnswer(texts=("no",), golds=("yes",))


@pytest.mark.parametrize(
    ("flip", "before", "after", "reason"),
    [
        (LOST, YES, YES, FlipReason.SAME_TEXT),
        (LOST, YES, NO, FlipReason.OTHER_TEXT),
        (LOST, YES, replace(NO, num_cut=1), FlipReason.CUT),
        (LOST, replace(YES, num_cut=1), replace(NO, num_cut=1), FlipReason.OTHER_TEXT),
        (LOST, replace(YES, num_cut=1), NO, FlipReason.OTHER_TEXT),
        (WON, replace(NO, num_cut=1), YES, FlipReason.CUT),
        (LOST, YES, replace(NO, texts=("",), is_refused=True), FlipReason.REFUSED),
        (LOST, YES, replace(NO, extracted={"qem": None}), FlipReason.EXTRACTION),
        (LOST, YES, replace(NO, extracted={"qem": "4"}), FlipReason.OTHER_TEXT),
        (WON, YES, replace(NO, extracted={"qem": None}), FlipReason.OTHER_TEXT),
        (LOST, None, NO, FlipReason.UNKNOWN),
        (LOST, None, replace(NO, num_cut=1), FlipReason.CUT),
        (WON, None, replace(NO, num_cut=1), FlipReason.UNKNOWN),
        (replace(LOST, margins=(0.5, -0.4)), None, None, FlipReason.NEAR_TIE),
        (replace(LOST, margins=(0.5, -0.6)), None, None, FlipReason.OTHER_CHOICE),
        (LOST, StoredAnswer(logprobs=(-1.0, -2.0)), StoredAnswer(logprobs=(-2.0, -1.0)), FlipReason.OTHER_CHOICE),
    ],
)
def test_the_first_rule_that_applies_says_why(
    flip: Flip, before: StoredAnswer | None, after: StoredAnswer | None, reason: FlipReason
) -> None:
    assert flip_reason(flip, metric="qem", margin_change=0.5, before=before, after=after) is reason


def test_no_lead_is_a_tie_where_no_other_margin_changed() -> None:
    flip = replace(LOST, margins=(0.001, -0.001))

    assert flip_reason(flip, metric="acc", margin_change=0.0, before=None, after=None) is FlipReason.OTHER_CHOICE


def verdicts(*flips: Flip, key: str = "a|b|0") -> dict[str, tuple[Verdict, ...]]:
    paired = PairedVerdict(outcome="PASSED", line="acc", red=False, flips=flips)
    return {key: (Verdict(metric="acc", outcome="passed", message="", value=0.5, stderr=None, n=2, paired=paired),), "pooled": ()}


def test_flips_are_explained_with_the_answers_of_both_sides_lost_ones_first() -> None:
    explained = explain_verdicts(
        verdicts(WON, LOST), before=lambda key, ids: {"test:1": YES, "test:2": NO}, after=lambda key, ids: dict.fromkeys(ids, NO)
    )

    (of_task,) = explained.values()
    assert [(entry.flip.id, entry.reason) for entry in of_task["acc"]] == [
        ("test:1", FlipReason.OTHER_TEXT),
        ("test:2", FlipReason.SAME_TEXT),
    ]
    assert reasons_line(of_task["acc"]) == "same text, judged otherwise 0 lost / 1 won, other text 1 lost / 0 won"


def test_tasks_of_a_superset_are_counted_together_unless_each_is_asked_for() -> None:
    one = (ExplainedFlip(flip=LOST, reason=FlipReason.NEAR_TIE),)
    explained = {"a|m:x|0": {"acc": one}, "a|m:y|0": {"acc": one}, "a|b|0": {"acc": one}}

    assert reasons_by_task(explained, each=False) == [
        ("a|m:_average|0", "acc", "near tie 2 lost / 0 won"),
        ("a|b|0", "acc", "near tie 1 lost / 0 won"),
    ]
    assert len(reasons_by_task(explained, each=True)) == 3


LINE: dict[str, Any] = {
    "id": "test:7",
    "few_shot_seed": 0,
    "doc": {"choices": [" a", " long"], "gold": [1]},
    "answers": {"choices": {"request": {"choices": [" a", " long"]}, "response": {"logprobs": [-2.0, -3.0], "token_counts": [1, 2]}}},
}


def test_the_answer_to_multiple_choice_is_the_choice_that_the_metric_takes() -> None:
    answer = answer_of(LINE)

    assert answer.golds == (" long",)
    assert (answer.choice("acc"), answer.choice("acc_norm"), answer.choice("acc_norm_token")) == (" a", " long", " long")
    assert replace(answer, unconditioned_logprobs=(-1.0, -3.0)).choice("acc_norm_pmi") == " long"
    assert YES.choice("acc") is None


def test_answers_are_read_by_document_from_the_last_attempt(tmp_path: Path) -> None:
    key = TaskKey(suite="a", task="b", few_shots=0)
    generated = {
        **LINE,
        "id": 'odd \u2028 " id',
        "answers": {"generation": {"request": {}, "response": {"texts": ["x"]}, "scored_texts": ["y"]}},
    }
    for folder, lines in ((tmp_path, [{**LINE, "doc": {"choices": [], "gold": []}}]), (tmp_path / "attempts" / "2", [LINE, generated])):
        path = details_path(folder, key)
        path.parent.mkdir(parents=True)
        path.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))

    answers = read_answers(tmp_path, key, ["test:7", generated["id"], "test:8"])

    assert answers == {"test:7": answer_of(LINE), generated["id"]: answer_of(generated)}
    assert answers[generated["id"]].texts == ("y",)
    assert read_answers(tmp_path, TaskKey(suite="a", task="none", few_shots=0), ["test:7"]) == {}
    details_path(tmp_path / "attempts" / "2", key).write_text('{"id":"test:7","few_shot_seed":0')
    with pytest.raises(DataError, match="no line of details"):
        read_answers(tmp_path, key, ["test:7"])


HOSTILE = "<script>alert(1)</script> | [x](javascript:y) @everyone </details> \u202e `$` \x1b[31m\n# head"


def test_hostile_answers_cannot_act_in_the_tables() -> None:
    answer = StoredAnswer(texts=(HOSTILE,), golds=(HOSTILE,))
    flips = {f"a|{HOSTILE}|0": {"acc": (ExplainedFlip(flip=replace(LOST, id=HOSTILE), reason=FlipReason.OTHER_TEXT, after=answer),)}}

    page = "\n".join(flip_tables(flips))

    assert page.count("<") == page.count("<details>") + page.count("<summary>") + page.count("</details>") + page.count("</summary>") == 4
    assert "@" not in page
    assert "\u202e" not in page
    assert "\x1b" not in page
    (row,) = [line for line in page.splitlines() if line.startswith("| ") and "lost" in line]
    assert row.replace("\\|", "").count("|") == 6
    assert "[x](" not in row


def test_tables_are_short_and_say_how_much_more_there_is() -> None:
    many = tuple(ExplainedFlip(flip=replace(LOST, id=f"test:{n}"), reason=FlipReason.NEAR_TIE) for n in range(25))
    tables = flip_tables({f"a|t{n}|0": {"acc": many} for n in range(20)})

    assert tables[2] == "<details><summary>a|t0|0 acc: 25 lost / 0 won: near tie 25 lost / 0 won</summary>"
    assert sum(line.startswith("| test:") for line in tables) == 300
    assert (tables.count("and 5 more"), tables.count("and 25 more")) == (15, 5)
    assert flip_tables({}) == []


def test_a_long_answer_keeps_its_beginning_and_its_end() -> None:
    assert shortened("a" * 5000 + "z", 10) == "aaaaa ... aaaaz"
    assert shortened("short\ntext") == "short text"
