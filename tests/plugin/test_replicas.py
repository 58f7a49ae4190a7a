"""`--replicas`: each task is answered by several engines, with the bytes of one; what cannot be had is one line at the start."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.backends.accelerate.arguments import AccelerateArguments
from pytest_lighteval.backends.fake import FakeArguments
from pytest_lighteval.backends.vllm.arguments import VllmArguments
from pytest_lighteval.errors import UserInputError
from pytest_lighteval.plugin.replicas import Replicas, read_replicas
from tests.plugin.conftest import write_mini

TINY_CHUNKS = """
from pytest_lighteval.backends import chunks

chunks.USUAL = chunks.ChunkLimits(size=400, per_stem=0, rows=8)
"""


def measured(project: pytest.Pytester, *arguments: str, passed: int = 5, env: dict[str, str] | None = None) -> dict[str, Any]:
    """What a session in a process of its own writes, without what may differ between runs."""
    for name, value in (env or {}).items():
        project._monkeypatch.setenv(name, value)
    result = project.runpytest_subprocess("suites", "-p", "no:cacheprovider", "--report-dir", "reports", *arguments)
    result.assert_outcomes(passed=passed)
    return read_measured(project)


def read_measured(project: pytest.Pytester) -> dict[str, Any]:
    """The same of a session that has ended; its folder gets another name."""
    (path,) = project.path.glob("reports/*/results.json")
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    details = {
        file.name: sorted(json.dumps({**json.loads(line), "seconds": 0}, sort_keys=True) for line in file.read_text("utf-8").splitlines())
        for file in path.parent.glob("details/**/*.jsonl")
    }
    path.parent.rename(project.path / f"read-{path.parent.name}")
    return {
        "metrics": content["metrics"],
        "results": content["results"],
        "details": details,
        "backend": content["backend"],
        "run": content["run"],
    }


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(
        json.dumps(one[part], sort_keys=True) == json.dumps(other[part], sort_keys=True) for part in ("metrics", "results", "details")
    )


def test_the_fake_backend_has_the_same_bytes_with_any_number_of_engines(project: pytest.Pytester) -> None:
    project.makeconftest(TINY_CHUNKS)
    arguments = ["--backend", "fake", "--model-args", "accuracy=0.6,noise=0.1"]

    plain = measured(project, *arguments)
    runs = {count: measured(project, *arguments, "--replicas", count) for count in ("1", "3")}

    assert all(same(run, plain) for run in runs.values())
    assert all(run["backend"] == plain["backend"] for run in runs.values())
    members = runs["3"]["run"]["use"]["members"]
    assert [member["name"] for member in members] == ["replica 1", "replica 2", "replica 3"]
    assert sum(member["answers"] for member in members) == 168


def test_engines_without_work_begin_with_the_items_that_come_next(project: pytest.Pytester) -> None:
    arguments = ["--backend", "fake", "--model-args", "accuracy=0.6,delay=0.01"]

    plain = measured(project, "--backend", "fake", "--model-args", "accuracy=0.6")
    ahead = measured(project, *arguments, "--replicas", "2")

    assert same(ahead, plain)
    members = ahead["run"]["use"]["members"]
    assert sum(member["chunks"] for member in members) == 5  # each item is one
    assert sum(member["answers"] for member in members) == 168
    assert all(member["chunks"] for member in members)


@pytest.mark.skipif(not all(map(find_spec, ("torch", "transformers"))), reason="needs pip install '.[accelerate]'")
def test_the_accelerate_backend_has_the_same_bytes_cold_warm_and_with_a_member_lost(
    project: pytest.Pytester, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from tests.backends.tiny import save_tiny

    model = save_tiny(tmp_path_factory.mktemp("model") / "tiny")
    project.makeconftest(TINY_CHUNKS + LOSES_A_MEMBER)
    arguments = ["--backend", "accelerate", "--model-args", f"pretrained={model}", "--threads", "1", "-k", "choice or prose or short"]

    plain = measured(project, *arguments, "--no-cache", passed=4)
    cold = measured(project, *arguments, "--replicas=2", "--cache-dir=cache", passed=4)
    warm = measured(project, *arguments, "--cache-dir=cache", passed=4)
    lost = measured(project, *arguments, "--replicas=2", "--no-cache", passed=4, env={"LOSE": "1"})

    assert same(cold, plain)
    assert cold["backend"] == plain["backend"]
    assert same(warm, plain)
    assert (warm["run"]["cache"]["misses"], cold["run"]["cache"]["hits"]) == (0, 0)
    assert same(lost, plain)
    assert sum(member["deaths"] for member in lost["run"]["use"]["members"]) >= 1


LOSES_A_MEMBER = """
import os
import signal

from pytest_lighteval.backends.pool import pool

taken = pool.Pool._take
answers = []

def take(self, member, running, message):
    taken(self, member, running, message)
    if isinstance(message, pool.Answer):
        answers.append(message)
        if len(answers) == 5:
            os.kill(self.facts[member.number].ready.place["process"], signal.SIGKILL)

if os.environ.get("LOSE"):
    pool.Pool._take = take
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_session_and_all_of_its_members(project: pytest.Pytester, number: signal.Signals) -> None:
    project.makeconftest(TINY_CHUNKS)
    command = [
        "suites",
        "--backend",
        "fake",
        "--model-args",
        "delay=0.2",
        "--replicas",
        "2",
        "-p",
        "no:cacheprovider",
        "--report-dir",
        "reports",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *command], cwd=project.path, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    while not list(project.path.glob("reports/*/details/**/*.jsonl")) or not any(
        file.stat().st_size for file in project.path.glob("reports/*/details/**/*.jsonl")
    ):
        assert process.poll() is None
        time.sleep(0.05)
    assert len(children(process.pid)) == 2
    members = children(process.pid)
    process.send_signal(number)

    output, _ = process.communicate(timeout=60)

    assert process.returncode == (2 if number == signal.SIGINT else 143), output
    assert not any(Path(f"/proc/{member}/cmdline").exists() and Path(f"/proc/{member}/cmdline").read_bytes() for member in members)


