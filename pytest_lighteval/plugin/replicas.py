"""`--replicas`: how many engines answer each task, the GPUs of each, and the pool that they make."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import msgspec
import pytest

from pytest_lighteval import backends
from pytest_lighteval.backends.pool.backend import PoolBackend
from pytest_lighteval.backends.pool.cluster import RayArguments
from pytest_lighteval.backends.pool.local import LocalPlace, device_groups
from pytest_lighteval.backends.protocol import gpus_of_engine, own_replicas
from pytest_lighteval.common.devices import visible_gpus
from pytest_lighteval.errors import UserInputError
from pytest_lighteval.plugin.launched import RankReplicas, ranks_of
from pytest_lighteval.plugin.options import has_own_backend
from pytest_lighteval.plugin.ray_replicas import RayReplicas
from pytest_lighteval.plugin.torchrun import LAUNCHED
from pytest_lighteval.types import Backend


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas:
    """The engines of a session."""

    is_here: ClassVar[bool] = True
    """Whether they run on this machine, so that what it has is what they have."""
    header: ClassVar[list[str]] = []
    """Lines for the top of pytest's output."""
    groups: tuple[tuple[str, ...], ...]
    """The GPUs of each engine. Empty ones: the engines need none, or there are none."""

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.groups)

    def meet(self, config: pytest.Config) -> None:
        """They are on this machine, so nobody has to come."""

    def make(self, backend: str, arguments: msgspec.Struct) -> PoolBackend:
        """A pool of them. Starts nothing."""
        _, alone = own_replicas(arguments)
        return PoolBackend(backend, alone, [LocalPlace(number, group) for number, group in enumerate(self.groups, start=1)])


Engines = Replicas | RankReplicas | RayReplicas
"""Of `--replicas`, of a launcher, or of `--pool ray`."""


def read_replicas(
    config: pytest.Config,
    asked: str | None,
    backend: str | None,
    arguments: msgspec.Struct | None,
    visible: Callable[[], list[str]] = visible_gpus,
    ray: tuple[str, RayArguments] | None = None,
) -> Engines | None:
    """What `--replicas` and the model arguments ask for. None: one engine, in this process.

    `ray`: address and arguments of a cluster that the engines are in. None: they are on this machine. Raises UserInputError for a number
    that cannot be had.
    """
    ranks = ranks_of(config, backend, arguments) if LAUNCHED in os.environ else None
    if ranks is not None:
        if asked is not None or ray is not None:
            option = "--pool ray" if asked is None else f"--replicas {asked}"
            raise UserInputError(f"{option}: the launcher has started {ranks.count} engines: leave it out")
        return ranks
    own = 1 if arguments is None else own_replicas(arguments)[0]
    if asked is None and own == 1:
        if ray is not None:
            raise UserInputError("--pool ray: say how many engines: --replicas N, or auto")
        return None
    option = f"--replicas {asked}" if asked is not None else f"data_parallel_size={own}"
    if asked is not None and asked != "auto" and not (asked.isdecimal() and int(asked) > 0):
        raise UserInputError(f"{option}: a number from 1 on, or 'auto', was expected")
    if backend is None or arguments is None or has_own_backend(config):
        why = "the lighteval_backend of the conftest is one engine" if has_own_backend(config) else "it is given without --backend"
        raise UserInputError(f"{option}: {why}; name its class as an entry point of {backends.GROUP!r}, and that name with --backend")
    if asked is not None and own > 1:
        raise UserInputError(f"{option} and data_parallel_size={own} both say how many engines there are: give one")
    if getattr(config.option, "numprocesses", None) or getattr(config.option, "tx", None):
        raise UserInputError(
            f"{option} and -n exclude each other: -n gives whole tasks to workers, --replicas gives every task to several engines"
        )
    if ray is not None:
        return RayReplicas(None if asked == "auto" else own if asked is None else int(asked), *ray, arguments)
    devices, each = visible(), gpus_of_engine(arguments)
    if each == 0 or not devices:
        if asked == "auto":
            raise UserInputError(f"{option}: {'no GPU is visible' if each else 'the engine takes no GPU'}; give a number")
        return Replicas(groups=((),) * (own if asked is None else int(asked)))
    if asked == "auto":
        if each is None:
            raise UserInputError(f"{option}: model_parallel=true takes all GPUs that there are for an engine; give the number of engines")
        count = len(devices) // each
        if count == 0:
            raise UserInputError(f"{option}: an engine takes {each} GPUs; visible: {len(devices)}")
    else:
        count = own if asked is None else int(asked)
    share = len(devices) // count if each is None else each
    return Replicas(groups=tuple(device_groups(devices, count, max(1, share))))


def make_backend(backend: str, arguments: msgspec.Struct, replicas: Engines | None) -> Backend:
    """The backend of this name: one engine, or a pool of them."""
    if replicas is not None:
        return replicas.make(backend, arguments)
    return backends.load_backend(backend).from_arguments(arguments)
