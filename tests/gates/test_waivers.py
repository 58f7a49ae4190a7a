"""Waivers cover what they name until their date, and a mistake in their file is an error at its line."""

from __future__ import annotations

import datetime
import re
from pathlib import Path

import pytest

from pytest_lighteval.errors import FileError, UserInputError
from pytest_lighteval.gates.waivers import (
    Waiver,
    WaiverFile,
    check_waivers,
    expired_waivers,
    load_waivers,
    unmatched_waivers,
    waiver_for,
    within_floor,
)
from pytest_lighteval.tasks.catalogue import Catalogue
from pytest_lighteval.tasks.task_spec import TaskPattern
from pytest_lighteval.types import TaskKey

NAN = float("nan")
DAY = datetime.date(2026, 11, 23)
GSM8K = TaskKey(suite="leaderboard", task="gsm8k", few_shots=5)


def written(tmp_path: Path, text: str) -> WaiverFile:
    path = tmp_path / "waivers.yaml"
    path.write_text(text, "utf-8")
    return load_waivers(path)


def test_a_waiver_is_read_with_its_line(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        """\
# known regressions
- task: leaderboard|gsm8k|5|1
  metric: qem
  reason: kernel bug 123,
    fixed in the next release
  until: 2027-01-31
  floor: 4e-1
- {task: "leaderboard|mmlu:_average", reason: int8, until: "2026-12-24", floor: 0.3}
""",
    )

    assert file.waivers == (
        Waiver(
            line=2,
            pattern=TaskPattern(suite="leaderboard", task="gsm8k", few_shots=5, truncate=True),
            metric="qem",
            reason="kernel bug 123, fixed in the next release",
            until=datetime.date(2027, 1, 31),
            floor=0.4,
        ),
        Waiver(
            line=8,
            pattern=TaskPattern(suite="leaderboard", task="mmlu:_average"),
            metric=None,
            reason="int8",
            until=datetime.date(2026, 12, 24),
            floor=0.3,
        ),
    )
    assert list(map(str, file.waivers)) == ["leaderboard|gsm8k|5|1 qem", "leaderboard|mmlu:_average"]


def test_an_empty_file_waives_nothing(tmp_path: Path) -> None:
    assert written(tmp_path, "# none at present\n").waivers == ()


ENTRY = "- {task: %s, reason: r, until: %s, floor: 0.5%s}\n"


def test_the_most_precise_waiver_covers(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "".join(
            [
                ENTRY % ("leaderboard|gsm8k", "2027-01-01", ""),
                ENTRY % ("leaderboard|gsm8k|5", "2027-01-01", ""),
                ENTRY % ("leaderboard|gsm8k", "2027-01-01", ", metric: qem"),
                ENTRY % ("leaderboard|arc", "2027-01-01", ""),
            ]
        ),
    )

    def line(key: TaskKey, metric: str) -> int | None:
        waiver = waiver_for(file, key, metric, DAY)
        return waiver.line if waiver else None

    assert line(GSM8K, "qem") == 3
    assert line(GSM8K, "em") == 2
    assert line(TaskKey(suite="leaderboard", task="gsm8k", few_shots=0), "em") == 1
    assert line(TaskKey(suite="lighteval", task="gsm8k", few_shots=0), "em") is None


def test_a_waiver_is_valid_on_its_last_day_and_expired_the_day_after(tmp_path: Path) -> None:
    file = written(tmp_path, ENTRY % ("leaderboard|gsm8k|5", "2026-11-23", ""))
    next_day = DAY + datetime.timedelta(days=1)

    assert waiver_for(file, GSM8K, "qem", DAY) == file.waivers[0]
    assert expired_waivers(file, DAY) == ()
    assert waiver_for(file, GSM8K, "qem", next_day) is None
    assert expired_waivers(file, next_day) == (f"{file.path}:1: the waiver of leaderboard|gsm8k|5 expired on 2026-11-23 (r)",)


