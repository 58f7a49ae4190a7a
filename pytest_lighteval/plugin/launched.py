"""Under a launcher (torchrun, `accelerate launch`): the first process is the session, the others run engines for its pool."""

from __future__ import annotations

import signal
import sys
from typing import ClassVar, NoReturn

import msgspec
import pytest

from pytest_lighteval import backends
from pytest_lighteval.backends.model_args import parse_model_args
from pytest_lighteval.backends.pool.backend import PoolBackend
from pytest_lighteval.backends.pool.launcher import Launched, Store, launched
from pytest_lighteval.backends.pool.ranks import Ranks, run_rank
from pytest_lighteval.backends.protocol import gpus_of_engine, own_replicas
from pytest_lighteval.common.devices import visible_gpus
from pytest_lighteval.common.threads import Threads, choose_threads, set_threads, usable_cores
from pytest_lighteval.errors import LightevalError, UserInputError
from pytest_lighteval.plugin.options import OPTIONS, has_own_backend, value_of
from pytest_lighteval.plugin.torchrun import report_error

_ASK_NOTHING = ("collectonly", "setupplan", "help", "version", "markers", "show_fixtures", "lighteval_gate_plan", "lighteval_check_tasks")
"""Options of sessions that evaluate nothing. There the other processes have nothing to do."""


class RankReplicas:
    """The engines of a session that a launcher started: one for each process."""

    is_here = True
    header: ClassVar[list[str]] = []

    def __init__(self, process: Launched, devices: tuple[str, ...]) -> None:
        self.count = process.world
        self._process, self._devices = process, devices
        self._ranks: Ranks | None = None

    def meet(self, config: pytest.Config) -> None:
        """Let the other processes come, until the session ends. Raises UserInputError if the launcher's store is not there."""
        if not asks_nothing(config):
            self._ranks = Ranks(self._process, self._devices)
            config.add_cleanup(self._ranks.close)

    def make(self, backend: str, arguments: msgspec.Struct) -> PoolBackend:
        """A pool of them. Starts nothing."""
        assert self._ranks is not None
        return PoolBackend(backend, own_replicas(arguments)[1], self._ranks.places)


def ranks_of(config: pytest.Config, backend: str | None, arguments: msgspec.Struct | None) -> RankReplicas | None:
    """The engines of the launcher's processes. None: there is no launcher, or the processes belong to the backend itself.

    Raises UserInputError for what cannot be together with a launcher.
    """
    process = launched()
    if process is None or backend is None or arguments is None or not _is_pool(config):
        return None
    if getattr(config.option, "numprocesses", None) or getattr(config.option, "tx", None):
        raise UserInputError(f"-n: the launcher has started {process.world} processes, which answer every task together: leave it out")
    if own_replicas(arguments)[0] > 1:
        raise UserInputError(f"data_parallel_size: the launcher has started {process.world} engines: leave it out")
    devices = process.devices(visible_gpus()) if gpus_of_engine(arguments) != 0 else ()
    return RankReplicas(process, devices)


def run_as_member(config: pytest.Config) -> int | None:
    """In each process but the first: run engines until the first one has finished. Returns the exit status. None: this is a session."""
    process = launched()
    if process is None or process.rank == 0 or not _is_pool(config):
        return None
    if asks_nothing(config):
        return 0
    try:
        threads = _value(config, "threads")
        if threads is not None:
            asked: Threads = "share" if threads == "share" else int(threads)
            set_threads(choose_threads(asked, cores=usable_cores(), workers=process.local_world))
        devices = process.devices(visible_gpus())
        point = Store(process).find()
        signal.signal(signal.SIGTERM, _end)
        run_rank(point, process.rank, devices)
    except (LightevalError, ValueError) as error:
        report_error(config, error)
        return 1
    return 0


def _is_pool(config: pytest.Config) -> bool:
    """Whether each process has an engine of its own: not if the backend's processes answer together, or are a conftest's business."""
    backend = _value(config, "backend")
    if backend is None or has_own_backend(config):
        return False
    try:
        raw = parse_model_args(_value(config, "model-args") or "", folder=config.invocation_params.dir)
        return backends.session_defaults(backends.load_backend(backend), raw).processes == 1
    except LightevalError:
        return True  # the first process says what is wrong


def _value(config: pytest.Config, name: str) -> str | None:
    value: str | None = value_of(config, next(option for option in OPTIONS if option.name == name))
    return value


def asks_nothing(config: pytest.Config) -> bool:
    """Whether the session evaluates nothing, so that no engine is needed."""
    return any(config.getoption(name, None) for name in _ASK_NOTHING)


def _end(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)
