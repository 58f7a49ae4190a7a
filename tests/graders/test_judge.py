"""Judges over a task's answers: what they are asked, what becomes of replies, and when no score is given."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.errors import FileError, GraderError, RequestsFailedError, UserInputError
from pytest_lighteval.graders.anchors import read_anchors
from pytest_lighteval.graders.judge import JudgeGrader, JudgeSettings
from pytest_lighteval.graders.meter import Meter, metered
from pytest_lighteval.metrics import metric, metrics_of
from pytest_lighteval.types import Answer, Doc, Grade, JudgeSpec, PromptTemplate, Task
from tests.judges import Judge, knows

OWN = JudgeSpec(name="good", prompt="Is it good? {{ question }} {{ gold }}\n{{ answer }}")


def task(*metrics: str, judges: tuple[JudgeSpec, ...] = ()) -> Task:
    path = Path("s.yaml")
    return Task(suite="s", name="t", prompt=PromptTemplate(query="{{ q }}"), metrics=metrics, path=path, line=1, judges=judges)


def document(number: int, **fields: Any) -> Doc:
    return Doc(id=f"test:{number}", query=f"Question {number}?", choices=("yes",), gold=(0,), **fields)


def grades(grader: JudgeGrader, of: Task, texts: Sequence[str | tuple[str, ...]]) -> list[Grade]:
    """The grades of answers to as many documents, for each of the task's metrics, which get them in any order."""
    jobs = [
        Answer(
            metric=name,
            doc=document(number, turns=("And now?",) if isinstance(text, tuple) else ()),
            few_shot_seed=0,
            texts=(text,) if isinstance(text, str) else text,
        )
        for number, text in enumerate(texts)
        for name in of.metrics
    ]
    found = dict(grader.grade(of, reversed([*enumerate(jobs)])))
    return [found[index] for index in range(len(jobs))]


def values(of: Task, found: Sequence[Grade]) -> list[dict[str, Any]]:
    return [dict(metrics_of(of)[0].sample(document(0), grade)) for grade in found]


def test_every_answer_is_asked_once_after_the_golden_cases() -> None:
    judge, own = Judge(), task("good", judges=(OWN,))

    found = grades(JudgeGrader({"judge": judge}), own, ["a good one", "a bad one"])

    assert values(own, found) == [{"good": 1.0}, {"good": 0.0}]
    assert len(judge.asked) == 14 + 2
    assert "Question 0? yes" in judge.asked[14]
    (mark,) = found[0].marks
    assert mark.outcome == "judged"
    assert mark.facts["replies"][0]["judge"] == "judge"
    assert "[[1]]" in mark.facts["replies"][0]["reply"]


def yes(answer: str) -> str:
    return "right"


def no(answer: str) -> str:
    return "wrong"


@pytest.mark.parametrize("name", ["simpleqa_judge", "mt_bench", "hle_metrics", "llm_as_judge", "llm_judge_mixeval_flow", "win_rate"])
@pytest.mark.parametrize("says", [yes, no])
def test_a_judge_that_always_says_the_same_is_refused(name: str, says: Any) -> None:
    grader = JudgeGrader({"judge": Judge(says)}, opponent=lambda task, doc, seed: ("bad",))

    with pytest.raises(GraderError, match=rf"judge 'judge' got \d+ of \d+ golden cases of {name} wrong, and 1 may be: .* warn"):
        grades(grader, task(name), ["good"])


def test_a_refused_judge_may_be_used_all_the_same_and_the_report_says_so() -> None:
    grader = JudgeGrader({"judge": Judge(yes)}, JudgeSettings(preflight="warn"))

    grades(grader, task("simpleqa_judge"), ["good"])

    described = grader.describe()
    assert described["judges"]["judge"]["preflight"] == {"simpleqa_judge": {"cases": 19, "missed": 12, "passed": False}}
    assert "(--judge-preflight warn)" in described["notes"][0]


def fails_on(*numbers: int, reply: str = "hm") -> Judge:
    return Judge(reply=lambda prompt, text: reply if any(f"Question {number}?" in prompt for number in numbers) else None)


def test_a_reply_without_a_verdict_is_left_out_and_never_a_zero() -> None:
    own = task("good", judges=(OWN,))

    found = grades(JudgeGrader({"judge": fails_on(1, reply="I'm sorry, but I can't judge this.")}), own, ["good"] * 3)

    assert [grade.marks[0].outcome for grade in found] == ["judged", "refused", "judged"]
    assert found[1].marks[0].value is None
    with pytest.raises(Exception, match="the judge's verdict is refused"):
        values(own, found[1:2])


