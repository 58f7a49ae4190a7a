"""`--pool ray`: the engines of `--replicas` are actors in a Ray cluster."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pytest_lighteval.backends.model_args import convert_args, parse_model_args
from pytest_lighteval.backends.pool.actors import RayPlace
from pytest_lighteval.backends.pool.backend import PoolBackend
from pytest_lighteval.backends.pool.cluster import Cluster, Demand, RayArguments, check_installed, demand_of, hardware_class, room
from pytest_lighteval.backends.pool.pool import Limits
from pytest_lighteval.backends.protocol import gpus_of_engine, over_nodes, own_replicas
from pytest_lighteval.common.threads import choose_threads
from pytest_lighteval.errors import UserInputError
from pytest_lighteval.plugin.launched import asks_nothing

_OPTION = "--ray-args"


class RayReplicas:
    """The engines of a session that are in a cluster."""

    is_here = False

    def __init__(self, asked: int | None, address: str, ray: RayArguments, arguments: msgspec.Struct) -> None:
        """`asked` engines. None: as many as the cluster has room for. `arguments`: those of the session's model."""
        self.count = asked or 0
        self._is_auto = asked is None
        self._address, self._ray, self._arguments = address, ray, arguments
        self._cluster: Cluster | None = None

    def meet(self, config: pytest.Config) -> None:
        """Join the cluster, until the session ends. Raises LightevalError if it is not there, or cannot have such an engine."""
        if asks_nothing(config):
            return
        self._cluster = Cluster(self._address, self._ray.runtime_env)
        config.add_cleanup(self._cluster.close)
        demand = self._demand(self._arguments)
        if self._is_auto:
            self.count = room(self._cluster.nodes(), demand)
            if self.count == 0:
                raise UserInputError(f"--replicas auto: the cluster has no room for an engine ({demand}); give a number to wait for it")
        if self._ray.least is not None and self._ray.least > self.count:
            raise UserInputError(f"{_OPTION}: least={self._ray.least} is more than the {self.count} engines of --replicas")

    @property
    def header(self) -> list[str]:
        """What people should know before it begins."""
        if self._cluster is None:
            return []
        demand = self._demand(self._arguments)
        has_room = room(self._cluster.nodes(), demand)
        lines = [f"{self.count} engines in the Ray cluster at {self._address}, each with {demand}"]
        if has_room < self.count:
            lines[0] += f"; it has room for {has_room} now, and {self._ray.wait:g} seconds to get more"
        if gpus_of_engine(self._arguments) != 0 and not demand.gpus:
            lines.append("the cluster has no GPU, so the engines compute on CPUs; --ray-args num_gpus=N waits for GPUs")
        if hardware_class(demand, self._cluster.nodes()) is None:
            lines.append(
                "no answer is kept for later runs: the cluster does not say which GPUs it has; --ray-args accelerator_type=NAME says it"
            )
        return lines

    def make(self, backend: str, arguments: msgspec.Struct) -> PoolBackend:
        """A pool of them. Starts nothing."""
        assert self._cluster is not None
        demand, alone = self._demand(arguments), own_replicas(arguments)[1]
        hardware = hardware_class(demand, self._cluster.nodes())
        return PoolBackend(
            backend,
            (over_nodes(alone) if demand.bundles else None) or alone,
            [RayPlace(self._cluster, number, demand, threads=self._threads) for number in range(1, self.count + 1)],
            Limits(arrival=self._ray.wait, least=self.count if self._ray.least is None else self._ray.least),
            hardware=hardware,
            is_kept=hardware is not None,
        )

    @property
    def _threads(self) -> int:
        """Of an engine: those of the session (`--threads`, OMP_NUM_THREADS), or one for each of its CPUs."""
        return choose_threads(None, cores=max(1, int(self._ray.num_cpus or 1)))

    def _demand(self, arguments: msgspec.Struct) -> Demand:
        assert self._cluster is not None
        return demand_of(
            self._ray,
            cpus=self._threads,
            gpus=gpus_of_engine(arguments),
            spreads=over_nodes(own_replicas(arguments)[1]) is not None,
            nodes=self._cluster.nodes(),
        )


def read_ray(values: Mapping[str, Any], folder: Path) -> tuple[str, RayArguments] | None:
    """Address and arguments of `--pool ray`. None: the engines are on this machine. Raises LightevalError, also without Ray."""
    if values["pool"] is None:
        return None
    if values["pool"] != "ray":
        raise UserInputError(f"--pool {values['pool']}: 'ray' was expected; without --pool the engines are on this machine")
    raw = parse_model_args(values["ray_args"] or "", folder=folder, option=_OPTION)
    arguments = convert_args(raw, RayArguments, option=_OPTION, whose="an engine in a Ray cluster")
    check_installed()
    if values["threads"] == "share":
        raise UserInputError(f"--threads share and --pool ray: other machines have other cores; say {_OPTION} num_cpus=N")
    return values["ray_address"] or "auto", arguments
