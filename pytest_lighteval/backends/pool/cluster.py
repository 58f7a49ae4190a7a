"""A Ray cluster as seen from the session: joined, what it has room for, and what an engine asks of it."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import signal
import socket
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from pytest_lighteval.common.versions import installed_versions
from pytest_lighteval.errors import MissingExtraError, UserInputError, first_line

_SECONDS_TO_CONNECT = 5.0
_GPU, _CPU = "GPU", "CPU"
_KIND = "accelerator_type:"
"""What Ray puts before the name of a node's GPUs, among its resources."""


_Amount = Annotated[float, Meta(ge=0)]
_Count = Annotated[int, Meta(ge=1)]


class RayArguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `--ray-args` says of each engine, and of the cluster."""

    num_cpus: Annotated[_Amount | None, Meta(description="CPUs of each; default: its threads (--threads, OMP_NUM_THREADS), or 1")] = None
    num_gpus: Annotated[
        _Amount | None, Meta(description="GPUs of each; default: what the backend's arguments ask for, or 0 if the cluster has none")
    ] = None
    resources: Annotated[dict[str, float], Meta(description="custom resources of each engine, such as {spot: 1}")] = {}
    accelerator_type: Annotated[
        str | None, Meta(description="Ray's name of the GPUs: A100, H100, ...; needed if the cluster has several kinds")
    ] = None
    runtime_env: Annotated[
        dict[str, Any], Meta(description="Ray's runtime environment of the engines: {pip: [pytest-lighteval]}, {working_dir: .}, ...")
    ] = {}
    wait: Annotated[float, Meta(gt=0, description="seconds until an engine that the cluster has no room for counts as lost")] = 600
    least: Annotated[
        _Count | None, Meta(description="engines without which the session ends, when the cluster shrinks; default: all of --replicas")
    ] = None


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """What one engine asks of the cluster."""

    cpus: float
    gpus: float
    resources: dict[str, float]
    accelerator_type: str | None = None
    bundles: int = 0
    """Of how many one-GPU parts, which may be on several nodes, it consists. 0: it is on one node."""

    def __str__(self) -> str:
        """How messages say it: `1 CPU, 2 GPU`."""
        amounts = {_CPU: self.cpus, _GPU: self.bundles or self.gpus, **self.resources}
        kind = f" of type {self.accelerator_type}" if self.accelerator_type else ""
        return ", ".join(f"{amount:g} {name}" for name, amount in amounts.items() if amount) + kind

    def per_node(self) -> dict[str, float]:
        """What a node must have for it, or for one of its parts."""
        kind = {_KIND + self.accelerator_type: 0.001} if self.accelerator_type else {}
        amounts = {_CPU: self.cpus, _GPU: 1 if self.bundles else self.gpus, **self.resources, **kind}
        return {name: amount for name, amount in amounts.items() if amount}


class Cluster:
    """The connection to a cluster, for as long as the session lasts."""

    def __init__(self, address: str, runtime_env: Mapping[str, Any] | None = None) -> None:
        """Join it. `address`: `auto`, `local` (a new one on this machine) or HOST:PORT.

        Raises MissingExtraError without Ray, and UserInputError if there is no cluster, or it is of another version.
        """
        check_installed()
        if address.startswith("ray://"):
            raise UserInputError(
                f"--ray-address {address}: Ray's client passes no streams on; run pytest on a node of the cluster, or as a job"
                " (ray job submit -- pytest ...)"
            )
        _check_reachable(address)
        self.address = address
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        self.ray: Any = ray
        self._is_ours = not ray.is_initialized()
        if not self._is_ours:  # a conftest has joined one
            if runtime_env:
                raise UserInputError("--ray-args: runtime_env: this process has joined a cluster already: give it to that ray.init")
            return
        new = {"include_dashboard": False} if address == "local" else {}
        _check_environment(runtime_env)
        try:
            with _own_signals(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ray.init(
                    address=address,
                    runtime_env=dict(runtime_env) if runtime_env else None,
                    log_to_driver=False,
                    configure_logging=False,
                    logging_level=logging.ERROR,
                    **new,
                )
        except Exception as error:  # Ray has no common error for it
            ray.shutdown()
            raise UserInputError(f"--ray-address {address}: {_why(error)}") from error

    def nodes(self) -> list[Mapping[str, float]]:
        """The resources of each node that lives."""
        return [node["Resources"] for node in self.ray.nodes() if node["Alive"]]

    def close(self) -> None:
        """Leave it. Ray then ends whatever of ours is left there."""
        if self._is_ours:
            self.ray.shutdown()


def check_installed() -> None:
    """Raise MissingExtraError without Ray."""
    if not installed_versions(("ray",)):
        raise MissingExtraError("--pool ray: Ray", "ray")


def _check_reachable(address: str) -> None:
    """Ray itself tries for a minute, and then says little. Raises UserInputError."""
    host, colon, port = address.rpartition(":")
    if not colon:
        if address not in ("auto", "local"):
            raise UserInputError(f"--ray-address {address}: 'auto', 'local' or HOST:PORT was expected")
        return
    if not port.isdecimal():
        raise UserInputError(f"--ray-address {address}: HOST:PORT was expected, and {port!r} is no port")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _SECONDS_TO_CONNECT).close()
    except (OSError, OverflowError) as error:
        raise UserInputError(f"--ray-address {address}: no cluster is there: {error}") from error


def _check_environment(runtime_env: Mapping[str, Any] | None) -> None:
    """Raise UserInputError for what Ray does not know or find of it."""
    from ray.runtime_env import RuntimeEnv

    try:
        RuntimeEnv(**(runtime_env or {}))
    except Exception as error:  # of any type
        raise UserInputError(f"--ray-args: runtime_env: {first_line(error)}") from error


def _why(error: Exception) -> str:
    text = str(error)
    if isinstance(error, ConnectionError) and "find any running Ray" in text:
        return "no cluster runs here: start one with 'ray start --head', name another one with HOST:PORT, or take 'local'"
    if "Failed to connect to Ray cluster" in text or ("token" in text.lower() and "auth" in text.lower()):  # it listens, as was seen
        return "it lets nobody in without its token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to the one that it was started with"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines[:4]) if "mismatch" in text.lower() else first_line(error)


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Ray takes SIGTERM for itself, and the session ends its members itself."""
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if is_main and before is not None:
            signal.signal(signal.SIGTERM, before)