def test_too_many_replies_without_a_verdict_are_an_error_of_the_task() -> None:
    own = task("good", judges=(OWN,))
    message = r"gave no verdict on 3 of 5 documents \(3 unparsed replies\); at most 0.01 .*; the first is test:1: 'hm'"

    with pytest.raises(RequestsFailedError, match=message):
        grades(JudgeGrader({"judge": fails_on(1, 2, 3)}), own, ["good"] * 5)
    assert len(grades(JudgeGrader({"judge": fails_on(1, 2, 3)}, JudgeSettings(max_unparsed=0.6)), own, ["good"] * 5)) == 5
    # two are few, whatever their share
    assert len(grades(JudgeGrader({"judge": fails_on(1, 2)}), own, ["good"] * 5)) == 5


def test_a_jury_is_the_mean_of_those_that_have_a_verdict() -> None:
    own = task("good", judges=(OWN,))
    jury = {"a": Judge(), "b": Judge(lambda answer: "right" if answer.endswith("1") else knows(answer)), "c": fails_on(0)}

    found = grades(JudgeGrader(jury), own, ["good", "bad 1"])

    assert values(own, found) == [{"good": 1.0}, {"good": pytest.approx(1 / 3)}]
    assert [reply["judge"] for reply in found[0].marks[0].facts["replies"]] == ["a", "b", "c"]
    assert [reply["status"] for reply in found[0].marks[0].facts["replies"]] == ["value", "value", "unparsed"]


def test_sampled_replies_are_a_documents_mean() -> None:
    own = task("good", judges=(JudgeSpec(name="good", prompt=OWN.prompt, repeats=3),))
    (grade,) = grades(JudgeGrader({"judge": Judge()}), own, ["good"])

    assert len(grade.marks[0].facts["replies"]) == 3


def test_each_turn_has_its_verdict_and_sees_the_turns_before() -> None:
    judge = Judge()
    of = task("mt_bench")

    found = grades(JudgeGrader({"judge": judge}), of, [("good start", "bad end")])

    assert [mark.value for mark in found[0].marks] == [10, 1]
    assert values(of, found) == [{"mt_bench_turn_1": 10.0, "mt_bench_turn_2": 1.0, "mt_bench": 5.5}]
    assert "good start" in judge.asked[-1]
    assert "Question 0?" in judge.asked[-1]


def test_simpleqas_grades_become_its_numbers() -> None:
    of = task("simpleqa_judge")
    found = values(of, grades(JudgeGrader({"judge": Judge()}), of, ["good", "bad", "I am sorry, I do not know that.", "good"]))
    numbers = {
        name: corpus.aggregate([value[name] for value in found])
        for name, corpus in metric("simpleqa_judge").corpus.items()
        if name in found[0]
    }

    assert numbers == pytest.approx(
        {"simpleqa_judge": 0.5, "is_incorrect": 0.25, "is_not_attempted": 0.25, "accuracy_given_attempted": 2 / 3, "f1": 4 / 7}
    )


def test_two_answers_are_compared_in_both_orders() -> None:
    def first(prompt: str, text: str) -> str | None:
        return "[[A]]" if "Question 2?" in prompt else None

    of, judge = task("win_rate"), Judge(reply=first)
    grader = JudgeGrader({"judge": judge}, JudgeSettings(opponent_name="before"), opponent=lambda task, doc, seed: ("bad",))

    found = grades(grader, of, ["good", "bad", "good"])

    # both orders say A where both answers are bad, and in the last one whatever they are
    assert values(of, found) == [{"win_rate": 1.0}, {"win_rate": 0.5}, {"win_rate": 0.5}]
    told = grader.describe()["tasks"]["s|t"]["win_rate"]
    assert (told["games"], told["wins"], told["losses"], told["inconsistent"]) == (3, 1, 0, pytest.approx(2 / 3))
    assert told["low"] < told["win_rate"] < told["high"]
    assert grader.identity(of)["opponent"] == "before"


def test_conversations_are_compared_as_a_whole() -> None:
    of, judge = task("win_rate_turns"), Judge()
    grader = JudgeGrader({"judge": judge}, opponent=lambda task, doc, seed: ("their start", "their end"))

    (grade,) = grades(grader, of, [("our start", "our good end")])

    assert values(of, [grade]) == [{"win_rate": 1.0}]
    assert len(grade.marks) == 2
    assert "Turn 1: our start\n\nTurn 2: our good end" in judge.asked[-2]
    assert judge.asked[-1].index("Turn 1: their start") < judge.asked[-1].index("Turn 1: our start")


def test_a_pairwise_task_without_stored_answers_says_what_is_missing() -> None:
    with pytest.raises(GraderError, match="--judge-opponent RUN"):
        grades(JudgeGrader({"judge": Judge()}), task("win_rate"), ["good"])