@pytest.mark.parametrize(
    ("value", "higher_is_better", "covered"),
    [(0.5, True, True), (0.49, True, False), (0.5, False, True), (0.51, False, False), (NAN, True, False), (NAN, False, False)],
    ids=["at the floor", "below", "at the ceiling", "above", "nan", "nan where lower is better"],
)
def test_a_score_beyond_the_floor_is_not_covered(tmp_path: Path, value: float, higher_is_better: bool, covered: bool) -> None:
    (waiver,) = written(tmp_path, ENTRY % ("leaderboard|gsm8k|5", "2026-11-23", "")).waivers

    assert within_floor(waiver, value, higher_is_better=higher_is_better) is covered


def test_a_waiver_that_covers_no_task_is_reported(tmp_path: Path) -> None:
    file = written(tmp_path, ENTRY % ("leaderboard|gms8k|5", "2026-11-23", "") + ENTRY % ("leaderboard|gsm8k", "2026-11-23", ""))

    assert unmatched_waivers(file, [GSM8K]) == (
        f"{file.path}:1: this run has no leaderboard|gms8k|5 (did you mean 'leaderboard|gsm8k|5'?)",
    )


MINI = [TaskKey(suite="mini", task=f"g:{name}", few_shots=0) for name in ("one", "two", "_average")]


@pytest.mark.parametrize("written_as", ["mini|g", "mini|g:_average", "mini|g|0", "mini|g:_average|0|0|"])
def test_a_waiver_of_a_superset_covers_its_row_alone_however_it_is_written(tmp_path: Path, written_as: str) -> None:
    file = written(tmp_path, ENTRY % (written_as, "2026-11-23", ""))

    assert [waiver_for(file, key, "acc", DAY) is not None for key in MINI] == [False, False, True]
    assert unmatched_waivers(file, MINI) == ()


def test_a_misspelt_superset_gets_the_superset_as_first_suggestion(tmp_path: Path) -> None:
    file = written(tmp_path, ENTRY % ("mini|gg", "2026-11-23", "") + ENTRY % ("mini|g:_averge|0", "2026-11-23", ""))

    first, second = unmatched_waivers(file, MINI)

    assert first.startswith(f"{file.path}:1: this run has no mini|gg (did you mean 'mini|g' or ")
    assert second.startswith(f"{file.path}:2: this run has no mini|g:_averge|0 (did you mean 'mini|g:_average|0'")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [}", ":1: not valid YAML: "),
        ("task: a|b\n", ":1: a list of waivers is needed, each like - {task: leaderboard|gsm8k|5, "),
        ("- a|b\n", ":1: [0]: a mapping is needed here, like {task: "),
        ("- {task: a|b, reason: r, until: 2027-01-01}\n", ":1: [0]: floor is missing; a waiver is written {task: "),
        (
            "- task: a|b\n  reson: r\n",
            ":2: [0]: unknown field 'reson'; a waiver has task, metric, reason, until, floor (did you mean",
        ),
        ("- task: a|b\n  task: a|c\n", ":2: task: given twice, first in line 1"),
        (ENTRY % ("gsm8k", "2027-01-01", ""), ":1: [0].task: 'gsm8k': a task is written suite|task|few_shots|truncate, such as"),
        (ENTRY % ("a|b", "soon", ""), ":1: [0].until: 'soon' is not a date; write year-month-day, such as 2027-01-31"),
        (ENTRY % ("a|b", "2027-02-30", ""), ":1: [0].until: '2027-02-30' is not a date"),
        (ENTRY % ("a|b", "20270130", ""), ":1: [0].until: '20270130' is not a date"),
        ("- {task: a|b, reason: r, until: 2027-01-01, floor: low}\n", ":1: [0].floor: a finite number is needed, not 'low'"),
        ("- {task: a|b, reason: r, until: 2027-01-01, floor: .inf}\n", ":1: [0].floor: a finite number is needed, not '.inf'"),
        ("- {task: a|b, reason: , until: 2027-01-01, floor: 1}\n", ":1: [0].reason: a text or number is needed"),
        ("- {task: a|b, reason: [], until: 2027-01-01, floor: 1}\n", ":1: [0].reason: a text or number is needed"),
        (ENTRY % ("a|b|5", "2027-01-01", "") * 2, ":2: [1].task: line 1 already waives a|b|5"),
    ],
    ids=[
        "yaml",
        "mapping",
        "text",
        "missing",
        "unknown",
        "twice",
        "task",
        "word",
        "no day",
        "other form",
        "floor",
        "infinite",
        "blank",
        "list",
        "same",
    ],
)
def test_a_mistake_is_an_error_at_its_line_and_field(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(FileError) as raised:
        written(tmp_path, text)

    assert str(raised.value).startswith(f"{tmp_path / 'waivers.yaml'}{message}")


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserInputError, match=r"waivers\.yaml: No such file or directory$"):
        load_waivers(tmp_path / "waivers.yaml")