def room(nodes: Sequence[Mapping[str, float]], demand: Demand) -> int:
    """How many engines the nodes have room for, if nobody else uses them."""
    parts = sum(min((int(node.get(name, 0) / amount + 1e-9) for name, amount in demand.per_node().items()), default=1) for node in nodes)
    return parts // demand.bundles if demand.bundles else parts


def kinds_of_gpus(nodes: Sequence[Mapping[str, float]]) -> set[str | None]:
    """Ray's names of the GPUs. None: GPUs of a node that Ray has no name for."""
    return {next((name.removeprefix(_KIND) for name in node if name.startswith(_KIND)), None) for node in nodes if node.get(_GPU, 0) > 0}


def most_gpus(nodes: Sequence[Mapping[str, float]]) -> int:
    """GPUs of the node that has most."""
    return max((int(node.get(_GPU, 0)) for node in nodes), default=0)


def demand_of(arguments: RayArguments, *, cpus: int, gpus: int | None, spreads: bool, nodes: Sequence[Mapping[str, float]]) -> Demand:
    """What an engine asks for.

    `cpus`: unless the arguments say it. `gpus`: what the backend says that it takes; None: as many as there are for it. `spreads`: it can
    use GPUs of several nodes. Raises UserInputError for an engine that no node has GPUs for.
    """
    has_gpus = most_gpus(nodes) > 0 or arguments.accelerator_type is not None
    if arguments.num_gpus is not None:
        gpus_each: float = arguments.num_gpus
    elif gpus is None and has_gpus:
        raise UserInputError(
            "--pool ray: model_parallel=true takes all GPUs that there are for an engine; say how many: --ray-args num_gpus=N"
        )
    else:
        gpus_each = (gpus or 0) if has_gpus else 0
    kinds = kinds_of_gpus(nodes)
    if gpus_each and arguments.accelerator_type is None and len(kinds) > 1:
        names = ", ".join(sorted(kind or "GPUs without a name" for kind in kinds))
        raise UserInputError(f"--pool ray: the cluster has {names}, which round differently: choose with --ray-args accelerator_type=NAME")
    needs_more = bool(nodes) and most_gpus(nodes) > 0 and gpus_each > most_gpus(nodes)
    if needs_more and not spreads:
        most = most_gpus(nodes)
        raise UserInputError(f"--pool ray: an engine takes {gpus_each:g} GPUs of one node, and no node has more than {most}")
    return Demand(
        cpus=cpus if arguments.num_cpus is None else arguments.num_cpus,
        gpus=gpus_each,
        resources=arguments.resources,
        accelerator_type=arguments.accelerator_type if gpus_each else None,
        bundles=int(gpus_each) if needs_more else 0,
    )


def hardware_class(demand: Demand, nodes: Sequence[Mapping[str, float]]) -> str | None:
    """The hardware class of the engines, by which answers are kept. None: Ray does not say it, so that no answer may be kept."""
    if not demand.gpus:
        return platform.machine()
    if demand.accelerator_type is not None:
        return f"Ray {demand.accelerator_type}"
    kind = next(iter(kinds_of_gpus(nodes)), None)
    return None if kind is None else f"Ray {kind}"
