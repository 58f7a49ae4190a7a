"""Members that are Ray actors: one engine each, on whatever node of the cluster has room for it.

Ray places them, starts their processes and ends them with the session. When one is lost, the pool asks for another one; Ray itself starts
none again, and repeats no call.
"""

from __future__ import annotations

import contextlib
import itertools
import pickle
import re
import socket
import threading
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

from pytest_lighteval.backends.pool.cluster import Cluster, Demand
from pytest_lighteval.backends.pool.local import Link
from pytest_lighteval.backends.pool.ray_actor import EngineActor
from pytest_lighteval.common.threads import ENVIRONMENT_VARIABLE
from pytest_lighteval.errors import BackendError, first_line

_SECONDS_TO_END = 10.0
"""For an engine that is closed."""
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_THREADS = 3
"""Of an actor: one for the engine, one for what it says, one that takes messages."""


class RayPlace:
    """Room for one engine, somewhere in a cluster."""

    def __init__(self, cluster: Cluster, number: int, demand: Demand, *, threads: int) -> None:
        self.name = f"replica {number}"
        self._cluster, self._demand = cluster, demand
        hidden = {} if demand.gpus else {"CUDA_VISIBLE_DEVICES": ""}  # newer versions of Ray leave the GPUs of a node visible
        self._environment = {"env_vars": {ENVIRONMENT_VARIABLE: str(threads), **hidden}}

    def start(self) -> Link:
        """See `Place.start`. Ray starts the actor once there is room. Raises BackendError if Ray is gone."""
        try:
            return _RayLink(self._cluster.ray, self._demand, self._environment)
        except Exception as error:  # Ray has no common error for it
            raise BackendError(f"Ray cannot start an engine: {first_line(error)}") from error


class _RayLink:
    def __init__(self, ray: Any, demand: Demand, environment: Mapping[str, Any]) -> None:
        self._ray, self._demand = ray, demand
        self._group: Any = None
        options: dict[str, Any] = {"num_cpus": demand.cpus, "num_gpus": demand.gpus, "scheduling_strategy": "SPREAD"}
        if demand.bundles:
            options |= {"num_gpus": 0, "scheduling_strategy": self._strategy_over_nodes()}
        elif demand.resources:
            options["resources"] = demand.resources
        if demand.accelerator_type and not demand.bundles:
            options["accelerator_type"] = demand.accelerator_type
        self._actor: Any = (
            ray.remote(EngineActor)
            .options(max_restarts=0, max_task_retries=0, max_concurrency=_THREADS, runtime_env=dict(environment), **options)
            .remote()
        )
        ours, self._theirs = socket.socketpair()
        self._line = _Line(ours.detach(), self._actor)
        self._is_there = False
        self._reason: str | None = None
        self._is_final = False
        self._follower = threading.Thread(target=self._follow, daemon=True, name="lighteval-ray")
        self._follower.start()

    @property
    def connection(self) -> Connection | None:
        return self._line if self._is_there else None

    @property
    def missing(self) -> str:
        return f"the cluster has no room for {self._demand}, or its runtime environment is not made yet"

    @property
    def is_hopeless(self) -> bool:
        return self._is_final

    def reason(self) -> str:
        return self._reason or "it gave no reason"

    def end(self, *, kill: bool) -> None:
        if not kill:
            self._follower.join(_SECONDS_TO_END)
        with contextlib.suppress(Exception):  # Ray may be gone already, with all that it had
            self._ray.kill(self._actor)
        if self._group is not None:
            with contextlib.suppress(Exception):  # as above
                self._ray.util.remove_placement_group(self._group)
        self._line.close()

    def _strategy_over_nodes(self) -> Any:
        """A placement group of one GPU each, which an engine of several nodes finds from within its actor."""
        from ray.util.placement_group import placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        self._group = placement_group([self._demand.per_node()] * self._demand.bundles, strategy="PACK")
        return PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=0, placement_group_capture_child_tasks=True)

    def _follow(self) -> None:
        """Pass on what the engine says, until it ends."""
        theirs = Connection(self._theirs.detach())
        try:
            self._actor.run.remote()
            for batch in self._actor.said.options(num_returns="streaming").remote():
                messages = self._ray.get(batch)
                self._is_there = True
                for message in messages:
                    theirs.send_bytes(message)
            self._reason = "its engine ended"
        except OSError:
            self._reason = "it was ended"  # by the pool, which has closed its side
        except Exception as error:  # of Ray, or what the actor raised
            self._reason, self._is_final = _why(error)
        finally:
            self._is_there = True
            theirs.close()


class _Line(Connection):
    """What the pool reads are the messages that were passed on; what it sends, Ray carries to the actor."""

    def __init__(self, handle: int, actor: Any) -> None:
        super().__init__(handle)
        self._actor = actor
        self._numbers = itertools.count()

    def send(self, obj: Any) -> None:
        """See `Connection.send`. Raises OSError if the actor is known to be gone."""
        try:
            self._actor.tell.remote(next(self._numbers), pickle.dumps(obj, pickle.HIGHEST_PROTOCOL))
        except Exception as error:  # of Ray
            raise OSError(str(error)) from error


def _why(error: Exception) -> tuple[str, bool]:
    """Why an actor ended, in one line, and whether another one would end for the same reason."""
    text = _COLOURS.sub("", str(error))
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [type(error).__name__]
    if "failed to import" in text:
        what = "the package cannot be imported on its node"
        return f"{what}: {lines[-1]}; install it there, or name it in --ray-args runtime_env", True
    if type(error).__name__ == "RuntimeEnvSetupError":
        problem = next((line for line in reversed(lines) if re.match(r"[\w.]*(Error|Exception)\b", line)), lines[0])
        return f"its runtime environment cannot be made: {problem}", True
    if type(error).__name__ == "OutOfMemoryError":
        return "Ray ended it, because the memory of its node ran out", False
    if re.search(r"node (has died|was terminated|is dead)", text):
        return "its node is gone", False
    detail = re.search(r"Worker exit detail: (.*?)(?: Some common causes|$)", text, re.MULTILINE)
    return f"its process ended: {detail[1] if detail else lines[0]}", False