def test_a_session_that_is_killed_leaves_no_member(project: pytest.Pytester) -> None:
    command = [
        "suites",
        "--backend",
        "fake",
        "--model-args",
        "delay=0.2",
        "--replicas",
        "2",
        "-p",
        "no:cacheprovider",
        "--report-dir",
        "reports",
    ]
    process = subprocess.Popen([sys.executable, "-m", "pytest", *command], cwd=project.path, stdout=subprocess.DEVNULL)
    while len(children(process.pid)) < 2:
        assert process.poll() is None
        time.sleep(0.05)
    members = children(process.pid)
    process.kill()
    process.wait()

    for _ in range(400):
        left = [member for member in members if Path(f"/proc/{member}/cmdline").exists() and Path(f"/proc/{member}/cmdline").read_bytes()]
        if not left:
            break
        time.sleep(0.05)

    assert left == []


def children(parent: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--replicas", "0"], "--replicas 0: a number from 1 on, or 'auto', was expected"),
        (["--replicas", "many"], "--replicas many: a number from 1 on, or 'auto', was expected"),
        (["--replicas", "auto"], "--replicas auto: the engine takes no GPU; give a number"),
        (["--replicas", "2", "-n", "2"], "--replicas 2 and -n exclude each other: *"),
    ],
)
def test_a_number_that_cannot_be_had_is_a_usage_error(pytester: pytest.Pytester, arguments: list[str], message: str) -> None:
    write_mini(pytester.path / "suites" / "mini")

    result = pytester.runpytest_inprocess("suites", "--backend", "fake", *arguments)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{message}"])


def test_an_engine_of_a_fixture_is_one_engine(pytester: pytest.Pytester) -> None:
    write_mini(pytester.path / "suites" / "mini")
    pytester.makeconftest("import pytest\n\n@pytest.fixture(scope='session')\ndef lighteval_backend(): ...")

    result = pytester.runpytest_inprocess("suites", "--replicas", "2")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "*--replicas 2: the lighteval_backend of the conftest is one engine; name its class as an entry point of "
            "'pytest_lighteval.backends', and that name with --backend"
        ]
    )


ONE = AccelerateArguments(pretrained="owner/name")
ALL = AccelerateArguments(pretrained="owner/name", model_parallel=True)
PAIR = VllmArguments(pretrained="owner/name", tensor_parallel_size=2)
COPIES = VllmArguments(pretrained="owner/name", tensor_parallel_size=2, data_parallel_size=2)
EIGHT = [str(number) for number in range(8)]


@pytest.mark.parametrize(
    ("asked", "arguments", "visible", "groups"),
    [
        pytest.param("auto", ONE, EIGHT, [(number,) for number in EIGHT], id="one-each"),
        pytest.param("auto", PAIR, EIGHT, [("0", "1"), ("2", "3"), ("4", "5"), ("6", "7")], id="pairs"),
        pytest.param("3", PAIR, EIGHT, [("0", "1"), ("2", "3"), ("4", "5")], id="three-pairs"),
        pytest.param("2", ALL, EIGHT, [("0", "1", "2", "3"), ("4", "5", "6", "7")], id="halves"),
        pytest.param("2", ONE, ["GPU-a", "GPU-b", "GPU-c"], [("GPU-a",), ("GPU-b",)], id="names"),
        pytest.param("3", ONE, [], [(), (), ()], id="cpu"),
        pytest.param("3", AccelerateArguments(pretrained="a/b", device="cpu"), EIGHT, [(), (), ()], id="on-the-cpu"),
        pytest.param(None, COPIES, EIGHT, [("0", "1"), ("2", "3")], id="data-parallel"),
        pytest.param(None, ONE, EIGHT, None, id="none"),
        pytest.param("5", PAIR, EIGHT, "--replicas 5: 5 engines of 2 GPUs need 10, but 8 are visible", id="too-many"),
        pytest.param("2", ONE, ["3"], "--replicas 2: 2 engines of 1 GPU need 2, but 1 is visible", id="one-gpu"),
        pytest.param("auto", ONE, [], "--replicas auto: no GPU is visible; give a number", id="auto-without"),
        pytest.param("auto", PAIR, ["0"], "--replicas auto: an engine takes 2 GPUs; visible: 1", id="auto-too-few"),
        pytest.param(
            "auto", ALL, EIGHT, "--replicas auto: model_parallel=true takes all GPUs that there are for an engine; "
            "give the number of engines",
            id="auto-all",
        ),
        pytest.param("2", COPIES, EIGHT, "--replicas 2 and data_parallel_size=2 both say how many engines there are: give one", id="twice"),
    ],
)  # fmt: skip
def test_every_engine_gets_its_gpus(pytester: pytest.Pytester, asked: str | None, arguments: Any, visible: list[str], groups: Any) -> None:
    config = pytester.parseconfig()

    def read() -> Any:
        return read_replicas(config, asked, "some", arguments, lambda: visible)

    if isinstance(groups, str):
        with pytest.raises(UserInputError) as error:
            read()
        assert str(error.value) == groups
    else:
        found = read()
        assert (list(found.groups) if isinstance(found, Replicas) else None) == groups


def test_the_fake_backend_takes_no_gpu(pytester: pytest.Pytester) -> None:
    replicas = read_replicas(pytester.parseconfig(), "2", "fake", FakeArguments(), lambda: EIGHT)

    assert isinstance(replicas, Replicas)
    assert replicas.groups == ((), ())
