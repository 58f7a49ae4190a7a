"""`--shard k/n` and `merge`: all shards together are the whole run, byte for byte; one that is missing or there twice is an error."""

from __future__ import annotations

import json
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.backends import chunks
from pytest_lighteval.commands.main import main
from pytest_lighteval.errors import UserInputError
from pytest_lighteval.plugin.shards import read_shard
from tests.metrics.test_tiny_benchmarks import small, write
from tests.plugin.conftest import write_mini

MODEL = ("--backend", "fake", "--model-args", "accuracy=0.6")


@pytest.fixture
def shards(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """The project, whose tasks have several chunks; sessions and commands run in its folder."""
    monkeypatch.setattr(chunks, "USUAL", chunks.ChunkLimits(size=400, per_stem=0, rows=8))
    monkeypatch.chdir(project.path)
    return project


def run(project: pytest.Pytester, name: str, *arguments: str, **outcomes: int) -> str:
    """The folder of one session's run."""
    result = project.runpytest_inprocess("suites", *MODEL, "--report-dir", name, "--no-cache", "-p", "no:cacheprovider", *arguments)
    found = result.parseoutcomes()
    if outcomes:
        assert found == outcomes
    assert found.keys() <= {"passed", "skipped", "failed", "deselected"}
    return folder_in(name)


def folder_in(name: str) -> str:
    (folder,) = (path for path in Path(name).iterdir() if path.is_dir())
    return str(folder)


def content(folder: str) -> dict[str, Any]:
    results: dict[str, Any] = json.loads((Path(folder) / "results.json").read_text("utf-8"))
    del results["run"]
    results["config_general"] = {**results.get("config_general", {}), "start_time": 0, "end_time": 0, "total_evaluation_time_secondes": 0}
    return results


def details(folder: str) -> dict[str, list[str]]:
    return {
        file.name: sorted(json.dumps({**json.loads(line), "seconds": 0}) for line in file.read_text("utf-8").splitlines())
        for file in Path(folder).glob("details/**/*.jsonl")
    }


def ids(folder: str) -> dict[str, list[str]]:
    return {
        file.name: [json.loads(line)["id"] for line in file.read_text("utf-8").splitlines()]
        for file in Path(folder).glob("details/**/*.jsonl")
    }


def test_all_shards_are_the_whole_run_byte_for_byte(shards: pytest.Pytester, capsys: pytest.CaptureFixture[str]) -> None:
    whole = run(shards, "whole")
    parts = [run(shards, f"part{number}", "--shard", f"{number}/3") for number in (1, 2, 3)]

    assert main(["merge", *parts[::-1], "-o", "merged"]) == 0

    assert content("merged") == content(whole)
    assert details("merged") == details(whole)
    # the order of the documents, in which a run without few-shot examples asks them
    assert ids("merged")["choice.2-shot.jsonl"] == ids("merged")["choice.0-shot.jsonl"] == ids(whole)["choice.0-shot.jsonl"]
    assert ids(whole)["choice.2-shot.jsonl"] != ids(whole)["choice.0-shot.jsonl"]
    sizes = [sum(map(len, details(part).values())) for part in parts]
    assert sum(sizes) == 168
    assert min(sizes) > 0
    assert (Path("merged") / "summary.md").is_file()


BOTH = """
suite: both
tasks:
  - name: ways
    evaluation_splits: [test]
    data_files: {test: ../mini/choice.jsonl}
    prompt:
      query: "Question: {{ question }}\\nAnswer:"
      choices: "{{ choices | prefix(' ') }}"
      gold: "{{ answer }}"
    metrics: [loglikelihood_acc, exact_match]
    generation_size: 4
    stop_sequence: ["\\n"]
"""


def test_a_task_that_asks_in_two_ways_is_cut_too(shards: pytest.Pytester, capsys: pytest.CaptureFixture[str]) -> None:
    (shards.path / "suites" / "both").mkdir()
    (shards.path / "suites" / "both" / "both.yaml").write_text(BOTH)
    only = ("-k", "ways")
    whole = run(shards, "whole", *only)
    parts = [run(shards, f"part{number}", f"--shard={number}/2", *only) for number in (1, 2)]

    assert main(["merge", *parts, "-o", "merged"]) == 0

    assert content("merged") == content(whole)
    assert details("merged") == details(whole)
    sizes = [sum(map(len, details(part).values())) for part in parts]
    assert sum(sizes) == 40
    assert min(sizes) > 5


def test_the_whole_has_the_estimates_of_a_benchmark_s_anchors(
    shards: pytest.Pytester, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    (shards.path / "suites" / "both").mkdir()
    tiny = BOTH.replace("[loglikelihood_acc, exact_match]", "[tinybench_metric_mmlu]")
    (shards.path / "suites" / "both" / "both.yaml").write_text(tiny)
    parameters = str(write(tmp_path_factory.mktemp("parameters"), small(80, anchors=tuple(range(0, 80, 2)))))
    whole = run(shards, "whole", "-k", "ways", "--tiny-parameters", parameters)
    parts = [run(shards, f"part{number}", f"--shard={number}/2", "-k", "ways") for number in (1, 2)]

    assert main(["merge", *parts, "-o", "merged", "--tiny-parameters", parameters]) == 0

    assert content("merged") == content(whole)
    assert {"irt", "pirt", "gpirt"} <= content("merged")["results"]["both|ways|0"].keys()


def test_the_whole_is_judged_as_its_session_would_have(shards: pytest.Pytester, capsys: pytest.CaptureFixture[str]) -> None:
    run(shards, "base", "--save-baseline=base.json")
    bad = ("--model-args", "accuracy=0.6,lose=0.9", "--baseline=base.json", "-k", "choice")
    whole = run(shards, "whole", *bad)
    parts = [run(shards, f"part{number}", "--shard", f"{number}/2", *bad) for number in (1, 2)]

    assert main(["merge", *parts, "-o", "merged"]) == 1

    merged, expected = content("merged"), content(whole)
    assert merged["verdicts"] == expected["verdicts"]
    assert any(verdict["outcome"] == "failed" for verdicts in merged["verdicts"].values() for verdict in verdicts)
    assert merged["metrics"] == expected["metrics"]


def test_a_task_without_a_chunk_is_skipped_by_name(shards: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "USUAL", chunks.ChunkLimits())  # each task is one chunk
    sessions = [shards.runpytest_inprocess("suites", *MODEL, f"--shard={number}/2", "--no-cache", "-rs") for number in (1, 2)]

    assert [session.ret for session in sessions] == [0, 0]
    outcomes = [session.parseoutcomes() for session in sessions]
    assert [sum(outcome.get(name, 0) for outcome in outcomes) for name in ("passed", "skipped")] == [5, 5]
    skipping = next(number for number, outcome in enumerate(outcomes, start=1) if "skipped" in outcome)
    sessions[skipping - 1].stdout.fnmatch_lines([f"SKIPPED*shard {skipping}/2 has no chunk of this task"])


def test_a_task_of_one_chunk_is_whole(shards: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "USUAL", chunks.ChunkLimits())
    whole = run(shards, "whole", "-k", "prose")
    parts = [run(shards, f"part{number}", f"--shard={number}/2", "-k", "prose") for number in (1, 2)]

    assert main(["merge", *parts, "-o", "merged"]) == 0
    assert content("merged") == content(whole)


def test_a_document_without_an_answer_is_the_error_of_the_whole(shards: pytest.Pytester, capsys: pytest.CaptureFixture[str]) -> None:
    failing = ("--model-args", "fail=[test:3]", "-k", "prose")
    parts = []
    for number in (1, 2):
        shards.runpytest_inprocess(
            "suites", *MODEL, *failing, "--shard", f"{number}/2", "--no-cache", "--report-dir", f"part{number}", "-p", "no:cacheprovider"
        )
        parts.append(folder_in(f"part{number}"))

    assert main(["merge", *parts, "-o", "merged"]) == 1

    assert "planted failure" in content("merged")["errors"]["mini|prose|0"]
    assert "mini|prose|0" not in content("merged")["metrics"]


@pytest.mark.parametrize(
    ("chosen", "problem"),
    [
        ((1, 2), "shard 3 of 3 is missing"),
        ((2,), "shards 1, 3 of 3 are missing"),
        ((1, 2, 2, 3), "part2/*: is shard 2 of 3, as part2/* is"),
        ((1, 2, 3, "other"), "other/*: is shard 1 of 2, and part1/* is one of 3"),
        ((1, 2, "model"), "model/*: has another model than part1/*: *"),
        (("whole",), "whole/*: is no shard, or its session was interrupted; a finished run under --shard k/n is one"),
    ],
)
def test_shards_that_are_not_one_run_are_one_clear_line(
    shards: pytest.Pytester, capsys: pytest.CaptureFixture[str], chosen: tuple[int | str, ...], problem: str
) -> None:
    only = ("-k", "choice and not 2-shot")
    made = {
        "other": lambda: run(shards, "other", "--shard=1/2", *only),
        "model": lambda: run(shards, "model", "--shard=3/3", "--model-args", "accuracy=0.5", *only),
        "whole": lambda: run(shards, "whole", *only),
    }
    folders: dict[int | str, str] = {}
    for one in dict.fromkeys(chosen):
        folders[one] = made[one]() if isinstance(one, str) else run(shards, f"part{one}", f"--shard={one}/3", *only)
    capsys.readouterr()

    assert main(["merge", *(folders[one] for one in chosen), "-o", "merged"]) == 2

    assert fnmatch(capsys.readouterr().err.strip(), problem)
    assert not Path("merged").exists()


def test_a_shard_alone_is_not_judged(shards: pytest.Pytester, capsys: pytest.CaptureFixture[str]) -> None:
    part = run(shards, "part", "--shard=1/2", "-k", "choice")

    assert main(["gate", part]) == 2
    assert "is shard 1 of 2: join all shards first, with merge" in capsys.readouterr().err


SLURM = {"SLURM_ARRAY_TASK_ID": "14", "SLURM_ARRAY_TASK_MIN": "10", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_STEP": "2"}


@pytest.mark.parametrize(
    ("text", "environment", "shard"),
    [
        (None, {}, None),
        ("1/1", {}, (1, 1)),
        ("3/8", {}, (3, 8)),
        ("slurm", SLURM, (3, 4)),
        ("slurm", {"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_COUNT": "4"}, (1, 4)),
    ],
)
def test_a_shard_is_a_part_from_1_on(text: str | None, environment: dict[str, str], shard: tuple[int, int] | None) -> None:
    assert read_shard({"shard": text}, environment) == shard


@pytest.mark.parametrize(
    ("values", "environment", "problem"),
    [
        ({"shard": "5/4"}, {}, "--shard 5/4: K/N with K from 1 to N was expected, or 'slurm'"),
        ({"shard": "0/4"}, {}, "--shard 0/4: K/N with K from 1 to N was expected, or 'slurm'"),
        ({"shard": "half"}, {}, "--shard half: K/N with K from 1 to N was expected, or 'slurm'"),
        ({"shard": "slurm"}, {}, "--shard slurm: SLURM_ARRAY_TASK_ID is not set; this is no task of a Slurm array"),
        (
            {"shard": "slurm"},
            SLURM | {"SLURM_ARRAY_TASK_ID": "13"},
            "--shard slurm: task 13 of an array of 4 from 10 with step 2 has no place; use an array without gaps",
        ),
        ({"shard": "1/2", "save_baseline": "b.json"}, {}, "--shard 1/2 and --save-baseline: a part of a task has no score"),
    ],
)
def test_a_shard_that_cannot_be_is_one_line(values: dict[str, str], environment: dict[str, str], problem: str) -> None:
    with pytest.raises(UserInputError) as error:
        read_shard(values, environment)

    assert str(error.value) == problem


def test_nothing_of_slurm_is_read_without_being_asked(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mini(pytester.path / "suites" / "mini")
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)

    pytester.runpytest_inprocess("suites", *MODEL, "--no-cache").assert_outcomes(passed=5)
