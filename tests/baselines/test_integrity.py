"""A baseline whose numbers do not belong together is refused in one line, whatever sizes it claims; older files are still read."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.baselines.file_format import parse_baseline, render_baseline
from pytest_lighteval.baselines.read import read_baselines
from pytest_lighteval.baselines.repeats import merge_runs
from pytest_lighteval.baselines.save import baseline_of
from pytest_lighteval.errors import UserInputError
from pytest_lighteval.types import SampleValue
from tests.baselines.samples import report, result

ROOT = Path(__file__).parents[2]
KEY = "leaderboard|gsm8k|5"
COLUMNS: dict[str, list[SampleValue | None]] = {
    "acc": [1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0],
    "f1": [0.25, 0.5, 0.75, 1.0, 0.0, 0.125, None],
    "ppl": [(-1.5, 3), (-2.5, 4), (-0.5, 1), (-1.0, 2), (-3.0, 5), (-2.0, 2), (-1.25, 3)],
    "copied": [1.0, 2.0, 9.0, 4.0, 3.0, 2.0, 1.0],
}
VALUES = {"ppl": 1.8, "copied": 9.0}
SOFT = {"acc": [1.5, -0.25, 2.0, 0.5, -3.0, 0.125, 8.0]}


def plain(version: int = 2) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        render_baseline(baseline_of(report(result(COLUMNS, values=VALUES, soft=SOFT if version > 1 else None))))
    )
    if version == 1:
        content["version"] = 1
        for task in content["tasks"].values():
            del task["score_digest"], task["means"]
    return content


def flipped(text: str) -> str:
    """The packed bytes with the first row's bit flipped."""
    data = bytearray(base64.b64decode(text))
    data[0] ^= 0x80
    return base64.b64encode(bytes(data)).decode()


def refusal(content: Any) -> str:
    with pytest.raises(UserInputError) as raised:
        parse_baseline(content if isinstance(content, str) else json.dumps(content), "b.json")
    assert len(str(raised.value)) < 600
    assert "\n" not in str(raised.value)
    return str(raised.value).removeprefix(f"b.json: tasks.{KEY}.")


@pytest.mark.parametrize("version", [1, 2])
def test_the_sample_is_read_as_it_is(version: int) -> None:
    baseline = parse_baseline(json.dumps(plain(version)), "b.json")

    assert baseline.has_digests is (version == 2)
    assert plain()["tasks"][KEY]["means"] == ["acc", "f1"]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("metric", ["acc", "f1"])
def test_a_value_that_is_not_the_mean_of_its_scores_is_refused(version: int, metric: str) -> None:
    content = plain(version)
    content["tasks"][KEY]["metrics"][metric]["value"] += 0.01

    assert refusal(content).startswith(f"metrics.{metric}.value: 0.")
    assert "is not the mean of packed.scores, 0." in refusal(content)


@pytest.mark.parametrize("version", [1, 2])
def test_flipped_bits_of_scores_are_refused(version: int) -> None:
    content = plain(version)
    column = content["tasks"][KEY]["packed"]["scores"]["acc"]
    column["packed"] = flipped(column["packed"])

    assert refusal(content).startswith("metrics.acc.value: 0.7142857143 is not the mean of packed.scores, 0.5714285714")


@pytest.mark.parametrize(
    "what", ["scores of the corpus", "scores and value", "soft", "no soft", "ids", "value of the corpus", "n", "direction", "means"]
)
def test_what_contradicts_the_digest_is_refused(what: str) -> None:
    content = plain()
    task = content["tasks"][KEY]
    match what:
        case "scores of the corpus":
            task["packed"]["scores"]["copied"]["values"][0] = 1.5
        case "scores and value":
            task["packed"]["scores"]["acc"]["packed"] = flipped(task["packed"]["scores"]["acc"]["packed"])
            task["metrics"]["acc"]["value"] = 4 / 7
        case "soft":
            task["packed"]["soft"]["acc"] = flipped(task["packed"]["soft"]["acc"])
        case "no soft":
            del task["packed"]["soft"]
        case "ids":
            task["packed"]["ids"]["split"]["values"] = ["train"]
        case "value of the corpus":
            task["metrics"]["ppl"]["value"] = 1.2
        case "n":
            task["metrics"]["acc"]["n"] = 6
        case "direction":
            task["metrics"]["acc"]["higher_is_better"] = False
        case _:
            task["means"] = ["f1"]
            task["metrics"]["acc"]["value"] = 0.1

    assert refusal(content) == "score_digest: is not that of the scores and ids; the file was changed by hand or merged"


