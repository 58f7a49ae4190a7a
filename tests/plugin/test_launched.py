"""Under a launcher: the first process is the session, the others run engines, and a rank of one machine is never taken for one of all."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.backends.chunked import ChunkedBackend
from pytest_lighteval.backends.chunks import ChunkLimits
from pytest_lighteval.backends.fake import FakeArguments, FakeBackend
from pytest_lighteval.backends.pool.backend import PoolBackend
from pytest_lighteval.backends.pool.launcher import Launched, MeetingPoint, launched
from pytest_lighteval.backends.pool.ranks import Ranks, run_rank
from pytest_lighteval.errors import UserInputError
from pytest_lighteval.types import LoglikelihoodRequest
from tests.plugin.test_replicas import TINY_CHUNKS, children, measured

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none",
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
}
"""The fourth process of four, the second of its machine."""
needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="needs pip install '.[accelerate]'")


def test_a_process_knows_its_place_among_all_and_on_its_machine() -> None:
    process = launched(TORCHRUN)

    assert process is not None
    assert (process.rank, process.world, process.local_rank, process.local_world, process.has_store) == (3, 4, 1, 2, True)


@pytest.mark.parametrize("changed", [{"WORLD_SIZE": "1"}, {"TORCHELASTIC_RUN_ID": None}, {"LOCAL_RANK": None}, {"MASTER_PORT": None}])
def test_without_a_whole_launcher_there_is_none(changed: dict[str, str | None]) -> None:
    assert launched({name: value for name, value in {**TORCHRUN, **changed}.items() if value is not None}) is None


@pytest.mark.parametrize(
    ("local_rank", "local_world", "visible", "devices"),
    [
        (1, 2, 2, ("1",)),
        (1, 2, 8, ("4", "5", "6", "7")),  # fewer processes than GPUs: each has a share
        (2, 3, 8, ("4", "5")),
        (1, 2, 0, ()),
    ],
)
def test_each_process_has_its_share_of_its_machines_gpus(local_rank: int, local_world: int, visible: int, devices: tuple[str, ...]) -> None:
    process = launched({**TORCHRUN, "LOCAL_RANK": str(local_rank), "LOCAL_WORLD_SIZE": str(local_world)})

    assert process is not None
    assert process.devices([str(number) for number in range(visible)]) == devices


def test_more_processes_than_gpus_are_an_error() -> None:
    process = launched({**TORCHRUN, "LOCAL_WORLD_SIZE": "4"})

    assert process is not None
    with pytest.raises(UserInputError, match=r"^the launcher started 4 processes where 2 GPUs are visible: start fewer$"):
        process.devices(["0", "1"])


# ------------------------------------------------------------------------------------- without a launcher, in this process

QUESTIONS = [LoglikelihoodRequest(prompt=f"{number}: what is the answer?", choices=(" a", " b")) for number in range(200)]
FEW = ChunkLimits(size=150, per_stem=0)
POINT = MeetingPoint(address="127.0.0.1", port=0, key=b"k" * 32)


class World:
    """A first process with two others, whose sides run in threads."""

    def __init__(self, **arguments: Any) -> None:
        process = Launched(rank=0, world=3, local_rank=0, local_world=3, address="127.0.0.1", port=1, has_store=True, run="none/0")
        self.ranks = Ranks(process, publish=self._publish)
        self.backend = PoolBackend("fake", FakeArguments(**arguments), self.ranks.places)
        self.others = [threading.Thread(target=run_rank, args=(self.point, rank, ())) for rank in (1, 2)]

    def _publish(self, port: int) -> MeetingPoint:
        self.point = MeetingPoint(address="127.0.0.1", port=port, key=POINT.key)
        return self.point

    def process_of(self, name: str) -> int:
        """The process of a member: it says so itself."""
        place = next(member for member in self.backend.describe()["use"]["members"] if member["name"] == name)
        return int(place["process"])

    def deaths(self) -> dict[str, int]:
        return {member["name"]: member["deaths"] for member in self.backend.describe()["use"]["members"]}


@pytest.fixture
def world() -> Iterator[Callable[..., World]]:
    worlds: list[World] = []

    def make(**arguments: Any) -> World:
        worlds.append(World(**arguments))
        return worlds[-1]

    yield make
    for one in worlds:
        one.backend.close()
        one.ranks.close()
        for other in one.others:
            if other.ident is not None:
                other.join(30)
                assert not other.is_alive()
    assert not [process for process in children(os.getpid()) if b"pool.member" in Path(f"/proc/{process}/cmdline").read_bytes()]


def test_all_processes_answer_and_the_others_end_when_the_first_has_finished(world: Callable[..., World]) -> None:
    one = world(delay=0.01)
    for other in one.others:
        other.start()

    answers = dict(ChunkedBackend(one.backend, limits=FEW).loglikelihood(QUESTIONS))

    assert answers == dict(FakeBackend().loglikelihood(QUESTIONS))
    assert list(one.deaths()) == ["rank 0", "rank 1", "rank 2"]


def test_work_begins_before_the_last_process_is_there(world: Callable[..., World]) -> None:
    one = world()

    answers = dict(ChunkedBackend(one.backend, limits=FEW).loglikelihood(QUESTIONS))

    assert answers == dict(FakeBackend().loglikelihood(QUESTIONS))
    for other in one.others:
        other.start()


def test_an_engine_of_another_process_that_is_killed_is_started_again_there(world: Callable[..., World]) -> None:
    one = world(delay=0.02)
    for other in one.others:
        other.start()
    answers = ChunkedBackend(one.backend, limits=FEW).loglikelihood(QUESTIONS)
    found = dict([next(answers)])
    while one.backend.describe()["use"]["members"][1]["answers"] == 0:
        found |= [next(answers)]
    os.kill(one.process_of("rank 1"), signal.SIGKILL)

    found |= dict(answers)

    assert found == dict(FakeBackend().loglikelihood(QUESTIONS))
    assert one.deaths() == {"rank 0": 0, "rank 1": 1, "rank 2": 0}
    assert "signal SIGKILL" in one.backend.describe()["notes"][0]


def test_who_does_not_know_the_key_is_sent_away(world: Callable[..., World]) -> None:
    from multiprocessing import AuthenticationError
    from multiprocessing.connection import Client

    one = world()

    with pytest.raises((AuthenticationError, EOFError, OSError)):
        Client((one.point.address, one.point.port), authkey=b"guessed").recv()


# ------------------------------------------------------------------------------------------------------- under torchrun


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def torchrun(project: pytest.Pytester, *launcher: str, session: tuple[str, ...]) -> subprocess.Popen[str]:
    options = ["-p", "no:cacheprovider", "--report-dir=reports", *session]
    command = ["-m", "torch.distributed.run", *launcher, "-m", "pytest", "suites", *options]
    return subprocess.Popen([sys.executable, *command], cwd=project.path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def read_run(project: pytest.Pytester) -> dict[str, Any]:
    (path,) = project.path.glob("reports/*/results.json")
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


@needs_torch
def test_two_processes_of_torchrun_are_one_session(project: pytest.Pytester) -> None:
    project.makeconftest(TINY_CHUNKS)
    plain = measured(project, "--backend", "fake")

    process = torchrun(project, "--nproc-per-node=2", f"--master-port={free_port()}", session=("--backend", "fake"))
    output, _ = process.communicate(timeout=300)

    assert process.returncode == 0, output
    assert output.count("test session starts") == 1
    run = read_run(project)
    assert run["metrics"] == plain["metrics"]
    assert [member["name"] for member in run["run"]["use"]["members"]] == ["rank 0", "rank 1"]


@needs_torch
@pytest.mark.launcher
def test_two_launchers_with_two_processes_each_answer_every_document_once(
    project: pytest.Pytester, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> None:
    if "launcher" not in request.config.option.markexpr:
        pytest.skip("takes a minute: pytest tests/plugin/test_launched.py -m launcher")
    from tests.backends.tiny import save_tiny

    model = save_tiny(tmp_path_factory.mktemp("model") / "tiny")
    session = ("--backend", "accelerate", "--model-args", f"pretrained={model}", "--threads=1", "--no-cache")
    project.makeconftest(TINY_CHUNKS)
    plain = measured(project, *session)
    port = free_port()

    common = ("--nnodes=2", "--nproc-per-node=2", "--master-addr=127.0.0.1", f"--master-port={port}")
    launchers = [torchrun(project, *common, f"--node-rank={node}", session=session) for node in range(2)]
    outputs = [launcher.communicate(timeout=600)[0] for launcher in launchers]

    assert [launcher.returncode for launcher in launchers] == [0, 0], outputs
    assert outputs[1].count("test session starts") == 0
    run = read_run(project)
    assert json.dumps(run["metrics"], sort_keys=True) == json.dumps(plain["metrics"], sort_keys=True)
    members = run["run"]["use"]["members"]
    assert [member["name"] for member in members] == ["rank 0", "rank 1", "rank 2", "rank 3"]
    assert sum(member["answers"] for member in members) == 168


@needs_torch
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-n", "2"], "-n: the launcher has started 4 processes, which answer every task together: leave it out"),
        (["--replicas", "2"], "--replicas 2: the launcher has started 4 engines: leave it out"),
    ],
)
def test_what_cannot_be_beside_a_launcher_is_a_usage_error(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    for name, value in {**TORCHRUN, "RANK": "0"}.items():
        monkeypatch.setenv(name, value)

    result = project.runpytest_inprocess("suites", "--backend", "fake", *arguments)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{message}"])


def test_other_processes_have_nothing_to_do_where_nothing_is_evaluated(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)

    result = project.runpytest_subprocess("suites", "--backend", "fake", "--collect-only")

    assert (result.ret, result.outlines + result.errlines) == (0, [])
