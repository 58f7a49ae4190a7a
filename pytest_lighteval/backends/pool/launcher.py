"""The processes that a launcher started (torchrun, `accelerate launch`): which one this is, its GPUs, and where all of them meet."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from typing import Any

from pytest_lighteval.errors import BackendError, UserInputError, first_line

_SECONDS_TO_MEET = 1800.0
"""For the first process to say where it listens: it may import much before."""
_NEEDED = ("TORCHELASTIC_RUN_ID", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Variables that torchrun sets. Clusters set some of them for jobs of any kind, never all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """One of the processes that a launcher started."""

    rank: int
    """Among all processes of all machines."""
    world: int
    local_rank: int
    """Among those of this machine: it decides the GPUs, and nothing else."""
    local_world: int
    address: str
    port: int
    has_store: bool
    """The launcher itself hosts the store at this address; otherwise the first process does."""
    run: str
    """Different for each start of the processes."""

    def devices(self, visible: Sequence[str]) -> tuple[str, ...]:
        """The GPUs of this process: an equal share of this machine's, in order. Raises UserInputError if there are too few."""
        if not visible:
            return ()
        share = len(visible) // self.local_world
        if share == 0:
            raise UserInputError(f"the launcher started {self.local_world} processes where {len(visible)} GPUs are visible: start fewer")
        return tuple(visible[self.local_rank * share : (self.local_rank + 1) * share])


def launched(environment: Mapping[str, str] = os.environ) -> Launched | None:
    """What the launcher says about this process. None: there is none, or it started one process."""
    if any(name not in environment for name in _NEEDED) or environment["WORLD_SIZE"] == "1":
        return None
    return Launched(
        rank=int(environment["RANK"]),
        world=int(environment["WORLD_SIZE"]),
        local_rank=int(environment["LOCAL_RANK"]),
        local_world=int(environment["LOCAL_WORLD_SIZE"]),
        address=environment["MASTER_ADDR"],
        port=int(environment["MASTER_PORT"]),
        has_store=environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
        run=f"{environment['TORCHELASTIC_RUN_ID']}/{environment.get('TORCHELASTIC_RESTART_COUNT', '0')}",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MeetingPoint:
    """Where the first process listens, and the key with which others prove that they belong to it."""

    address: str
    port: int
    key: bytes


class Store:
    """The launcher's key-value store, by which the processes find each other. Nobody waits in a collective."""

    def __init__(self, process: Launched) -> None:
        """Raises BackendError if the store is not there."""
        distributed: Any = import_module("torch.distributed")

        self._name = f"pytest-lighteval/{process.run}/pool"
        self._address = process.address
        is_host = process.rank == 0 and not process.has_store
        try:
            self._store: Any = distributed.TCPStore(
                process.address, process.port, None, is_host, timeout=timedelta(seconds=_SECONDS_TO_MEET), wait_for_workers=False
            )
        except RuntimeError as error:
            raise BackendError(
                f"the launcher's store at {process.address}:{process.port} cannot be reached: {first_line(error)}"
            ) from error

    def publish(self, port: int) -> MeetingPoint:
        """Say where this process listens."""
        point = MeetingPoint(address=self._address, port=port, key=secrets.token_bytes(32))
        self._store.set(self._name, json.dumps({"port": port, "key": point.key.hex()}))
        return point

    def find(self) -> MeetingPoint:
        """Where the first process listens; waits for it. Raises BackendError if it does not say so in time."""
        try:
            told = json.loads(self._store.get(self._name))  # waits
        except RuntimeError as error:
            raise BackendError(f"the first process of the launcher did not say where it listens: {first_line(error)}") from error
        return MeetingPoint(address=self._address, port=told["port"], key=bytes.fromhex(told["key"]))