@pytest.mark.parametrize(
    ("soft", "problem"),
    [
        ({"acc": "AAAA"}, "packed.soft.acc: holds 3 bytes where 14 are needed"),
        ({"acc": "?"}, "packed.soft.acc: is not base64"),
        ({"acc": base64.b64encode(b"\x00\x7c" * 7).decode()}, "packed.soft.acc: a soft score is not finite"),
        ({"bleu": base64.b64encode(bytes(14)).decode()}, "packed.soft.bleu: is of no metric that is named above"),
    ],
)
def test_soft_scores_that_no_run_has_are_refused(soft: dict[str, str], problem: str) -> None:
    content = plain()
    content["tasks"][KEY]["packed"]["soft"] = soft

    assert refusal(content) == problem


def test_a_file_without_soft_scores_is_read() -> None:
    text = render_baseline(baseline_of(report(result(COLUMNS, values=VALUES))))
    (task,) = parse_baseline(text, "b.json").tasks.values()

    assert task.soft == {}
    assert '"soft"' not in text


@pytest.mark.parametrize("missing", ["score_digest", "means"])
def test_a_new_file_without_a_digest_is_refused(missing: str) -> None:
    content = plain()
    del content["tasks"][KEY][missing]

    assert refusal(content).startswith(f"{missing}: ")


def test_a_value_may_be_written_with_fewer_digits_and_another_program_may_write_1_for_1_point_0() -> None:
    content = plain()
    content["tasks"][KEY]["metrics"]["acc"]["value"] = 0.7143
    content["tasks"][KEY]["packed"]["scores"]["acc"]["values"] = [0, 1]

    assert parse_baseline(json.dumps(content), "b.json").tasks
    content["tasks"][KEY]["metrics"]["acc"]["value"] = 0.7
    assert refusal(content).startswith("metrics.acc.value: 0.7 is not the mean")


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (("version",), None, "version: is null, which only an imported baseline without prompts may have"),
        (("dataset_fingerprint",), None, "dataset_fingerprint: is null, which only an imported baseline"),
        (("packed", "scores", "acc", "values"), ["0.0", "1.0"], "packed.scores.acc: a score is a number, or a tuple"),
        (("packed", "scores", "acc", "values"), [False, True], "packed.scores.acc: a score is a number, or a tuple"),
        (("metrics", "acc", "n"), -5, "metrics.acc.n: -5 of 7 documents is not possible"),
        (("documents",), -5, "documents: -5 is not possible; packed.ids names 7"),
        (("documents",), 8, "documents: 8 is not possible; packed.ids names 7"),
        (("truncated",), -1, "truncated: -1 of 7 rows is not possible"),
        (("truncated",), 10**9, "truncated: 1000000000 of 7 rows is not possible"),
        (("cut_share",), 1.5, "cut_share: 1.5 is not possible"),
        (("cut_share",), -0.5, "cut_share: -0.5 is not possible"),
        (("max_samples",), 0, "max_samples: 0 is not possible"),
        (("repeats",), -1, "b.json: tasks.leaderboard|gsm8k|5: rows and repeats are 1 at least"),
    ],
)
def test_what_no_run_measures_is_refused(version: int, path: tuple[str, ...], value: Any, problem: str) -> None:
    content = plain(version)
    inner = content["tasks"][KEY]
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value

    assert refusal(content).startswith(problem)


def test_merged_repeats_have_a_value_that_is_their_mean() -> None:
    runs = [baseline_of(report(result({"acc": [float((row + run) % 3 > 0) for row in range(7)]}))) for run in range(3)]
    merged = merge_runs([merge_runs(runs[:2]), runs[2]])

    assert parse_baseline(render_baseline(merged), "b.json") == merged