def test_the_identity_says_who_judges_and_how() -> None:
    of, grader = task("simpleqa_judge"), JudgeGrader({"judge": Judge()})
    identity = grader.identity(of)

    assert identity["judge judge"] == "scripted-knows"
    assert identity["simpleqa_judge"].startswith("template ")
    assert identity["simpleqa_judge"].endswith("parser 1")
    assert JudgeGrader({"judge": Judge()}, JudgeSettings(parity="lighteval")).identity(of) == {**identity, "parity": "lighteval"}
    own = [
        JudgeGrader({"judge": Judge()}).identity(task("good", judges=(spec,)))
        for spec in (OWN, JudgeSpec(name="good", prompt=OWN.prompt + "!"))
    ]
    assert own[0] != own[1]


def test_under_parity_a_reply_that_lighteval_cannot_read_is_its_zero() -> None:
    of, judge = (
        task("judge_score_turn_1+judge_score_turn_2"),
        Judge(reply=lambda prompt, text: "<score>5</score>" if "Question" in prompt or "And now?" in prompt else None),
    )

    strict = grades(JudgeGrader({"judge": judge}, JudgeSettings(parity="lighteval")), of, [("good", "good")])
    ours = grades(JudgeGrader({"judge": judge}), of, [("good", "good")])

    assert [mark.value for mark in strict[0].marks] == [0, 0]
    assert [mark.value for mark in ours[0].marks] == [5, 5]


def test_calls_beyond_the_fuse_are_not_made(tmp_path: Path) -> None:
    judge, own = Judge(), task("good", judges=(OWN,))
    meters = [Meter(tmp_path / "calls", 30), Meter(tmp_path / "calls", 30)]

    grades(JudgeGrader({"judge": metered(judge, meters[0])}), own, ["good"])
    with pytest.raises(GraderError, match=r"--judge-max-calls 30: 29 calls of a judge are made, and 20 more are needed"):
        # another worker of the session counts in the same file
        grades(JudgeGrader({"judge": metered(judge, meters[1])}), own, ["good"] * 20)
    assert len(judge.asked) == 15 + 14


# ------------------------------------------------------------------------------------------------ people's verdicts


def anchors(folder: Path, *lines: dict[str, Any]) -> Path:
    path = folder / "anchors.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_peoples_verdicts_are_compared_with_and_correct_the_score(tmp_path: Path) -> None:
    texts = ["good"] * 6 + ["bad"] * 4
    # people find one of the good ones bad
    people = [{"document": f"test:{number}", "answer": texts[number], "verdict": float(number in (0, 1))} for number in (0, 1, 2, 6)]
    others = [{"document": "test:3", "answer": "another good one", "verdict": "correct", "task": "s|t"}]
    own = task("good", judges=(OWN,))
    grader = JudgeGrader({"judge": Judge()}, JudgeSettings(anchors=read_anchors(anchors(tmp_path, *people, *others))))

    found = values(own, grades(grader, own, texts))

    told = grader.describe()["tasks"]["s|t"]["good"]
    assert (told["verdicts"], told["compared"], told["labelled"], told["of"]) == (5, 5, 4, 10)
    assert told["agreement"] == pytest.approx(4 / 5)
    # the judge's mean, and what people say beyond it on the labelled documents
    assert told["corrected"] == pytest.approx(0.6 + (-1 / 4))
    assert told["low"] < told["corrected"] < told["high"]
    assert sum(value["good_anchored"] for value in found) / 10 == pytest.approx(told["corrected"])
    assert "anchors" in grader.identity(own)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"document": "test:0", "verdict": 1}', ":1: answer: give either answer or answer_sha256"),
        ('{"document": "test:0", "answer": "a", "verdict": "fine"}', ":1: verdict: 'fine' is no number, and none of correct"),
        ('{"document": "test:0", "answer": "a", "verdict": 1, "who": "me"}', ":1: : Object contains unknown field who"),
        ("{", ":1: not a line of JSON"),
    ],
)
def test_a_line_that_is_no_verdict_of_a_person_is_told(tmp_path: Path, line: str, problem: str) -> None:
    path = tmp_path / "anchors.jsonl"
    path.write_text(line + "\n")

    with pytest.raises(FileError, match=problem.replace("(", r"\(")) if problem.count(": : ") == 0 else pytest.raises(UserInputError):
        read_anchors(path)


def test_one_answer_has_one_verdict_of_a_person(tmp_path: Path) -> None:
    line = {"document": "test:0", "answer": "a", "verdict": 1}

    with pytest.raises(FileError, match=":2: document: line 1 has a verdict on the same answer to test:0"):
        read_anchors(anchors(tmp_path, line, line))
    with pytest.raises(UserInputError, match="has no verdict"):
        read_anchors(anchors(tmp_path))