@pytest.mark.parametrize(
    ("metric", "floor", "problem"),
    [
        ("loglikelihood_acc", 0.0, "0 allows any score of acc (the lowest is 0)"),
        ("loglikelihood_acc", 0.01, None),
        ("mcc", 0.0, None),
        ("mcc", -1.0, "-1 allows any score of mcc (the lowest is -1)"),
        ("bleu", 0.0, "0 allows any score of bleu (the lowest is 0)"),
        ("word_perplexity", 30.0, None),
        ("word_perplexity", 1e9, "1e+09 allows any score of word_perplexity (lower is better, and the highest is 1e+06)"),
    ],
)
def test_a_floor_that_allows_anything_is_refused(tmp_path: Path, metric: str, floor: float, problem: str | None) -> None:
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "s.yaml").write_text(
        "suite: mine\ntasks:\n  - {name: t, data_files: {test: t.jsonl}, evaluation_splits: [test], generation_size: 8, "
        f"prompt: {{query: '{{{{ q }}}}', choices: [a, b]}}, metrics: [{metric}]}}\n"
    )
    file = written(
        tmp_path,
        f"- {{task: mine|t, reason: r, until: 2026-12-01, floor: {floor}}}\n- {{task: mine|x, reason: r, until: 2026-12-01, floor: 0}}\n",
    )

    if problem is None:
        check_waivers(file, Catalogue([tmp_path / "suites"]))
    else:
        with pytest.raises(FileError, match=re.escape(f":1: mine|t.floor: {problem}; write the worst score that is expected")):
            check_waivers(file, Catalogue([tmp_path / "suites"]))


def test_a_year_is_the_most_that_a_waiver_holds(tmp_path: Path) -> None:
    path = tmp_path / "waivers.yaml"
    path.write_text("- {task: a|b, reason: r, until: 2027-11-23, floor: 0.5}\n")

    assert load_waivers(path, today=DAY).waivers
    with pytest.raises(
        FileError, match=re.escape("[0].until: 2027-11-23 is more than a year away, a waiver for good; write a day up to 2027-11-22")
    ):
        load_waivers(path, today=DAY - datetime.timedelta(days=1))


@pytest.mark.parametrize(
    ("today", "last"),
    [("2026-11-30", "2027-11-30"), ("2027-11-30", "2028-11-30"), ("2028-02-29", "2029-02-28"), ("2027-02-28", "2028-02-28")],
)
def test_a_year_is_up_to_the_same_day_of_the_next_one(tmp_path: Path, today: str, last: str) -> None:
    path = tmp_path / "waivers.yaml"
    day = datetime.date.fromisoformat(today)
    path.write_text(f"- {{task: a|b, reason: r, until: {last}, floor: 0.5}}\n")
    assert load_waivers(path, today=day).waivers

    after = datetime.date.fromisoformat(last) + datetime.timedelta(days=1)
    path.write_text(f"- {{task: a|b, reason: r, until: {after}, floor: 0.5}}\n")
    with pytest.raises(FileError, match=f"write a day up to {last}"):
        load_waivers(path, today=day)