# ------------------------------------------------------------------------------------------------- hostile sizes


def hostile(**fields: Any) -> dict[str, Any]:
    content = plain()
    task = content["tasks"][KEY]
    task |= fields
    empty = {"values": [0.0], "packed": ""}
    task["packed"] = {
        "ids": {"split": {"values": ["t"], "packed": ""}, "row": {"values": [0], "packed": ""}, "part": {"values": [None], "packed": ""}},
        "few_shot_seeds": {"values": [0], "packed": ""},
        "prompts": None,
        "scores": dict.fromkeys(task["metrics"], empty),
    }
    return content


KEYS = ", ".join(f'"k{number}": 1' for number in range(60_000))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (hostile(rows=200_000_000), f"b.json: tasks.{KEY}: 200000000 rows with 1 repeats do not fit into a file of this size"),
        (hostile(rows=7, repeats=10**9), f"b.json: tasks.{KEY}: 7 rows with 1000000000 repeats do not fit into a file of this size"),
        (f'{{{KEYS}, "k59999": 2}}', "b.json: k59999: is given twice"),
        (f'{{"format": {"[" * 100_000}', "b.json: is no baseline: its values are too large or nested too deeply"),
        (f'{{"format": {"[" * 900}{"]" * 900}}}', "b.json: is no baseline: its values are too large or nested too deeply"),
        (f'{{"format": {"7" * 5_000}}}', "b.json: a number has 5000 digits, and may have 20"),
        (f'{{"format": {"7" * 4_000}}}', "b.json: a number has 4000 digits, and may have 20"),
        (hostile(effective_few_shots=10**400), "b.json: a number has 401 digits"),
        (json.dumps(plain()).replace('"truncated": 0', '"truncated": NaN'), "b.json: not JSON: NaN is no number"),
        (json.dumps(plain()).replace(KEY, f"leaderboard|gsm8k|{'5' * 5_000}"), "b.json: tasks.leaderboard|gsm8k|555"),
        ({"a\nb" * 1_000: 1, "format": "x"}, "b.json: format: "),
        ('{"a\\nb": 1, "a\\nb": 1}', "b.json: a b: is given twice"),
        (json.dumps(plain()).replace('"rows": 7', f'"rows": 1{"0" * 19}'), ""),
    ],
    ids=["rows", "repeats", "twins", "open", "nested", "digits", "4000", "few-shots", "nan", "key", "long", "lines", "int64"],
)
def test_hostile_sizes_end_in_one_line(content: Any, problem: str) -> None:
    assert refusal(content).startswith(problem)


def test_many_columns_are_cells_too() -> None:
    content = hostile(rows=2_000)
    column = {"values": [0.0], "packed": ""}
    content["tasks"][KEY]["packed"]["scores"]["ppl"] = {"columns": [column] * 2_000}

    assert "do not fit into a file of this size" in refusal(content)


# --------------------------------------------------------------------------------------------------- older files


def test_a_file_of_the_earlier_version_is_read_with_a_note() -> None:
    path = ROOT / "tests/plugin/recorded/baseline.json"
    baselines = read_baselines([path])

    assert baselines.keys
    (note,) = baselines.notes
    assert note.startswith(f"{path}: an earlier version wrote it, without digests of its scores")


def test_the_demo_has_a_baseline_of_this_version() -> None:
    baselines = read_baselines([ROOT / "baselines/demo.json"])

    assert baselines.keys
    assert baselines.notes == ()


@pytest.mark.parametrize("name", ["baselines/demo.json", "tests/plugin/recorded/baseline.json"])
def test_a_value_that_was_changed_by_hand_is_refused(name: str) -> None:
    content = json.loads((ROOT / name).read_text("utf-8"))
    task = next(iter(content["tasks"].values()))
    task["metrics"]["acc"]["value"] = 0.123

    assert "metrics.acc.value: 0.123 is not the mean of packed.scores" in refusal(content)
