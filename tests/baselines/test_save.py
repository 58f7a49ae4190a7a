"""Writing keeps other tasks, and needs a reason to lower a demand; reading finds files and tasks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.baselines.model import Baseline, HistoryEntry
from pytest_lighteval.baselines.read import read_baseline, read_baselines
from pytest_lighteval.baselines.repeats import merge_runs
from pytest_lighteval.baselines.save import Refresh, SaveTarget, baseline_of, write_baseline
from pytest_lighteval.errors import UserInputError
from pytest_lighteval.types import TaskKey, TaskResult
from tests.baselines.samples import GSM8K, report, result

ARC = TaskKey(suite="leaderboard", task="arc:challenge", few_shots=25)


def saved(*results: TaskResult) -> Baseline:
    return baseline_of(report(*results))


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        write_baseline(tmp_path / name, saved(result({"qem": [1.0, 0.0, 1.0]}), result({"acc": [1.0, 0.0]}, key=ARC)))

    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    baseline = baseline_of(report(result({"qem": [1.0, 0.0, 1.0]})), data_revisions={GSM8K: "e53f048856ff4f594e959d75785d2c2d37b678ee"})
    refresh = write_baseline(tmp_path / "new" / "b.json", baseline)

    assert read_baseline(tmp_path / "new" / "b.json") == baseline
    assert refresh == Refresh(added=(GSM8K,), replaced=(), kept=(), changes=())


def test_refreshing_replaces_the_tasks_of_the_run_alone(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    old_arc = saved(result({"acc": [1.0, 0.0]}, key=ARC))
    write_baseline(path, Baseline(tasks={**saved(result({"qem": [1.0, 0.0]})).tasks, **old_arc.tasks}))
    better = saved(result({"qem": [0.0, 1.0]}))

    refresh = write_baseline(path, better)

    assert read_baseline(path) == Baseline(tasks={**better.tasks, **old_arc.tasks})
    assert refresh == Refresh(added=(), replaced=(GSM8K,), kept=(ARC,), changes=())


@pytest.mark.parametrize(
    ("after", "line"),
    [
        (result({"qem": [1.0, 0.0, 0.0, 0.0], "ppl": [5.0] * 4}), "leaderboard|gsm8k|5: qem 0.5000 -> 0.2500"),
        (result({"qem": [1.0, 1.0, 1.0, 0.0], "ppl": [5.0] * 4}), "leaderboard|gsm8k|5: qem 0.5000 -> 0.7500"),
        (result({"qem": [float("nan")] * 4, "ppl": [5.0] * 4}), "leaderboard|gsm8k|5: qem 0.5000 -> nan"),
        (result({"ppl": [5.0] * 4}), "leaderboard|gsm8k|5: qem is not reported any more"),
        (result({"qem": [1.0, 0.0], "ppl": [5.0] * 2}), "leaderboard|gsm8k|5: 2 documents instead of 4"),
        (result({"qem": [1.0, 0.0, 0.0, 0.0], "ppl": [4.0] * 4}), "leaderboard|gsm8k|5: ppl 5.0000 -> 4.0000, and 1 more"),
    ],
    ids=["lower", "higher", "not a number", "metric gone", "fewer documents", "two"],
)
def test_another_demand_needs_a_reason(tmp_path: Path, after: TaskResult, line: str) -> None:
    path = tmp_path / "b.json"
    write_baseline(path, saved(result({"qem": [1.0, 0.0, 1.0, 0.0], "ppl": [5.0] * 4})))
    before = path.read_bytes()

    for reason in (None, "  "):
        with pytest.raises(UserInputError) as raised:
            write_baseline(path, saved(after), reason=reason)
        assert str(raised.value) == (
            f"--save-baseline {path}: would change what the file demands: {line}; "
            'if that is right, say why with --baseline-reason "..."'
        )  # fmt: skip
    assert path.read_bytes() == before


def test_fewer_repeats_need_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    once = saved(result({"qem": [1.0, 0.0]}))
    write_baseline(path, merge_runs([once, once, once]))

    with pytest.raises(UserInputError, match=r"leaderboard\|gsm8k\|5: 1 repeats of a document instead of 3;"):
        write_baseline(path, once)
    write_baseline(path, once, reason="repeats are too dear")

    assert read_baseline(path).tasks[GSM8K].repeats == 1


def merge(path: Path, baseline: Baseline, **options: Any) -> None:
    SaveTarget(path=path, is_folder=False, is_repeat=True).save(baseline, **options)


def test_a_ninth_repeat_is_not_merged(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    once = saved(result({"qem": [1.0, 0.0]}))
    for _ in range(8):
        merge(path, once)

    with pytest.raises(UserInputError, match=r"not merged: leaderboard\|gsm8k\|5: it would have 9 repeats, and 8 are the most; --save-b"):
        merge(path, once)
    assert read_baseline(path).tasks[GSM8K].repeats == 8


def test_remembered_answers_and_other_scores_are_no_repeat(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    once = saved(result({"qem": [1.0, 0.0]}))
    merge(path, once, recalled={GSM8K: 2})  # the first measurement may be from wherever it was computed

    with pytest.raises(UserInputError, match=r"gsm8k\|5: 2 answers came from the cache, and are no new measurement: --no-cache asks"):
        merge(path, once, recalled={GSM8K: 2})
    with pytest.raises(UserInputError, match=r"qem 0\.5000 -> 1\.0000: that is no repeat; --save-baseline without --baseline-merge rep"):
        merge(path, saved(result({"qem": [1.0, 1.0]})))
    merge(path, once)

    assert read_baseline(path).tasks[GSM8K].repeats == 2


def test_reasons_are_kept_with_what_they_changed(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    write_baseline(path, saved(result({"qem": [1.0, 1.0]})))

    refresh = write_baseline(path, saved(result({"qem": [1.0, 0.0]})), reason="new kernels", date="2026-11-23")
    write_baseline(path, saved(result({"qem": [0.0, 0.0]})), reason="int8")
    write_baseline(path, saved(result({"acc": [0.0, 0.0]}, key=ARC)))

    assert refresh.changes == ("leaderboard|gsm8k|5: qem 1.0000 -> 0.5000",)
    assert read_baseline(path).history == (
        HistoryEntry(reason="new kernels", date="2026-11-23", changed={"leaderboard|gsm8k|5": {"qem": (1.0, 0.5)}}),
        HistoryEntry(reason="int8", date=None, changed={"leaderboard|gsm8k|5": {"qem": (0.5, 0.0)}}),
    )


def test_a_score_that_differs_by_rounding_alone_needs_no_reason(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    write_baseline(path, saved(result({"qem": [1.0, 0.0]}, values={"qem": 0.3})))

    write_baseline(path, saved(result({"qem": [1.0, 0.0]}, values={"qem": 0.3 - 2**-54})))


def test_a_damaged_file_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    path.write_text("precious", "utf-8")

    with pytest.raises(UserInputError, match=r"b\.json:1: not JSON"):
        write_baseline(path, saved(result({"qem": [1.0, 0.0]})), reason="fresh start")
    assert path.read_text("utf-8") == "precious"


def test_a_folder_and_an_empty_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserInputError, match=r"is a folder; name a file in it, such as .*baseline\.json"):
        write_baseline(tmp_path, saved(result({"qem": [1.0, 0.0]})))
    with pytest.raises(UserInputError, match="no task has a score, so there is nothing to save"):
        write_baseline(tmp_path / "b.json", baseline_of(report()))


# ------------------------------------------------------------------------------------------------------- reading


def test_a_path_that_is_not_there_says_how_to_write_it(tmp_path: Path) -> None:
    path = tmp_path / "b.json"

    with pytest.raises(UserInputError) as raised:
        read_baselines([path])

    assert str(raised.value) == (
        f"--baseline {path}: there is no such file; the same run with --save-baseline {path} in place of --baseline writes it"
    )


def test_an_empty_folder_says_how_to_fill_it(tmp_path: Path) -> None:
    with pytest.raises(UserInputError, match=r"the folder holds no baseline; the same run with --save-baseline .*baseline\.json"):
        read_baselines([tmp_path])


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_bytes(b"\xff\xfe")

    with pytest.raises(UserInputError, match="not UTF-8 text: invalid start byte in line 1"):
        read_baseline(tmp_path / "b.json")


def test_several_baselines_are_searched_in_order(tmp_path: Path) -> None:
    first, second = saved(result({"qem": [1.0, 0.0]})), saved(result({"qem": [1.0, 1.0]}), result({"acc": [1.0, 0.0]}, key=ARC))
    write_baseline(tmp_path / "first.json", first)
    write_baseline(tmp_path / "second.json", second)
    baselines = read_baselines([tmp_path / "first.json", tmp_path / "second.json"])

    assert baselines.find(GSM8K) == first.tasks[GSM8K]
    assert baselines.find(ARC) == second.tasks[ARC]
    assert baselines.find(replace(GSM8K, few_shots=0)) is None
    assert baselines.keys == (ARC, GSM8K)


def test_a_folder_picks_by_task(tmp_path: Path) -> None:
    for name, baseline in (("gsm8k", saved(result({"qem": [1.0, 0.0]}))), ("arc", saved(result({"acc": [1.0]}, key=ARC)))):
        write_baseline(tmp_path / f"{name}.json", baseline)
    (tmp_path / ".half.json").write_text("being written", "utf-8")
    baselines = read_baselines([tmp_path])

    assert [baselines.find(key) is not None for key in (GSM8K, ARC)] == [True, True]


def test_a_task_that_two_files_of_a_folder_hold_is_not_chosen_by_chance(tmp_path: Path) -> None:
    for name in ("llama", "qwen"):
        write_baseline(tmp_path / f"{name}.json", saved(result({"qem": [1.0, 0.0]})))
    baselines = read_baselines([tmp_path])

    with pytest.raises(UserInputError, match=r"leaderboard\|gsm8k\|5 is in .*llama\.json and .*qwen\.json; name one of them"):
        baselines.find(GSM8K)
    assert baselines.find(ARC) is None
